"""A grid of heads on the same rows: scores by configuration, over seeds and folds, with controls; resumable."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from featcache import Selection
from heads.ablation.comparison import HeadScore, Summary, compare
from heads.ablation.findings import Finding
from heads.ablation.fitting import fit_cells
from heads.ablation.grid import SELECTS, Cell, Grid, Group
from heads.ablation.held_scores import HoldOutResult, score_held_out
from heads.ablation.ledger import Ledger, begun_plan
from heads.ablation.progress import Clock
from heads.ablation.scorer import Scorer
from heads.ablation.screening import screen_grid
from heads.ablation.study import Study, settings_of
from heads.ablation.study_rows import StudyRows
from heads.ablation.trials import TrialRunner
from heads.data.division import CLASS_RULE, SIZE_RULE
from heads.data.folds import build_parts
from heads.data.held_out import HeldOuts, build_held_out
from heads.errors import HeadsError
from heads.head.kinds import find_kind
from heads.head.protocol import Device, Progress
from heads.head.threads import blas_on_one_thread
from heads.runs.fitting import parse_config
from heads.runs.recording import library_versions

__all__ = ["AblationResult", "ablate", "check_settings"]

_INTERVAL = "95 %, Student's t of the standard error over resampled groups; findings adjusted by Holm"


@dataclass(frozen=True)
class AblationResult:
    """A whole grid.

    Attributes
    ----------
    grid : Grid
    heads : tuple of HeadScore
        Every head that was fitted in full, folds together.
    table : tuple of Summary
        A line a configuration: those fitted in full, controls, then those that were only screened.
    findings : tuple of Finding
    n_rows : mapping of str to int
        ``fit`` and ``select``: of the first division; ``scored``: rows that are compared; ``refused``: rows that lack
        a modality or view that some fusion needs, or have no label.
    conditions : mapping
        What the scores stand for: ``scored_on``, ``interval``, ``views``, ``device``, ``memory``, ``machine``,
        ``versions``, ``division``.
    held_out : HoldOutResult or None
        None where nothing was held out.
    """

    grid: Grid
    heads: tuple[HeadScore, ...]
    table: tuple[Summary, ...]
    findings: tuple[Finding, ...]
    n_rows: Mapping[str, int]
    conditions: Mapping[str, Any]
    held_out: HoldOutResult | None = None

    def ranked(self) -> list[Summary]:
        """Return the configurations that were fitted in full, controls left out, the best first, by ``grid.select``."""
        full = [summary for summary in self.table if summary.stage == "full" and not summary.cell.control]
        if self.held_out is None or self.grid.select == SELECTS[0]:
            return sorted(full, key=lambda summary: -summary.score)
        merits = {line.cell: line.merit for line in self.held_out.lines}
        return sorted(full, key=lambda summary: -merits[summary.cell])

    def best(self) -> Summary:
        """Return the first of `ranked`."""
        return self.ranked()[0]


@blas_on_one_thread()
def ablate(
    rows: StudyRows,
    grid: Grid,
    *,
    out: Path | None = None,
    device: Device = "cpu",
    memory: str | None = None,
    progress: Progress | None = None,
) -> AblationResult:
    """Fit a grid of heads, all on the rows that every fusion can use.

    Parameters
    ----------
    rows : StudyRows
    grid : Grid
    out : Path, optional
        Folder in which finished trials are kept, so that the same call after an interruption goes on from there.
    device, memory
        See `heads.ablation.study.Study`.
    progress : callable, optional
        Called with ``done``, ``total`` (heads, weighted by their size: shares of the work), ``n_done``, ``n_total``
        (heads), ``what``, ``epoch`` and ``eta`` in seconds (None: unknown).
    """
    check_settings(grid)
    if {modality: tuple(requests) for modality, requests in rows.outputs.items()} != dict(grid.outputs):
        raise HeadsError("the rows were loaded with other outputs to compare than the grid has")
    begun = None if out is None else begun_plan(out)
    # Early plans state neither the rule nor that settings are no former ones.
    rule = CLASS_RULE if begun is None else str(begun.get("division", SIZE_RULE))
    is_former = begun is not None and bool(begun.get("former", True))
    parts = build_parts(rows.features, grid.folds, rule=rule)
    held = None if grid.hold_out is None else build_held_out(rows.features, grid.hold_out, rule=rule)
    study = Study(rows, parts, grid.settings, device, memory, is_former=is_former)
    _check_columns(study, grid)
    ledger = None
    if out is not None:
        plan = {**grid.to_dict(), "rows": rows.digest(), "device": device, "memory": memory}
        if not is_former:
            plan["former"] = False
        if grid.folds is None and rule != SIZE_RULE:
            plan["division"] = rule
        ledger = Ledger.open(out, plan)
    runner = TrialRunner(study, ledger)
    scorer = Scorer.build(study, grid.folds)
    clock = Clock(progress)
    cells, screened = screen_grid(study, grid, progress=clock.say) if grid.screen else (grid.cells, ())
    heads = _fit_scored(runner, grid, scorer, cells, clock)
    controls = [
        replace(cell, control=control) for cell in _best_cells(heads) for control in grid.controls_of(cell.fusion)
    ]
    heads += _fit_scored(runner, grid, scorer, controls, clock)
    table, findings = compare(heads, grid, screened)
    return AblationResult(
        grid=grid,
        heads=tuple(heads),
        table=table,
        findings=findings,
        n_rows={
            "fit": len(study.parts[0].fit_rows),
            "select": len(study.parts[0].select_rows),
            "scored": len(scorer.rows),
            "refused": rows.n_refused,
        },
        conditions={**_conditions(study, grid), "division": None if grid.folds else rule},
        held_out=None if held is None else _hold_out(runner, held, grid, cells, clock),
    )


def check_settings(grid: Grid) -> None:
    """Refuse a common setting that no head of the grid has, or a value that one refuses."""
    if grid.settings.get("invariant_to"):
        raise HeadsError(
            "setting 'invariant_to' is not for ablations, which read no views for their differences alone: name the "
            "views in --views, or fit with heads train --invariant-to"
        )
    known: set[str] = set()
    for cell in {cell.head: cell for cell in grid.cells}.values():
        own = settings_of(cell.head, grid.settings)
        parse_config({**own, **cell.settings})
        known |= set(own)
    unknown = sorted(set(grid.settings) - known)
    if unknown:
        raise HeadsError(f"unknown setting {unknown[0]!r}: no head of {', '.join(grid.heads)} has it")


def _check_columns(study: Study, grid: Grid) -> None:
    """Refuse outputs that a fusion cannot take before anything is fitted."""
    for cell in {cell.group: cell for cell in grid.cells}.values():
        if find_kind(cell.head).fits_packs:
            from heads.ablation.packs import check_columns  # torch: not where no head is a network

            check_columns(study, cell)


def _fit_scored(
    runner: TrialRunner, grid: Grid, scorer: Scorer, cells: Sequence[Cell], clock: Clock
) -> list[HeadScore]:
    """Fit configurations with all seeds on all parts, and score them."""
    return [
        scorer.score(cell, seed, results) for (cell, seed), results in fit_cells(runner, grid, cells, clock).items()
    ]


def _hold_out(runner: TrialRunner, held: HeldOuts, grid: Grid, cells: Sequence[Cell], clock: Clock) -> HoldOutResult:
    """Fit configurations once more without each value, and score them on it."""
    without = runner.on(tuple(division.part for division in held.divisions))
    return score_held_out(without.study, held, fit_cells(without, grid, cells, clock))


def _best_cells(heads: Sequence[HeadScore]) -> list[Cell]:
    """Return the configuration with the best mean score, for each head, fusion and outputs."""
    scores: dict[Cell, list[float]] = {}
    for head in heads:
        scores.setdefault(head.cell, []).append(head.score)
    best: dict[Group, Cell] = {}
    for cell in sorted(scores, key=lambda cell: -float(np.mean(scores[cell]))):
        best.setdefault(cell.group, cell)
    return sorted(best.values(), key=list(scores).index)


def _conditions(study: Study, grid: Grid) -> dict[str, Any]:
    if grid.folds is None:
        scored_on = "the calibrating part of validation, which chose no epoch"
    else:
        scored_on = f"all rows, by heads of {grid.folds} folds that saw nothing of them, not even to choose an epoch"
    return {
        "scored_on": scored_on,
        "interval": _INTERVAL,
        "views": [_view_name(view) for view in study.rows.views],
        "device": study.device,
        "memory": study.memory,
        "machine": {"platform": platform.platform(), "machine": platform.machine(), "cpus": os.cpu_count()},
        "versions": library_versions(),
    }


def _view_name(view: Mapping[str, Selection]) -> str:
    """Return the view of what is made of pictures."""
    return next((selection.view for modality, selection in view.items() if modality != "text"), "clean")
