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
    from featcache.failure_list import FailedContent

__all__ = ["failures"]


def failures(
    cache: Annotated[Path | None, typer.Argument(metavar="DIR", help="The cache folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List what could not be read or encoded, why, and how to try again."""
    from featcache.cache import Cache
    from featcache.commands.shell import print_steps
    from featcache.failure_list import list_failures
    from featcache.upkeep.status import cache_status
    from featcache.upkeep.steps import retry_steps

    opened = Cache.open(cache_folder(cache))
    found = list_failures(opened)
    failed: dict[str, list[str]] = {}
    for failure in found:
        failed.setdefault(failure.dataset, []).extend([failure.producer] if failure.producer else [])
    steps = retry_steps(cache_status(opened), failed) if found else ()
    if as_json:
        rows = [asdict(failure) for failure in found]
        print_json({"path": str(opened.path), "failures": rows, "next": [asdict(step) for step in steps]})
        return
    if not found:
        console.print("no failures on record")
        return
    for _, group in groupby(sorted(found, key=_kind), key=_kind):
        _render(list(group))
    console.print("Next, when the cause is mended:")
    print_steps(console, steps)


def _kind(failure: FailedContent) -> tuple[str, ...]:
    return (failure.dataset, failure.modality, failure.producer or "", failure.view or "", failure.stage, failure.error)


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
