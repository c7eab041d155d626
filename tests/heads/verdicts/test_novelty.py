"""Laws of novelty: exact p-values of rows like the training ones, and small ones of rows that are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from heads.data.row_source import ArrayRows
from heads.head.subspace import DrawnRows, find_directions
from heads.verdicts.novelty import LEAST_HELD_OUT, NOVEL_UP_TO, Novelty, describe, one_a_group

N, DIM = 600, 12


def draw(n: int, *, seed: int, far: float = 0.0) -> np.ndarray:
    """Rows of two classes in columns of other scales; ``far`` along a direction in which they hardly vary."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, DIM)) * np.linspace(1, 0.1, DIM)
    X[: n // 2, 0] += 4
    X[:, -1] += far
    return (X * np.linspace(0.01, 30, DIM) + np.linspace(-5, 100, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def novelty() -> Novelty:
    X = np.concatenate([draw(N, seed=0), draw(200, seed=1)])
    classes = (np.arange(len(X)) % N >= N // 2).astype(np.int64)
    return describe(ArrayRows(X), np.arange(N), classes, np.arange(N, N + 200))


def test_p_values_of_rows_like_those_of_training_are_uniform(novelty: Novelty) -> None:
    n_sets, n_held, n_rows = 100, 999, 100
    measured = np.stack([novelty.measure(draw(n_held + n_rows, seed=2 + k)) for k in range(n_sets)])
    order = np.random.default_rng(0).permuted(measured, axis=1)
    values = []
    for row in order:
        held = np.sort(row[:n_held])
        values.append((1 + n_held - np.searchsorted(held, row[n_held:], "left")) / (n_held + 1))
    p = np.sort(np.concatenate(values))
    assert np.abs(p - np.arange(1, len(p) + 1) / len(p)).max() <= 0.02
    assert 0.006 <= (p <= NOVEL_UP_TO).mean() <= 0.014


def test_the_p_value_counts_held_out_rows_that_are_as_far(novelty: Novelty) -> None:
    X = draw(50, seed=7)
    distances = novelty.measure(X)
    expected = [(1 + (novelty.held_out >= distance).sum()) / (len(novelty.held_out) + 1) for distance in distances]
    assert novelty.p_value(X).tolist() == pytest.approx(expected)
    tied = replace(novelty, held_out=np.sort(np.repeat(distances[:1], 4)))
    assert tied.p_value(X[:1]).tolist() == [1.0]


def test_a_deviation_that_is_small_beside_the_columns_is_noticed(novelty: Novelty) -> None:
    assert (novelty.p_value(draw(100, seed=9, far=2.0)) <= NOVEL_UP_TO).all()
    assert novelty.axes.shape == (DIM, DIM) and len(novelty.centres) == 2


def test_distances_are_those_of_mahalanobis() -> None:
    X = draw(4000, seed=3).astype(np.float64)
    classes = (np.arange(4000) >= 2000).astype(np.int64)
    found = describe(ArrayRows(X.astype(np.float32)), np.arange(4000), classes, np.arange(0))
    means = [X[classes == code].mean(axis=0) for code in (0, 1)]
    within = np.cov(np.concatenate([X[classes == code] - means[code] for code in (0, 1)]).T, bias=True)
    away = np.stack([X - mean for mean in means])
    expected = np.einsum("cij,jk,cik->ci", away, np.linalg.inv(within), away).min(axis=0)
    # The covariance is shrunk a little.
    assert np.median(np.abs(found.measure(X.astype(np.float32)) / expected - 1)) < 0.05


@pytest.mark.parametrize(
    "X",
    [np.ones((40, 5)), np.ones((1, 5)), np.eye(3, 200), np.c_[np.arange(40.0), np.zeros(40)]],
    ids=["all alike", "one row", "more columns than rows", "a constant column"],
)
def test_rows_that_say_little_are_described_all_the_same(X: np.ndarray) -> None:
    source = ArrayRows(X.astype(np.float32))
    found = describe(source, np.arange(len(X)), np.zeros(len(X), np.int64), np.arange(len(X)))
    assert np.isfinite(found.axes).all() and np.isfinite(found.centres).all()
    assert np.isfinite(found.held_out).all() and (found.p_value(X.astype(np.float32)) > 0).all()
    assert not found.can_be_novel


def test_what_is_kept_is_bounded_and_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heads.verdicts.novelty.MAX_VALUES", 3000)
    X = np.random.default_rng(0).normal(size=(300, 100)).astype(np.float32)
    classes = np.where(np.arange(300) < 3, 2, np.arange(300) % 2)  # a generator with three rows
    found = describe(ArrayRows(X), np.arange(300), classes, np.arange(0))
    assert found.axes.shape == (100, 30)
    assert len(found.centres) == 2


def test_directions_are_the_principal_ones() -> None:
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(500, 6)) * [20, 15, 10, 8, 6, 5] @ rng.normal(size=(6, 120))).astype(np.float32)
    X += rng.normal(size=X.shape).astype(np.float32) * 0.01
    found = find_directions(DrawnRows(ArrayRows(X), np.arange(500), np.zeros(500, np.int64)), 4)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    expected = np.linalg.svd(Z, compute_uv=False)[:4]
    np.testing.assert_allclose(np.linalg.norm(found.coordinates, axis=0), expected, rtol=1e-4)
    np.testing.assert_allclose((X - found.mean) @ found.axes, found.coordinates, atol=1e-3)


def test_views_are_all_seen() -> None:
    X = draw(N, seed=0)
    both = describe(ArrayRows(np.stack([X, X + 50])), np.arange(N), np.zeros(N, np.int64), np.arange(20))
    one = describe(ArrayRows(X), np.arange(N), np.zeros(N, np.int64), np.arange(20))
    assert both.measure(X + 50).mean() < 0.1 * one.measure(X + 50).mean()


def test_one_row_of_each_group_is_drawn() -> None:
    groups = np.random.default_rng(0).integers(0, 30, 200)
    rows = one_a_group(groups)
    assert sorted(groups[rows]) == sorted(set(groups)) and not np.array_equal(rows, one_a_group(groups, seed=1))


def test_99_held_out_rows_can_reach_the_level(novelty: Novelty) -> None:
    far = draw(1, seed=0, far=1e3)
    for n in (LEAST_HELD_OUT - 1, LEAST_HELD_OUT):
        few = replace(novelty, held_out=novelty.held_out[:n])
        assert few.can_be_novel == (few.p_value(far)[0] <= NOVEL_UP_TO) == (n == LEAST_HELD_OUT)
