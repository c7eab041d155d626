"""Scores of verdicts that may be unsure: with the rows of which nothing was said, and without them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heads.data.tasks import IntArray
from heads.head.metrics import Metrics, multiclass_metrics

__all__ = ["AbstainingScores", "score_abstaining"]


@dataclass(frozen=True)
class AbstainingScores:
    """How good verdicts are of ``n`` rows.

    Attributes
    ----------
    confusion : int array (K, K + 1)
        Rows by class and verdict; the last column is unsure.
    with_unsure : dict
        The keys of `multiclass_metrics` over all rows: unsure is right of no class.
    without_unsure : dict
        The same over the rows of which something was said; None each if there are none.
    """

    confusion: IntArray
    with_unsure: Metrics
    without_unsure: Metrics

    @property
    def n_unsure(self) -> int:
        """Rows of which nothing was said."""
        return int(self.confusion[:, -1].sum())

    @property
    def decided(self) -> float | None:
        """Share of rows of which something was said; None without rows."""
        n = int(self.confusion.sum())
        return 1 - self.n_unsure / n if n else None


def score_abstaining(y: IntArray, verdict: IntArray, n_classes: int) -> AbstainingScores:
    """Score verdicts of which some are unsure.

    Parameters
    ----------
    y : int array (n,)
        Joint classes, known for every row: 0 real, ``1 + k`` generator k.
    verdict : int array (n,)
        As of `heads.verdicts.judging.Judgement`: -1 is unsure.
    n_classes : int
        K.
    """
    said = verdict >= 0
    confusion = np.zeros((n_classes, n_classes + 1), dtype=np.int64)
    np.add.at(confusion, (y, np.where(said, verdict, n_classes)), 1)
    without = multiclass_metrics(y[said], verdict[said], n_classes)
    if not len(y):
        return AbstainingScores(confusion, dict(without), without)
    hits, rows = np.diagonal(confusion), confusion.sum(axis=1)
    both = rows + confusion[:, :n_classes].sum(axis=0)
    f1 = np.divide(2 * hits, both, out=np.full(n_classes, np.nan), where=both > 0)
    with_unsure: Metrics = {
        "accuracy": float(hits.sum() / len(y)),
        "f1_macro": float(np.nanmean(f1)),
        "f1_weighted": float(np.nansum(f1 * rows) / len(y)),
    }
    return AbstainingScores(confusion, with_unsure, without)
