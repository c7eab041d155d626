"""Laws of what a page can show: counts at every threshold, and errors where fewer rows are decided."""

from __future__ import annotations

import numpy as np
import pytest

from heads.evaluation.curves import COVERAGES, GRID, count_above, risk_coverage
from heads.verdicts.points import OperatingPoint
from tests.heads.evaluation.made_up import draw_figures

POINT = OperatingPoint("both", "clean", 0.7313, 0.4242)


def test_counts_are_those_of_rows_at_or_above_each_threshold() -> None:
    figures = draw_figures()
    found = count_above(figures, [POINT])
    assert {*GRID.tolist(), 0.7313, 0.4242} == {*found["thresholds"]} and len(GRID) == 1001
    assert found["thresholds"] == sorted(found["thresholds"])
    origin, generator = figures.truth.slices["origin"], figures.truth.generator
    assert sum(each["n"] for each in found["counts"]) == len(figures.truth)
    for each in found["counts"]:
        raw = figures.scored.raw[(origin == each["origin"]) & (generator == each["generator"])]
        assert each["n"] == len(raw)
        assert each["at_least"] == [int((raw >= threshold).sum()) for threshold in found["thresholds"]]


def test_the_surest_rows_are_decided_first() -> None:
    figures = draw_figures()
    found = risk_coverage(figures)
    assert tuple(share for share, _ in found) == COVERAGES
    wrong = (figures.scored.raw >= 0.5) != (figures.truth.y == 1)
    assert found[0][1].estimate == pytest.approx(wrong.mean())
    order = np.argsort(-np.abs(figures.scored.raw - 0.5), kind="stable")
    assert found[-1][1].estimate == pytest.approx(wrong[order[: len(order) // 2]].mean())
    assert found[-1][1].estimate < found[0][1].estimate
