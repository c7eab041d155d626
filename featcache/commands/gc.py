"""``featcache gc``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.console import cache_folder, console, human_bytes, print_json, safe

if TYPE_CHECKING:
    from featcache.upkeep.gc import GcReport

__all__ = ["gc"]


def gc(
    cache: Annotated[Path | None, typer.Argument(metavar="DIR", help="The cache folder.")] = None,
    delete: Annotated[
        bool,
        typer.Option("--delete", help="Remove it; without this, only list it. Not while an extraction is at work."),
    ] = False,
    compact: Annotated[
        bool, typer.Option("--compact", help="With --delete: also rewrite partly needed shards.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find what no sample refers to and what exists twice; a dry run unless --delete is given."""
    from featcache.cache.folder import Cache
    from featcache.upkeep.gc import collect_garbage

    if compact and not delete:
        raise typer.BadParameter("--compact changes nothing without --delete", param_hint="--compact")
    report = collect_garbage(Cache.open(cache_folder(cache)), delete=delete, compact=compact)
    if as_json:
        shards = [
            {"path": str(d.path), "size": d.size, "n_rows": d.n_rows, "is_whole": d.is_whole}
            | {"n_unreferenced": d.n_unreferenced, "n_duplicate": d.n_duplicate}
            for d in report.shards
        ]
        paths = {name: [str(p) for p in getattr(report, name)] for name in ("leftovers", "removed", "published")}
        print_json({"deleted": delete, "shards": shards, **paths, "n_bytes_freed": report.n_bytes_freed})
    else:
        _render(report, delete)


def _render(report: GcReport, delete: bool) -> None:
    for dead in report.shards:
        why = f"{dead.n_unreferenced:,} rows that no sample refers to, {dead.n_duplicate:,} that exist twice"
        extent = "whole" if dead.is_whole else f"{dead.n_dead:,} of {dead.n_rows:,} rows"
        console.print(f"{safe(dead.path)}: {extent} ({why})", soft_wrap=True)
    for path in report.leftovers:
        console.print(f"{safe(path)}: left behind by somebody who died", soft_wrap=True)
    whole = [dead for dead in report.shards if dead.is_whole]
    parts = len(report.shards) - len(whole)
    if delete:
        rewritten = f", {len(report.published):,} shards rewritten" if report.published else ""
        console.print(
            f"{len(report.removed):,} files removed{rewritten}, {human_bytes(max(report.n_bytes_freed, 0))} freed",
            soft_wrap=True,
        )
    elif whole or report.leftovers:
        size = human_bytes(sum(dead.size for dead in whole))
        console.print(
            f"Dry run: --delete removes {len(whole):,} shards ({size}) and {len(report.leftovers):,} leftovers"
        )
    else:
        console.print("Nothing to remove")
    if parts and not delete:
        console.print(f"{parts:,} shards are needed in part: --delete --compact rewrites them without the rest")
