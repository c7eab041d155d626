"""``featcache repair``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.commands.verify import document, render
from featcache.console import cache_folder, console, print_json, safe

if TYPE_CHECKING:
    from featcache.upkeep.damage import Problem
    from featcache.upkeep.repair import RepairReport

__all__ = ["repair"]


def repair(
    cache: Annotated[Path | None, typer.Argument(metavar="DIR", help="The cache folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Move what is damaged into the cache's quarantine, rebuild the index, and say how to get lost rows back."""
    from featcache.upkeep.repair import repair as library_repair

    folder = cache_folder(cache)
    report = library_repair(folder)
    if as_json:
        moved = [
            {"from": str(m.problem.path), "to": str(m.path), "why": m.problem.message, "is_restored": m.is_restored}
            for m in report.moved
        ]
        missing = [{"path": str(p.path), "message": p.message} for p in report.missing]
        remade = [str(path) for path in report.remade]
        found = {"moved": moved, "missing": missing, "remade": remade, "commands": list(report.commands)}
        found["scanned"] = list(report.scanned)
        print_json(found | {"after": document(report.after)})
    else:
        _render(report, folder)
    if not report.after.is_sound:
        raise typer.Exit(1)


def _render(report: RepairReport, path: Path) -> None:
    for moved in report.moved:
        restored = ", and restored from its copy" if moved.is_restored else ""
        console.print(f"[yellow]moved[/] {safe(moved.problem.path)}\n  to {safe(moved.path)}{restored}", soft_wrap=True)
        console.print(f"  because: {safe(moved.problem.message)}", soft_wrap=True)
        _render_loss(moved.problem)
    for problem in report.missing:
        console.print(f"[yellow]missing[/] {safe(problem.path)}", soft_wrap=True)
        _render_loss(problem)
    for path_ in report.remade:
        console.print(f"[yellow]made anew[/] {safe(path_)}", soft_wrap=True)
    render(report.after, path, is_repaired=True)
    if report.commands:
        console.print("To get the lost rows back:")
        for command in report.commands:
            console.print(f"  {safe(command)}", soft_wrap=True)
    if report.scanned:
        sets = f"{len(report.scanned)} data sets" if len(report.scanned) > 1 else safe(report.scanned[0])
        console.print(f"The next heads scan of {sets} brings the lost rows back", soft_wrap=True)
    if (
        not (report.commands or report.scanned or report.moved or report.missing or report.remade)
        and report.after.is_sound
    ):
        console.print("Nothing was damaged; the index is up to date.")


def _render_loss(problem: Problem) -> None:
    if problem.loss is not None:
        console.print(f"  lost: {safe(problem.loss)}", soft_wrap=True)
