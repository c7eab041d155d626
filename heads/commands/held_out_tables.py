"""What ``heads ablate --hold-out`` prints: how heads judge what they knew nothing of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from heads.commands.render import console, safe

if TYPE_CHECKING:
    from heads.ablation.grid import Cell, Group
    from heads.ablation.held_scores import HeldLine, HoldOutResult
    from heads.statistics.intervals import Interval

__all__ = ["print_held_out"]

_NAMES = {"tpr": "TPR", "fpr": "FPR", "auc": "AUC"}
_WIDEST = 16
_CHOSEN = {
    "score": "the settings were chosen with it",
    "held-out": "the settings were chosen by this, so that the best is optimistic",
}


def print_held_out(result: HoldOutResult, ranked: Sequence[Cell], *, select: str) -> None:
    """Print a table for the first configuration of each group among ``ranked``, and what it stands for."""
    axis = result.held.axis
    for line in _best_lines(result, ranked):
        cell = line.cell
        dim = f", dim {cell.dim}" if cell.dim else ""
        console.print(f"Without the {axis} that is judged: [bold]{safe(f'{cell.head} {cell.name}{dim}')}[/]")
        console.print(_table(result, line))
    has_auc = any("auc" in line.mean for line in result.lines)
    if axis == "generator":
        against = " FPR, AUC: real rows of valid, which chose too."
    else:
        against = " AUC: within the origin." if has_auc else ""
    console.print(
        f"[dim]Head, epoch and threshold know nothing of it; {_CHOSEN[select]}.{against} 95 % intervals are over "
        f"groups, those of the mean over groups of these {axis}s. All lines are in ablation.json[/]"
    )
    if axis == "origin" and not has_auc:
        console.print("[yellow]Note:[/] real and AI rows share no origin: false and true positive rates alone")
    for value, why in result.held.refused.items():
        console.print(f"[yellow]Note:[/] {safe(value)} is not held out: {why}")
    if result.held.n_unnamed:
        console.print(f"[yellow]{result.held.n_unnamed:,}[/] rows took no part here: their {axis} is not known")


def _best_lines(result: HoldOutResult, ranked: Sequence[Cell]) -> list[HeldLine]:
    """Return a line a group: that of the configuration that comes first."""
    lines: Mapping[Cell, HeldLine] = {line.cell: line for line in result.lines}
    best: dict[Group, HeldLine] = {}
    for cell in ranked:
        if cell in lines:
            best.setdefault(cell.group, lines[cell])
    return list(best.values())


def _table(result: HoldOutResult, line: HeldLine) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("held out", max_width=_WIDEST, overflow="fold")
    for title in ("n", "groups", *(_NAMES[name] for name in line.mean)):
        table.add_column(title, justify="right", no_wrap=True)
    for division, n_groups, found in zip(result.held.divisions, result.n_groups, line.scores, strict=True):
        values = [_show(found.figures.get(name)) for name in line.mean]
        table.add_row(safe(division.value), f"{division.n_own:,}", f"{n_groups:,}", *values)
    worst = line.worst
    table.add_row("mean", "", "", *map(_show, line.mean.values()), style="bold")
    table.add_row("worst", "", "", *(_show(worst[name].figures[name]) for name in line.mean), style="bold")
    return table


def _show(interval: Interval | None) -> str:
    if interval is None:
        return "–"
    bounds = "" if math.isnan(interval.low) else f" {interval.low:.2f}…{interval.high:.2f}"
    return f"{interval.estimate:.3f}{bounds}"
