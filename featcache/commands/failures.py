"""``featcache failures``."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from featcache.commands.render import cache_folder, console, print_json, safe

if TYPE_CHECKING:
    from featcache.audit import Orphans
    from featcache.failure_list import FailedContent

__all__ = ["failures"]


def failures(
    cache: Annotated[Path | None, typer.Argument(metavar="DIR", help="The cache folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List what could not be read or encoded, why, and how to try again."""
    from featcache.cache import Cache
    from featcache.commands.shell import print_steps
    from featcache.failure_list import list_broken, list_failures
    from featcache.upkeep.status import cache_status
    from featcache.upkeep.steps import retry_steps

    opened = Cache.open(cache_folder(cache))
    found, broken = list_failures(opened), list_broken(opened)
    failed: dict[str, list[str]] = {}
    for failure in found:
        failed.setdefault(failure.dataset, []).extend([failure.producer] if failure.producer else [])
    steps = retry_steps(cache_status(opened), failed) if found else ()
    if as_json:
        rows = [asdict(failure) for failure in found]
        parts = [{"dataset": name, "n": each.n_broken, "lines": each.broken} for name, each in broken]
        document = {"path": str(opened.path), "failures": rows, "broken": parts}
        print_json(document | {"next": [asdict(step) for step in steps]})
        return
    for name, each in broken:
        _render_broken(name, each)
    if not found:
        if not broken:
            console.print("no failures on record")
        return
    for _, group in groupby(sorted(found, key=_kind), key=_kind):
        _render(list(group))
    console.print("Next, when the cause is mended:")
    print_steps(console, steps)


def _kind(failure: FailedContent) -> tuple[str, ...]:
    return (failure.dataset, failure.modality, failure.producer or "", failure.view or "", failure.stage, failure.error)


def _render_broken(dataset: str, found: Orphans) -> None:
    what = f"[bold]{found.n_broken:,}[/] part{'' if found.n_broken == 1 else 's'} of the source of {safe(dataset)}"
    console.print(f"{what}: [red]damaged or refused[/]; what it holds is missing", soft_wrap=True)
    for line in found.broken:
        console.print(f"  {safe(line)}", soft_wrap=True)
    if found.n_broken > len(found.broken):
        console.print(f"  … and {found.n_broken - len(found.broken):,} more", soft_wrap=True)
    console.print("  mended, they are read by the `featcache extract` that read the others\n", soft_wrap=True)


def _render(group: list[FailedContent]) -> None:
    first = group[0]
    by = f"by {first.producer} {safe(first.model)}" if first.producer else "before any encoder"
    view = f", view {safe(first.view)}" if first.view not in (None, "clean") else ""
    what = f"[bold]{len(group):,}[/] {first.modality} of {safe(first.dataset)}, {by}{view}"
    console.print(f"{what}: [red]{safe(first.stage)}, {safe(first.error)}[/]", soft_wrap=True)
    table = Table("sample", "tries", "last tried (UTC)", "message", box=None, header_style="dim", pad_edge=True)
    for column, width in zip(table.columns, (18, 5, 16, None), strict=True):
        column.overflow, column.max_width = "fold", width
    table.columns[1].justify = "right"
    for failure in group:
        time = safe(failure.time)[:16].replace("T", " ")
        table.add_row(safe(failure.sample_id), str(failure.attempts), time, safe(failure.message))
    console.print(table)
    console.print()
