"""Laws of moments: they are numpy's, sets add up, and coarse groups follow from fine ones."""

from __future__ import annotations

import numpy as np
import pytest

from heads.data.tasks import build_targets
from heads.errors import HeadsError
from heads.head.moments import Moments
from heads.head.shared_moments import SharedMoments
from tests.heads.rows import TASKS, make_rows

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(500, 7)) * np.logspace(-2, 2, 7) + np.linspace(-100, 100, 7)).astype(np.float32)
GROUPS = RNG.integers(0, 4, 500)


def reference(rows: np.ndarray, groups: np.ndarray, n_groups: int) -> Moments:
    data = X[rows].astype(np.float64)
    parts = [data[groups[rows] == group] for group in range(n_groups)]
    counts = np.array([len(part) for part in parts])
    means = np.array([part.mean(axis=0) if len(part) else np.zeros(7) for part in parts])
    scatter = sum((part - mean).T @ (part - mean) for part, mean in zip(parts, means, strict=True))
    return Moments(counts, means, scatter)


def assert_close(found: Moments, expected: Moments, tolerance: float = 1e-10) -> None:
    np.testing.assert_array_equal(found.counts, expected.counts)
    scale = np.sqrt(np.outer(np.diag(expected.scatter), np.diag(expected.scatter)))
    np.testing.assert_allclose(found.means, expected.means, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.scatter / scale, expected.scatter / scale, atol=tolerance)


@pytest.mark.parametrize("values", [7, 300, 2**22])
def test_they_are_numpys_whatever_the_blocks(values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heads.head.moments._CHUNK", values)
    rows = RNG.permutation(500)[:130]
    assert_close(Moments.of(X, rows=rows, groups=GROUPS), reference(rows, GROUPS, 4))
    assert_close(Moments.of(X), reference(np.arange(500), np.zeros(500, dtype=int), 1))
    assert_close(Moments.of(X, dtype=np.float32), reference(np.arange(500), np.zeros(500, dtype=int), 1), 1e-5)


def test_disjoint_sets_add_up() -> None:
    parts = [Moments.of(X, rows=np.arange(start, 500, 3), groups=GROUPS) for start in range(3)]
    assert_close(Moments.join(parts), Moments.of(X, groups=GROUPS))


def test_an_empty_group_makes_no_difference() -> None:
    groups = np.where(GROUPS == 2, 3, GROUPS)
    found = Moments.of(X, groups=groups)
    assert found.counts[2] == 0 and not found.means[2].any()
    into = np.array([0, 1, 1, 1])
    assert_close(found.merge(into), Moments.of(X, groups=into[groups]))


def test_coarse_groups_follow_from_fine_ones() -> None:
    fine = Moments.of(X, groups=GROUPS)
    into = np.array([1, 0, 1, 1])
    assert_close(fine.merge(into), Moments.of(X, groups=into[GROUPS]))
    assert_close(fine.merge(), Moments.of(X))


def test_standardised_moments_are_those_of_standardised_rows() -> None:
    mean, inverse = X.mean(axis=0, dtype=np.float64), np.append(1 / X.std(axis=0, dtype=np.float64)[:6], 0)
    found = Moments.of(X, groups=GROUPS).transform(mean, inverse)
    Z = (X - mean) * inverse
    expected = [Z[group == GROUPS] for group in range(4)]
    scatter = sum((part - part.mean(axis=0)).T @ (part - part.mean(axis=0)) for part in expected)
    np.testing.assert_allclose(found.scatter, scatter, atol=1e-9 * 500)
    np.testing.assert_allclose(found.means, [part.mean(axis=0) for part in expected], atol=1e-12)


def test_no_rows_cannot_be_measured() -> None:
    with pytest.raises(HeadsError, match="no rows to measure"):
        Moments.of(X, rows=np.zeros(0, dtype=np.int64))


def test_cells_give_each_part_and_task_its_own_rows_alone() -> None:
    rows, targets = make_rows(200, seed=1)
    b = targets.y["b"].copy()
    b[::7] = -1  # AI rows of unknown generator
    a = np.where(np.arange(200) % 11 == 0, -1, targets.y["a"])
    targets = build_targets(TASKS, {"a": a, "b": b})
    order = np.random.default_rng(0).permutation(200)
    folds = [np.setdiff1d(np.arange(200), order[k::4]) for k in range(4)]
    cells = SharedMoments(rows, targets, folds)
    spoilt = rows.copy()
    spoilt[order[0::4]] = np.nan
    spoilt_cells = SharedMoments(spoilt, targets, folds[:1])
    for part, fold in enumerate(folds):
        for task in TASKS:
            used = fold[targets.applies[task.name][fold]]
            y = targets.y[task.name]
            expected = Moments.of(rows, rows=used, groups=np.maximum(y, 0))
            for found in (cells, spoilt_cells)[: 2 - (part > 0)]:
                moments = found.of_task(part, task)
                np.testing.assert_array_equal(moments.counts, expected.counts)
                np.testing.assert_allclose(moments.means, expected.means, rtol=1e-10, atol=1e-10)
                np.testing.assert_allclose(moments.scatter, expected.scatter, rtol=1e-8, atol=1e-7)


def test_parts_that_name_a_row_twice_or_overlap_wildly_are_refused() -> None:
    rows, targets = make_rows(200)
    with pytest.raises(HeadsError, match="part 1 names a row twice"):
        SharedMoments(rows, targets, [np.arange(5), np.array([1, 1])])
    rng = np.random.default_rng(0)
    with pytest.raises(HeadsError, match="expected at most 64: give folds"):
        SharedMoments(rows, targets, [np.flatnonzero(rng.random(200) < 0.5) for _ in range(8)])
