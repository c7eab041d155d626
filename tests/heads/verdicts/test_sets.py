"""Laws of the sets of generators: they hold the true one as often as promised, where anything is promised."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from heads.data.tasks import default_tasks
from heads.errors import HeadsError
from heads.head.protocol import Prediction
from heads.verdicts.judging import judge, no_judgement
from heads.verdicts.maps import RAW
from heads.verdicts.points import OperatingPoint
from heads.verdicts.sets import GeneratorSets, build_sets, least_draws, parse_sets

CLASSES = ("sdxl", "dalle3", "flux")
ABOUT = {"view": "clean", "dataset": "photos", "rows": "valid"}
SETS = GeneratorSets(0.9, (0.5, None, 0.3), (40, 3, 9), "row", **ABOUT)


def draw(rng: np.random.Generator, counts: tuple[int, ...], signal: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """P(generator | AI) and generators."""
    y = np.repeat(np.arange(len(counts)), counts)
    z = np.exp(rng.normal(size=(len(y), len(counts))) + signal * np.eye(len(counts))[y])
    return (z / z.sum(axis=1, keepdims=True)).astype(np.float32), y


def build(proba: Any, y: Any, coverage: float = 0.9, groups: Any = None) -> GeneratorSets:
    groups = np.arange(len(y)) if groups is None else groups
    return build_sets(proba, y, groups, classes=CLASSES, coverage=coverage, about=ABOUT)


@pytest.mark.parametrize(("coverage", "needed"), [(0.9, 9), (0.95, 19), (0.8, 4), (0.5, 1)])
def test_a_guarantee_needs_rows(coverage: float, needed: int) -> None:
    assert least_draws(coverage) == needed
    # The place of the cut is among the draws from there on.
    assert math.ceil(round((needed + 1) * coverage, 9)) <= needed
    assert math.ceil(round(needed * coverage, 9)) > needed - 1


def test_each_generator_has_the_cut_of_its_own_rows() -> None:
    proba, y = draw(np.random.default_rng(0), (40, 8, 9))
    found = build(proba, y)
    assert (found.n, found.unit) == ((40, 8, 9), "row") and found.cuts[1] is None
    first = sorted(proba[y == 0, 0].tolist(), reverse=True)
    assert found.cuts[0] == pytest.approx(first[math.ceil(41 * 0.9) - 1])
    assert found.cuts[2] == pytest.approx(min(proba[y == 2, 2]))


def test_a_group_counts_once() -> None:
    proba, y = draw(np.random.default_rng(0), (40, 40, 40))
    found = build(proba, y, groups=np.arange(120) // 2)
    assert (found.n, found.unit) == ((20, 20, 20), "group")


def test_sets_have_what_reaches_the_cuts_and_always_the_likeliest() -> None:
    proba = np.array([[0.5, 0.3, 0.2], [0.34, 0.33, 0.33], [0.1, 0.25, 0.65], [0.4, 0.29, 0.29]], dtype=np.float32)
    assert SETS.choose(proba).tolist() == [
        [True, True, False],
        [True, True, True],
        [False, False, True],
        [True, False, False],
    ]


def test_a_probability_that_is_the_cut_is_enough() -> None:
    sets = GeneratorSets(0.9, (0.75, 0.25, None), (9, 9, 3), "row", **ABOUT)
    assert sets.choose(np.array([[0.5, 0.25, 0.25], [0.5, 0.5, 0.0]], dtype=np.float32)).tolist() == [
        [True, True, True],
        [True, True, False],
    ]


def test_a_judgement_names_the_sets() -> None:
    tasks, point = default_tasks(CLASSES), OperatingPoint("p", "clean", 0.5, 0.5)
    said = Prediction({"a": np.array([0.9, 0.1], np.float32), "b": np.array([[0.5, 0.3, 0.2], [0, 0, 1]], np.float32)})
    assert judge(said, tasks, point=point, maps=RAW, sets=SETS).sets == ["sdxl|dalle3", "flux"]
    assert judge(said, tasks, point=point, maps=RAW).sets is None
    assert (no_judgement(tasks, sets=SETS).sets, no_judgement(tasks).sets) == ([], None)


@pytest.mark.parametrize(
    ("counts", "coverage", "told"),
    [
        ((8, 8, 2), 0.9, "--coverage 0.9 needs 9 rows .* found 8 at most"),
        ((0, 0, 0), 0.9, "found 0 at most"),
        ((9, 9, 9), 1.0, "--coverage is 1.0, expected"),
        ((9, 9, 9), 0.4, "--coverage is 0.4, expected"),
    ],
)
def test_too_few_rows_of_all_generators_are_refused(counts: tuple[int, ...], coverage: float, told: str) -> None:
    with pytest.raises(HeadsError, match=told):
        build(*draw(np.random.default_rng(0), counts), coverage)


def test_probabilities_that_are_none_are_refused() -> None:
    proba, y = draw(np.random.default_rng(0), (9, 9, 9))
    proba[3] = np.nan
    with pytest.raises(HeadsError, match=r"P\(generator\) of 1 rows is not finite"):
        build(proba, y)


def document(**changes: Any) -> dict[str, Any]:
    found = SETS.to_json()
    return {**found, "cuts": list(found["cuts"]), "n": list(found["n"]), **changes}


@pytest.mark.parametrize(
    "change",
    [
        {"more": 1},
        {"cuts": [None] * 3},
        {"cuts": [0.5, 2, 0.1]},
        {"n": [1]},
        {"n": [-1] * 3},
        {"unit": "rows"},
        {"view": 1},
        {"note": 1},
    ],
)
def test_sets_of_somebody_else_are_checked(change: dict[str, Any]) -> None:
    early = {name: value for name, value in document().items() if name != "note"}
    assert parse_sets(document(), "x") == parse_sets(early, "x") == SETS
    with pytest.raises(HeadsError, match="malformed"):
        parse_sets(document(**change), "x")


@pytest.mark.slow
@pytest.mark.parametrize("counts", [(9, 30, 200), (60, 60, 60)])
def test_each_generator_is_covered_whatever_its_share(counts: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    held = np.zeros(3)
    for _ in range(1000):
        found = build(*draw(rng, counts))
        proba, y = draw(rng, (5, 5, 5))
        held += np.bincount(y[found.choose(proba)[np.arange(15), y]], minlength=3) / 5
    assert (held / 1000 >= 0.89).all()
