"""Laws of comparisons: paired, on the rows that all answer, claims adjusted for the whole table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from heads.errors import HeadsError
from heads.evaluation.comparison import COMPARED, compare
from heads.evaluation.detectors import Scored
from heads.evaluation.truth import Truth
from heads.verdicts.maps import RAW, ProbabilityMaps
from heads.verdicts.points import OperatingPoint
from tests.heads.evaluation.made_up import BALANCED, draw_scores, draw_truth

TRUTH = draw_truth(600, n_groups=120)


@dataclass(frozen=True)
class MadeUp:
    """A detector of drawn scores."""

    name: str
    scored: Scored
    maps: ProbabilityMaps = RAW

    def point(self, name: str | None) -> OperatingPoint:
        assert name is None
        return BALANCED

    def score(self, truth: Truth, view: str, *, prior: float | None) -> Scored:
        assert truth is TRUTH and prior == self.maps.prior and view
        return self.scored


def detector(name: str, *, rows: Any = slice(None), **how: Any) -> MadeUp:
    return MadeUp(name, draw_scores(TRUTH, **how).select(np.arange(len(TRUTH))[rows]))


def test_a_detector_differs_from_itself_by_nothing() -> None:
    found = compare([detector("one"), detector("two")], TRUTH, views=["clean", "blur:1"])
    assert [(each.view, each.figure) for each in found.differences] == [
        (view, name) for view in ("clean", "blur:1") for name in COMPARED
    ]
    assert all(each.difference.estimate == 0 and each.p_value == 1 for each in found.differences)
    assert {each.verdict for each in found.differences} == {"no difference shown"}


def test_what_is_better_is_said_so_whichever_comes_first() -> None:
    good, bad = detector("good", signal=4), detector("bad", signal=0.5)
    for pair, verdict in (([bad, good], "better"), ([good, bad], "worse")):
        found = {each.figure: each for each in compare(pair, TRUTH, views=["clean"]).differences}
        assert {name: found[name].verdict for name in ("auc", "balanced_accuracy", "nll")} == dict.fromkeys(
            ("auc", "balanced_accuracy", "nll"), verdict
        )
        assert found["b_f1_macro"].verdict == "no difference shown"  # the same draws
        low, high = found["auc"].difference.low, found["auc"].difference.high
        assert low < found["auc"].other - found["auc"].first < high


def test_chance_alone_shows_nothing() -> None:
    several = [detector(str(seed), seed=seed) for seed in range(2, 12)]
    found = compare(several, TRUTH, views=["clean"])
    assert len(found.differences) == 9 * len(COMPARED)
    assert {each.verdict for each in found.differences} == {"no difference shown"}
    assert min(each.p_value for each in found.differences) > 0.05


def test_other_rows_are_refused_unless_the_shared_ones_are_asked_for() -> None:
    pair = [detector("one", rows=slice(500)), detector("two", rows=slice(599, 99, -1))]
    with pytest.raises(HeadsError, match=r"\(one 500, two 500; all of them 400\): --shared"):
        compare(pair, TRUTH, views=["clean"])
    found = compare(pair, TRUTH, views=["clean"], shared=True)
    assert (found.n, found.answered) == (400, {"one": 500, "two": 500})
    assert all(each.difference.estimate == 0 for each in found.differences if each.figure != "b_f1_macro")
    with pytest.raises(HeadsError, match="no labelled row that all"):
        compare([detector("one", rows=slice(9)), detector("two", rows=slice(9, 20))], TRUTH, views=["c"], shared=True)


@pytest.mark.parametrize(
    ("names", "message"), [(["a"], "there is one detector"), (["a", "b", "a"], "a is named twice")]
)
def test_two_that_differ_are_needed(names: list[str], message: str) -> None:
    with pytest.raises(HeadsError, match=message):
        compare([detector(name) for name in names], TRUTH, views=["clean"])
