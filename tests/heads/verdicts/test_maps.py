"""Laws of the maps from raw scores to probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest

from heads.data.tasks import default_tasks
from heads.errors import HeadsError
from heads.head.protocol import Prediction
from heads.verdicts.maps import LogisticMap, ProbabilityMaps, log_odds, parse_maps

RAW = np.array([0.0, 0.01, 0.3, 0.5, 0.9, 1.0], dtype=np.float32)
MAPPED = ProbabilityMaps(0.25, LogisticMap(0.7, 0.4), 2.0)


def test_without_a_map_scores_stay_as_they_are() -> None:
    for maps in (ProbabilityMaps(), ProbabilityMaps(0.25)):
        assert (maps.p_ai(RAW, prior=maps.prior).astype(np.float32) == RAW).all()


@pytest.mark.parametrize("maps", [ProbabilityMaps(0.25), MAPPED])
@pytest.mark.parametrize("prior", [0.001, 0.25, 0.9])
def test_a_prior_is_bayes_rule(maps: ProbabilityMaps, prior: float) -> None:
    found = maps.p_ai(RAW[1:-1], prior=prior)
    for p, raw in zip(found.tolist(), RAW[1:-1].tolist(), strict=True):
        odds = math.log(raw / (1 - raw))
        ratio = math.exp(0.7 * odds + 0.4 if maps.a else odds - math.log(0.25 / 0.75))
        assert p == pytest.approx(ratio * prior / (ratio * prior + 1 - prior), rel=1e-6)
    assert (np.diff(found) > 0).all()


def test_a_temperature_divides_log_probabilities() -> None:
    tasks = default_tasks(["x", "y", "z"])
    proba = np.array([[0.7, 0.2, 0.1], [1.0, 0.0, 0.0]], dtype=np.float32)
    found = MAPPED.apply(Prediction({"a": RAW[:2], "b": proba}), tasks).proba["b"]
    roots = [math.sqrt(p) for p in (0.7, 0.2, 0.1)]
    assert found[0] == pytest.approx([root / sum(roots) for root in roots], rel=1e-6)
    assert found[1].tolist() == [1, 0, 0] and found.dtype == np.float32


def test_log_odds_are_finite_where_scores_end() -> None:
    assert log_odds([0.0, 0.5, 1.0]) == pytest.approx([-16.118, 0, 16.118], abs=1e-3)


def test_another_prior_needs_that_of_training() -> None:
    with pytest.raises(HeadsError, match="does not record the share of AI rows"):
        ProbabilityMaps().p_ai(RAW, prior=0.1)
    with pytest.raises(HeadsError, match="prior is 0"):
        MAPPED.p_ai(RAW, prior=0)


def test_what_is_written_is_read() -> None:
    for maps in (ProbabilityMaps(), MAPPED):
        assert parse_maps(maps.to_json(), "x") == maps


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"more": 1}, "x has malformed maps"),
        ({"a": {"slope": 1}}, "x has malformed maps"),
        ({"a": {"slope": 0, "intercept": 0}}, "slope of the map of A is 0"),
        ({"a": {"slope": 1, "intercept": 1e9}}, "intercept of the map of A is 1000000000.0"),
        ({"b": -1}, "temperature of B is -1"),
        ({"prior": True}, "prior is True"),
        ({"prior": None}, "needs the prior"),
    ],
)
def test_maps_of_somebody_else_are_checked(change: dict[str, object], message: str) -> None:
    with pytest.raises(HeadsError, match=message):
        parse_maps({**MAPPED.to_json(), **change}, "x")
