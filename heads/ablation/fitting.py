"""Configurations are fitted with all seeds on all parts of a study: those that can be together, in one trial."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import partial

from heads.ablation.grid import Cell, Grid
from heads.ablation.ledger import TrialResult
from heads.ablation.progress import Clock
from heads.ablation.study import Trial
from heads.ablation.trials import TrialRunner
from heads.head.kinds import find_kind

__all__ = ["FittedCells", "fit_cells"]

FittedCells = Mapping[tuple[Cell, int], Sequence[tuple[TrialResult, int]]]
"""Of each configuration and seed: each part's trial, and the place in it."""


def fit_cells(runner: TrialRunner, grid: Grid, cells: Sequence[Cell], clock: Clock) -> FittedCells:
    """Fit configurations with all seeds on all parts of the runner's study, in the order of ``cells`` and seeds."""
    study = runner.study

    def cost(trial: Trial) -> float:
        width = study.columns(trial.cells[0]).width
        return float(sum(width * (16 + (cell.dim or 512)) for cell in trial.cells))

    trials = list(_trials(grid, cells, len(study.parts)))
    clock.plan(trials, cost)
    found: dict[tuple[Cell, int], list[tuple[TrialResult, int]]] = {
        (cell, seed): [] for cell in cells for seed in grid.seeds_of(cell.head)
    }
    for trial in trials:
        clock.tell(trial)
        result = runner.run(trial, progress=partial(clock.tell, trial))
        clock.finish(trial, cost(trial))
        for place, cell in enumerate(trial.cells):
            found[cell, trial.seed].append((result, place))
    return found


def _trials(grid: Grid, cells: Sequence[Cell], n_parts: int) -> Iterable[Trial]:
    """Put together what is fitted together: the configurations of a group and control; others one by one."""
    groups: dict[Hashable, list[Cell]] = {}
    for cell in cells:
        together = (cell.group, cell.control) if find_kind(cell.head).fits_packs else cell
        groups.setdefault(together, []).append(cell)
    for group in groups.values():
        for seed in grid.seeds_of(group[0].head):
            for part in range(n_parts):
                yield Trial(tuple(group), seed, part)
