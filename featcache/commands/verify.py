"""``featcache verify``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.console import cache_folder, console, human_bytes, print_json, safe
from featcache.identity.outputs import abbreviate

if TYPE_CHECKING:
    from featcache.upkeep.canary import CanaryResult
    from featcache.upkeep.damage import Lack
    from featcache.upkeep.verify import VerifyReport

__all__ = ["document", "render", "verify"]


def verify(
    cache: Annotated[Path | None, typer.Argument(metavar="DIR", help="The cache folder.")] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read every byte and recompute all digests.")] = False,
    canary: Annotated[bool, typer.Option("--canary", help="Encode a few pictures again and compare.")] = False,
    canary_rows: Annotated[int, typer.Option(min=1, help="How many pictures an encoder.")] = 4,
    seed: Annotated[int, typer.Option(help="Of the choice of pictures.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Prove a cache: structure, sizes, producers, tables; with --deep every byte."""
    from featcache.cache.folder import Cache
    from featcache.upkeep.canary import check_canaries
    from featcache.upkeep.verify import verify as library_verify

    opened = Cache.open(cache_folder(cache))
    report = library_verify(opened, deep=deep)
    canaries = check_canaries(opened, n_contents=canary_rows, seed=seed) if canary and report.is_sound else ()
    if as_json:
        print_json(document(report) | {"canaries": [asdict(c) | {"is_sound": c.is_sound} for c in canaries]})
    else:
        render(report, opened.path)
        for result in canaries:
            _render_canary(result)
        if canary and not report.is_sound:
            console.print("canaries not checked: the cache is damaged", soft_wrap=True)
    if not report.is_sound or not all(result.is_sound for result in canaries):
        raise typer.Exit(1)


def document(report: VerifyReport) -> dict[str, Any]:
    """Return a JSON-able copy of a report."""
    problems = [
        {"path": str(p.path), "message": p.message, "loss": asdict(p.loss) if p.loss else None} for p in report.problems
    ]
    notes = [{"path": str(n.path), "message": n.message} for n in report.notes]
    lacks = [asdict(lack) for lack in report.lacks]
    counts = {name: getattr(report, name) for name in ("deep", "is_sound", "n_shards", "n_rows", "n_bytes")}
    return counts | {"problems": problems, "notes": notes, "lacks": lacks}


def render(report: VerifyReport, path: Path, *, is_repaired: bool = False) -> None:
    """Print a report of the cache at a path, which `featcache repair` has or has not seen."""
    from featcache.commands.shell import print_next
    from featcache.upkeep.steps import Step

    for problem in report.problems:
        console.print(f"[red]damaged[/] {safe(problem.path)}\n  {safe(problem.message)}", soft_wrap=True)
        if problem.loss is not None:
            console.print(f"  lost: {safe(problem.loss)}", soft_wrap=True)
    for note in report.notes:
        console.print(f"[yellow]note[/] {safe(note.path)}\n  {safe(note.message)}", soft_wrap=True)
    for line in _lack_lines(report.lacks):
        console.print(f"[yellow]lacking[/] {safe(line)}", soft_wrap=True)
    depth = "every byte" if report.deep else "structure and sizes (--deep reads every byte)"
    n = len(report.problems)
    verdict = "[green]sound[/]" if report.is_sound else f"[red]{n} problem{'s' if n > 1 else ''}[/]"
    shards = f"{report.n_shards:,} sound shard{'' if report.n_shards == 1 else 's'}"
    checked = f"{shards}, {report.n_rows:,} rows, {human_bytes(report.n_bytes)}"
    console.print(f"{verdict}: {checked}; checked {depth}", soft_wrap=True)
    is_mendable = any(problem.is_mendable for problem in report.problems)
    if not report.is_sound and (is_repaired or not is_mendable):
        console.print("what is left is lost here: it says itself what brings it back", soft_wrap=True)
    elif not report.is_sound:
        step = Step(
            "moves what is damaged aside, and says how to get the rows back", ("featcache", "repair", str(path))
        )
        print_next(console, "", (step,))


def _lack_lines(lacks: Sequence[Lack]) -> list[str]:
    """Say what is missing: outputs of which the same is missing in one line."""
    alike: dict[Lack, list[str]] = {}
    for lack in lacks:
        if lack.n_missing:
            alike.setdefault(replace(lack, output="", n_failed=0), []).extend([lack.output] if lack.output else [])
    return [
        f"{lack.n_missing:,} of {lack.n_contents:,} contents of data set {lack.dataset} have no vectors of "
        f"{lack.producer} ({lack.model}), view {lack.view}" + (f", output {abbreviate(outputs)}" if outputs else "")
        for lack, outputs in alike.items()
    ]


def _render_canary(result: CanaryResult) -> None:
    who = f"{result.modality} encoder {result.producer} ({safe(result.model)})"
    if result.reason:
        console.print(f"canary {who}: not checked: {safe(result.reason)}", soft_wrap=True)
        return
    errors = ", ".join(f"{safe(name)} {error:.2g}" for name, error in result.errors.items())
    verdict = "[green]agrees[/]" if result.is_sound else f"[red]differs[/], most for {safe(result.worst)}"
    checked = f"{result.n_checked} pictures, relative error {errors}, tolerance {result.tolerance:g}"
    console.print(f"canary {who}: {verdict}: {checked}", soft_wrap=True)
