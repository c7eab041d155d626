"""Laws of resampling: every group is drawn alike, chunks change nothing, sums are those of the rows."""

from __future__ import annotations

import ast
import math
import sys
import tracemalloc
from dataclasses import FrozenInstanceError
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import heads.statistics
from heads.errors import HeadsError
from heads.statistics.decisions import DecisionCounts, balanced_accuracy
from heads.statistics.ranking import RankedScores
from heads.statistics.resampling import (
    GroupSums,
    cut_weights,
    draw_weights,
    iterate_weights,
    resample,
    standard_error,
)


def test_weights_resample_as_many_groups_and_repeat_with_their_seed() -> None:
    weights = draw_weights(30, n_resamples=50, seed=4)
    assert (weights.sum(axis=1) == 30).all()
    assert (weights == draw_weights(30, n_resamples=50, seed=4)).all()
    assert (weights != draw_weights(30, n_resamples=50, seed=5)).any()
    assert len(np.unique(weights, axis=0)) == 50


def test_a_resample_draws_every_group_alike_and_there_are_2000_of_seed_0() -> None:
    weights = draw_weights(2)
    assert weights.shape == (2000, 2)
    assert (weights == draw_weights(2, seed=0)).all() and (weights != draw_weights(2, seed=1)).any()
    # Of two draws among two groups both are the first in a quarter: three standard errors of a share in 2000.
    assert np.bincount(weights[:, 0].astype(int)) / 2000 == pytest.approx([0.25, 0.5, 0.25], abs=0.034)


def test_one_group_cannot_be_resampled() -> None:
    with pytest.raises(HeadsError, match="1 group of rows"):
        draw_weights(1)


def test_chunks_are_the_same_draws() -> None:
    n = 60_000
    chunks = list(iterate_weights(n, n_resamples=7, seed=3))
    rng = np.random.default_rng(3)
    drawn = [np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(7)]
    assert [len(chunk) for chunk in chunks] == [4, 3]
    assert (np.concatenate(chunks) == np.stack(drawn)).all()


@pytest.mark.parametrize(("n", "width"), [(0, 5), (1, 1), (10, 10**9), (500, 300_000), (10, 0)])
def test_slices_cover_all_weightings_once_and_each_stays_small(n: int, width: int) -> None:
    slices = list(cut_weights(n, width))
    assert [k for part in slices for k in range(n)[part]] == list(range(n))
    assert all((part.stop - part.start) * width * 8 <= 2 << 20 or part.stop - part.start == 1 for part in slices)
    assert all(a.stop == b.start for a, b in pairwise(slices))
    assert next(cut_weights(10**6, 1)) == slice(0, 2**18)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(-3, 3)), max_size=30), st.booleans())
@settings(max_examples=60)
def test_sums_by_group_and_cell_are_those_of_the_rows(rows: list[tuple[int, int, int]], is_count: bool) -> None:
    cells, groups, values = (np.array(column, np.int64) for column in (zip(*rows, strict=True) if rows else ([],) * 3))
    weights = np.random.default_rng(len(rows)).integers(0, 4, (3, 5)).astype(float)
    sums = GroupSums.build(cells, groups, None if is_count else values.astype(float), n_cells=6)
    expected = np.zeros((3, 6))
    for cell, group, value in rows:
        expected[:, cell] += weights[:, group] * (1 if is_count else value)
    assert (sums.weigh(weights) == expected).all()
    assert sorted({(cell, group) for cell, group, _ in rows}) == list(
        zip(sums.entry_cells.tolist(), sums.groups.tolist(), strict=True)
    )


def test_figures_come_of_the_rows_as_they_are_and_then_of_each_resample() -> None:
    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {"first": weights[:, 0], "all": weights}

    found = resample(measure, 4, n_resamples=6, seed=2)
    assert (found["all"] == np.vstack([np.ones(4), draw_weights(4, n_resamples=6, seed=2)])).all()
    assert (found["first"] == found["all"][:, 0]).all()
    assert (resample(measure, 4)["all"] == resample(measure, 4, n_resamples=500, seed=0)["all"]).all()
    assert resample(measure, 2)["first"].shape == (501,)
    assert resample(measure, 1)["all"].tolist() == [[1.0]]


def test_sums_cannot_be_changed() -> None:
    none = np.array([], np.int64)
    with pytest.raises(FrozenInstanceError):
        GroupSums.build(none, none, n_cells=1).n_cells = 2  # type: ignore[misc]


def test_the_standard_error_is_that_of_the_resamples_that_know_the_figure() -> None:
    assert standard_error(np.array([1.0, np.nan, 3.0, 5.0])) == pytest.approx(2.0)
    assert standard_error(np.array([1.0, 3.0])) == pytest.approx(math.sqrt(2))
    assert np.isnan(standard_error(np.array([1.0, np.nan]))) and np.isnan(standard_error(np.array([])))


def test_many_groups_need_little_memory() -> None:
    n = 45_000
    rng = np.random.default_rng(0)
    y, p, groups = rng.integers(0, 2, n), rng.random(n), np.arange(n)
    ranked = RankedScores.sort(y, p, groups)
    counts = DecisionCounts.count(y, (p > 0.5).astype(np.int64), groups, n_classes=2)
    tracemalloc.start()
    resample(
        lambda weights: {**ranked.measure(weights), "balanced": balanced_accuracy(counts.confusion(weights))},
        n,
        n_resamples=60,
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32e6


def test_the_room_knows_numpy_and_scipy_special_and_imports_the_latter_where_it_is_needed() -> None:
    allowed = {"numpy", "scipy.special", "heads.errors", "heads.statistics"}
    for path in Path(heads.statistics.__path__[0]).glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        at_once = {id(node) for node in tree.body}
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                root = name.split(".")[0]
                known = ".".join(name.split(".")[: 1 if root == "numpy" else 2])
                assert root in sys.stdlib_module_names or known in allowed, (path.name, name)
                assert root != "scipy" or id(node) not in at_once, (path.name, name)
