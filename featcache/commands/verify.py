"""``featcache verify``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from featcache.commands.render import cache_folder, console, print_json, safe
from featcache.terminal import human_bytes

__all__ = ["verify"]


def verify(
    cache: Annotated[Path | None, typer.Argument(metavar="DIR", help="The cache folder.")] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read every byte and recompute all digests.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Prove a cache: structure, sizes, producers, tables; with --deep every byte."""
    from featcache.cache import Cache
    from featcache.verify import verify as library_verify

    report = library_verify(Cache.open(cache_folder(cache)), deep=deep)
    if as_json:
        problems = [{"path": str(p.path), "message": p.message} for p in report.problems]
        print_json(asdict(report) | {"problems": problems, "is_sound": report.is_sound})
    else:
        for problem in report.problems:
            console.print(f"[red]damaged[/] {safe(problem.path)}\n  {safe(problem.message)}", soft_wrap=True)
        depth = "every byte" if deep else "structure and sizes (--deep reads every byte)"
        verdict = "[green]sound[/]" if report.is_sound else f"[red]{len(report.problems)} problems[/]"
        checked = f"{report.n_shards:,} shards, {report.n_rows:,} rows, {human_bytes(report.n_bytes)}"
        console.print(f"{verdict}: {checked}; checked {depth}", soft_wrap=True)
    if not report.is_sound:
        raise typer.Exit(1)
