"""Look for the promising corner of a grid cheaply: successive halving on principal components.

Jamieson & Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization" (2016): all
configurations get a small budget, the better ones a larger one. Here the budget is epochs and seeds, and every round
takes the principal components of the vectors, so that even all rounds together cost little beside one full fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from heads.ablation.comparison import Summary
from heads.ablation.components import Components
from heads.ablation.grid import Cell, Grid
from heads.ablation.study import EpochProgress, Study, Trial
from heads.data.fusion import LAYERED
from heads.head.kinds import find_kind

__all__ = ["FINALISTS", "MOST_FINALISTS", "ROUNDS", "Round", "Screened", "choose_finalists", "screen", "screen_grid"]

FINALISTS, MOST_FINALISTS = 2, 5
"""Configurations of a fusion that are fitted in full: so many at least, and at most."""

_FINAL_SHARE = 1 / 8
"""Of all parameters of a grid's configurations: what more finalists than the least may have together."""


@dataclass(frozen=True)
class Round:
    """What a configuration gets in one round.

    Attributes
    ----------
    effort : float
        Share of the epochs that a full fit may take.
    seeds : int
    keep : float
        Share of the configurations of each learning rate that go on. Rates are not compared before all epochs are
        given: in fewer, low ones do not come as far.
    """

    effort: float
    seeds: int
    keep: float


ROUNDS = (Round(0.25, 1, 1 / 3), Round(1.0, 2, 0.0))


@dataclass(frozen=True)
class Screened:
    """How a configuration did in the last round that it reached.

    Attributes
    ----------
    cell : Cell
    stage : int
        Number of the round, from 1.
    scores : tuple of float
        One a seed.
    n_parameters : int
        Of the network on the full input: what it would cost.
    """

    cell: Cell
    stage: int
    scores: tuple[float, ...]
    n_parameters: int

    @property
    def score(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.scores))


def screen(
    cells: Sequence[Cell],
    trial: Callable[[Sequence[Cell], int, Round], Sequence[tuple[float, int]]],
) -> tuple[tuple[Cell, ...], tuple[Screened, ...]]:
    """Return the configurations to be fitted in full, and how all did.

    Parameters
    ----------
    cells : sequence of Cell
        Of one group; where there are no more than `FINALISTS`, all of them are finalists at once.
    trial : callable
        ``(cells, seed, round) -> [(score, n_parameters), …]``: fits configurations together, as that round wants it.
    """
    if len(cells) <= FINALISTS:
        return tuple(cells), ()
    reached: dict[Cell, Screened] = {}
    alive = list(cells)
    for number, rung in enumerate(ROUNDS, start=1):
        found = [trial(alive, seed, rung) for seed in range(rung.seeds)]
        for place, cell in enumerate(alive):
            scores = tuple(seed[place][0] for seed in found)
            reached[cell] = Screened(cell, number, scores, found[0][place][1])
        ranked = sorted((reached[cell] for cell in alive), key=lambda screened: -screened.score)
        if number == len(ROUNDS):
            total = sum(screened.n_parameters for screened in reached.values())
            alive = list(choose_finalists(ranked, room=_FINAL_SHARE * total))
        else:
            alive = _best_of_rates([screened.cell for screened in ranked], share=rung.keep)
    return tuple(alive), tuple(reached.values())


def _best_of_rates(ranked: Sequence[Cell], *, share: float) -> list[Cell]:
    """Return a share of the configurations of each learning rate, best first: of each one at least, of all two."""
    kept = []
    for rate in dict.fromkeys(cell.lr for cell in ranked):
        mine = [cell for cell in ranked if cell.lr == rate]
        kept += mine[: max(1, round(len(mine) * share))]
    kept += [cell for cell in ranked if cell not in kept][: max(0, FINALISTS - len(kept))]
    return sorted(kept, key=ranked.index)


def choose_finalists(ranked: Sequence[Screened], *, room: float = 0.0) -> tuple[Cell, ...]:
    """Return the best configuration, and others that are as good up to twice the spread over seeds, cheapest first.

    Wide networks overfit less on components than on the full input: what is as good here and smaller may well be
    better there, and costs little to look at. If no other is as good, the next best comes along.

    Parameters
    ----------
    ranked : sequence of Screened
        Best first.
    room : float
        Parameters that all finalists may have together, where they are more than `FINALISTS`.
    """
    spread = float(np.sqrt(np.mean([np.var(screened.scores, ddof=1) for screened in ranked])))
    as_good = [screened for screened in ranked if screened.score >= ranked[0].score - 2 * spread]
    as_good.sort(key=lambda screened: (screened.n_parameters, -screened.score))
    chosen = [ranked[0]]
    for screened in as_good:
        spent = sum(each.n_parameters for each in chosen) + screened.n_parameters
        is_room = len(chosen) < FINALISTS or (spent <= room and len(chosen) < MOST_FINALISTS)
        if screened is not ranked[0] and is_room:
            chosen.append(screened)
    others = [screened for screened in ranked if screened not in chosen]
    return tuple(screened.cell for screened in (chosen + others)[: max(FINALISTS, len(chosen))])


def screen_grid(
    study: Study, grid: Grid, *, progress: Callable[[str, int], None] | None = None
) -> tuple[tuple[Cell, ...], tuple[Summary, ...]]:
    """Screen the configurations of each group of networks, on the first division of the rows.

    Parameters
    ----------
    study : Study
    grid : Grid
    progress : callable, optional
        Called with what is looked at and the epoch.

    Returns
    -------
    finalists : tuple of Cell
        And all configurations of other heads.
    screened : tuple of Summary
        Lines of the table for the others.
    """
    finalists: list[Cell] = []
    lines: list[Summary] = []
    for group in dict.fromkeys(cell.group for cell in grid.cells):
        cells = [cell for cell in grid.cells if cell.group == group]
        if not find_kind(cells[0].head).fits_packs or len(cells) <= FINALISTS:
            finalists += cells
            continue

        def report(epoch: int, name: str = cells[0].name) -> None:
            if progress is not None:
                progress(f"screening {name}", epoch)

        chosen, found = screen(cells, _trial_of(study, cells[0], report))
        finalists += [cell for cell in cells if cell in chosen]
        lines += [_line(screened) for screened in found if screened.cell not in chosen]
    return tuple(finalists), tuple(lines)


def _trial_of(
    study: Study, first: Cell, report: EpochProgress
) -> Callable[[Sequence[Cell], int, Round], list[tuple[float, int]]]:
    """Return what fits configurations of the group of one on components of its vectors."""
    columns = study.columns(first)
    fit_rows = study.parts[0].fit_rows
    components = Components(study.source(first), columns, rows=fit_rows, is_shared=first.fusion in LAYERED)
    # A step of AdamW moves a hidden unit in proportion to its inputs: with fewer of them the same rate does less, but
    # they are the ones that matter. Measured: with the root of the ratio the rates keep their ranks.
    gain = math.sqrt(columns.width / components.n_columns)

    def trial(cells: Sequence[Cell], seed: int, rung: Round) -> list[tuple[float, int]]:
        from heads.ablation.packs import build_spec, fit_pack  # torch: not where nothing is screened
        from heads.mlp.network import Network

        group = Trial(tuple(cells), seed, 0)
        full = [build_spec(study, cell, group) for cell in cells]
        specs = []
        for cell, spec in zip(cells, full, strict=True):
            config = spec.config
            epochs = max(1, round(config.count_epochs(len(fit_rows)) * rung.effort))
            rates = {"lr": config.lr * gain, "weight_decay": config.weight_decay / gain}
            specs.append(build_spec(study, cell, group, epochs=epochs, **rates))
        targets = study.features.targets
        fitted = fit_pack(study, components, targets, specs, columns=components.columns, progress=report)
        scores = [max((record["score"] for record in found.history), default=0.0) for found in fitted]
        sizes = [Network.build(spec.config, study.features.tasks, columns).n_parameters for spec in full]
        return list(zip(scores, sizes, strict=True))

    return trial


def _line(screened: Screened) -> Summary:
    sd = float(np.std(screened.scores, ddof=1)) if len(screened.scores) > 1 else None
    names = ("a_balanced_accuracy", "b_f1_macro", "calibrating_score")
    scores: dict[str, float | None] = {"score": screened.score, "score_sd": sd}
    for name in names:
        scores |= {name: None, f"{name}_sd": None}
    return Summary(
        cell=screened.cell,
        stage=f"screen {screened.stage}",
        n_seeds=len(screened.scores),
        scores=scores,
        n_parameters=screened.n_parameters,
        best_epoch=None,
        seconds=None,
    )
