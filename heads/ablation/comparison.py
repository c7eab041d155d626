"""What an ablation found: scores over seeds, differences to `image` and to the first outputs, and what they show."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.ablation.bootstrap import GroupCounts, resample_scores
from heads.ablation.controls import LABELS_SHUFFLED, TEXT_SHUFFLED
from heads.ablation.findings import Contrast, Finding, Resampled, find_edges, weigh
from heads.ablation.grid import Cell, Grid, Group
from heads.statistics.intervals import Interval, bound
from heads.statistics.resampling import draw_weights

__all__ = ["REFERENCE", "HeadScore", "Summary", "compare", "mean_scores"]

REFERENCE = "image"
_SCORES = ("score", "a_balanced_accuracy", "b_f1_macro", "calibrating_score")
_LEAK_SHARE, _LEAK_LEAST = 1 / 3, 0.05


@dataclass(frozen=True)
class HeadScore:
    """One configuration with one seed; with folds, all folds together.

    Attributes
    ----------
    cell : Cell
    seed : int
    score : float
        Mean of the next two, on the rows that are compared.
    a_balanced_accuracy, b_f1_macro : float or None
        At the threshold 0.5; over the AI rows.
    calibrating_score : float or None
        The score where it is of the calibrating part of validation; None with folds.
    n_parameters : int or None
        Numbers that were learnt; None where that has no meaning (trees).
    best_epoch : float or None
        The epoch that was kept, the mean over the folds; 0 for a head that diverged at once.
    seconds : float
        Of the fit and its scores, on this machine: a head's share of what was trained together.
    counts : GroupCounts
        Decisions by group.
    """

    cell: Cell
    seed: int
    score: float
    a_balanced_accuracy: float | None
    b_f1_macro: float | None
    calibrating_score: float | None
    n_parameters: int | None
    best_epoch: float | None
    seconds: float
    counts: GroupCounts

    def to_dict(self) -> dict[str, Any]:
        """Return the record of this head in ``heads.csv``."""
        plain = {name: value for name, value in vars(self).items() if name not in ("cell", "counts")}
        return {**self.cell.to_dict(), **plain}


@dataclass(frozen=True)
class Summary:
    """One configuration: a line of the table.

    Attributes
    ----------
    cell : Cell
    stage : str
        ``"full"``, or ``"screen 1"`` … for what was only looked at in a round of screening.
    n_seeds : int
    scores : mapping of str to float or None
        ``score`` and its parts, means over the seeds, and ``<name>_sd``, the standard deviation.
    n_parameters : int or None
    best_epoch : float or None
    seconds : float or None
        Mean over the seeds; None for what was only screened.
    difference : Interval or None
        In score to the fusion ``image`` with the same head, outputs and settings; None for that itself and where there
        is none.
    from_first : Interval or None
        In score to the first outputs with the same head, fusion and settings; None likewise.
    """

    cell: Cell
    stage: str
    n_seeds: int
    scores: Mapping[str, float | None]
    n_parameters: int | None
    best_epoch: float | None
    seconds: float | None
    difference: Interval | None = None
    from_first: Interval | None = None

    @property
    def score(self) -> float:
        """Mean score over the seeds."""
        score = self.scores["score"]
        assert score is not None
        return score

    def to_dict(self) -> dict[str, Any]:
        """Return the line of the table."""
        differences = {"vs_image": self.difference}
        if self.cell.outputs:
            differences["vs_first"] = self.from_first
        return {
            **self.cell.to_dict(),
            "stage": self.stage,
            "n_seeds": self.n_seeds,
            **self.scores,
            "n_parameters": self.n_parameters,
            "best_epoch": self.best_epoch,
            "seconds": self.seconds,
            **{
                name + end: None if difference is None else difference.to_dict()[of]
                for name, difference in differences.items()
                for end, of in (("", "estimate"), ("_low", "low"), ("_high", "high"))
            },
        }


def compare(
    heads: Sequence[HeadScore], grid: Grid, screened: Sequence[Summary] = (), *, seed: int = 0
) -> tuple[tuple[Summary, ...], tuple[Finding, ...]]:
    """Summarise heads over their seeds, and set fusions against the picture alone, outputs against the first.

    Parameters
    ----------
    heads : sequence of HeadScore
        All on the same rows.
    grid : Grid
        What they are of.
    screened : sequence of Summary
        Further lines for the table.
    seed : int
        Of the resamples.
    """
    by_cell: dict[Cell, list[HeadScore]] = {}
    for head in heads:
        by_cell.setdefault(head.cell, []).append(head)
    n_groups = heads[0].counts.n_groups
    weights = draw_weights(n_groups, seed=seed) if n_groups > 1 else None
    resampled = {
        cell: resample_scores([head.counts for head in found], weights)
        for cell, found in by_cell.items()
        if weights is not None
    }
    summaries = [_summarise(found, resampled, grid) for found in by_cell.values()]
    findings = list(_findings(summaries, resampled, grid, by_cell)) if resampled else []
    return (*summaries, *screened), (*findings, *_edges(summaries, grid))


def mean_scores(heads: Sequence[HeadScore]) -> dict[str, float | None]:
    """Return each score's mean and standard deviation over the seeds; None where undefined."""
    scores: dict[str, float | None] = {}
    for name in _SCORES:
        known = [value for head in heads if (value := getattr(head, name)) is not None]
        scores[name] = statistics.fmean(known) if known else None
        scores[f"{name}_sd"] = statistics.stdev(known) if len(known) > 1 else None
    return scores


def _summarise(heads: Sequence[HeadScore], resampled: Resampled, grid: Grid) -> Summary:
    cell, n_groups = heads[0].cell, heads[0].counts.n_independent
    epochs = [head.best_epoch for head in heads if head.best_epoch is not None]
    difference, from_first = (
        bound(resampled[cell] - resampled[other], n_groups)
        if cell != other and other in resampled and cell in resampled
        else None
        for other in (grid.counterpart(cell, REFERENCE), grid.first_of(cell))
    )
    return Summary(
        cell,
        "full",
        len(heads),
        mean_scores(heads),
        heads[0].n_parameters,
        statistics.fmean(epochs) if epochs else None,
        statistics.fmean(head.seconds for head in heads),
        difference,
        from_first,
    )


def _findings(
    summaries: Sequence[Summary], resampled: Resampled, grid: Grid, heads: Mapping[Cell, Sequence[HeadScore]]
) -> Iterator[Finding]:
    """Set the best of each group against the best with `REFERENCE` and against the best with the first outputs."""
    best: dict[Group, Summary] = {}
    for summary in sorted(summaries, key=lambda summary: -summary.score):
        if summary.cell.control is None:
            best.setdefault(summary.cell.group, summary)
    controls = {(s.cell.group, s.cell.control): s for s in summaries if s.cell.control}
    for group, true in best.items():
        if (shuffled := controls.get((group, LABELS_SHUFFLED))) is not None:
            counts = [head.counts for head in heads[shuffled.cell]]
            yield from _leaks(shuffled, true, resampled[shuffled.cell], counts)
    contrasts = []
    for group, found in best.items():
        image = best.get(grid.counterpart(found.cell, REFERENCE).group)
        if image is not None and found.cell.fusion != REFERENCE:
            without = controls.get((group, TEXT_SHUFFLED))
            contrasts.append(Contrast(found.cell, image.cell, None if without is None else without.cell))
    for found in best.values():
        first = best.get(grid.first_of(found.cell).group)
        if first is not None and first is not found:
            contrasts.append(Contrast(found.cell, first.cell))
    n_groups = next(iter(heads.values()))[0].counts.n_independent
    yield from weigh(contrasts, resampled, n_groups=n_groups)


def _edges(summaries: Sequence[Summary], grid: Grid) -> Iterator[Finding]:
    """Say where the best configuration of a kind of head stands at an end of the grid."""
    best: dict[str, Cell] = {}
    for summary in sorted(summaries, key=lambda summary: -summary.score):
        if summary.cell.control is None:
            best.setdefault(summary.cell.head, summary.cell)
    for cell in best.values():
        yield from find_edges(cell, {"dim": grid.dims, "lr": grid.lrs, "weight_decay": grid.weight_decays})


def _leaks(
    shuffled: Summary, true: Summary, resampled: NDArray[np.float64], counts: Sequence[GroupCounts]
) -> Iterator[Finding]:
    """Say so if a head that was fitted to shuffled labels does a good part of what it does with true ones.

    Some of it may be luck, most where groups are few: its interval has to be above chance, too.
    """
    chance = statistics.fmean(each.chance for each in counts)
    found = bound(resampled, min(each.n_independent for each in counts), scale="logit")
    if found.low > chance and shuffled.score - chance > max(_LEAK_LEAST, _LEAK_SHARE * (true.score - chance)):
        cell = shuffled.cell
        sentence = (
            f"{cell.head} {cell.name} scores {shuffled.score:.3f} after learning shuffled labels, where chance is "
            f"{chance:.3f} and true labels give {true.score:.3f}: something tells it what it must not know"
        )
        yield Finding.of(cell, "leak", sentence)
