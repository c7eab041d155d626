"""Laws of the path of logistic regressions: the optimum is scikit-learn's, the way there is short."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from heads.linear.logistic import Curvature, LogisticFit, fit_path

STRENGTHS = (1e-5, 1e-3, 1e-1, 10.0)


def draw(n: int, d: int, k: int, *, signal: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Draw correlated columns on one scale."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % k
    mixing = rng.normal(size=(d, d)) / np.arange(1, d + 1)[:, None]
    X = (rng.normal(size=(n, d)) + signal * rng.normal(size=(k, d))[y]) @ mixing
    return ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32), y


def fit(X: np.ndarray, y: np.ndarray, strengths: tuple[float, ...] = STRENGTHS, **options: int) -> list[LogisticFit]:
    return list(fit_path(X, y, strengths=strengths, curvature=Curvature.of(X), **options))


def objective(X: np.ndarray, y: np.ndarray, coef: np.ndarray, intercept: np.ndarray, strength: float) -> float:
    logits = X.astype(np.float64) @ coef.T + intercept
    if len(coef) == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
    return float(-log_softmax(logits, axis=1)[np.arange(len(y)), y].sum() + (coef**2).sum() / 2 / strength)


@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize(("n", "d"), [(600, 30), (40, 120)])
def test_the_optimum_is_that_of_scikit_learn(n: int, d: int, k: int) -> None:
    X, y = draw(n, d, k)
    for found in fit(X, y):
        model = LogisticRegression(C=found.strength, tol=1e-10, max_iter=20_000).fit(X.astype(np.float64), y)
        best = objective(X, y, model.coef_, model.intercept_, found.strength)
        assert found.converged
        assert found.objective == pytest.approx(objective(X, y, found.coef, found.intercept, found.strength), rel=1e-6)
        assert best * (1 - 1e-9) <= found.objective <= best * (1 + 1e-5)
        np.testing.assert_allclose(found.coef, model.coef_, atol=0.01 * np.abs(model.coef_).max())


def test_fits_come_from_strong_to_weak_and_do_not_depend_on_the_path() -> None:
    X, y = draw(600, 30, 3)
    path = fit(X, y, strengths=STRENGTHS[::-1])
    assert [found.strength for found in path] == list(STRENGTHS)
    for found in path:
        (alone,) = fit(X, y, (found.strength,))
        assert found.objective == pytest.approx(alone.objective, rel=1e-5)


def test_the_path_takes_few_iterations() -> None:
    X, y = draw(2000, 100, 5)
    strengths = tuple(np.logspace(-5, 0, 10).tolist())
    ours = sum(found.iterations for found in fit(X, y, strengths))
    theirs = sum(LogisticRegression(C=c, max_iter=10_000).fit(X, y).n_iter_.max() for c in strengths)
    assert ours * 4 < theirs


def test_the_curvature_decides_the_speed_alone() -> None:
    X, y = draw(600, 30, 3)
    flat = Curvature(np.ones(30), np.eye(30, dtype=np.float32))
    for one, other in zip(fit(X, y), fit_path(X, y, strengths=STRENGTHS, curvature=flat), strict=True):
        assert one.objective == pytest.approx(other.objective, rel=1e-4)


@pytest.mark.parametrize("mean", [0, 2])
@pytest.mark.parametrize("n", [50, 200])
def test_solving_with_the_curvature_is_solving_with_the_covariance(n: int, mean: int) -> None:
    X = draw(n, 100, 2)[0] + np.float32(mean)
    gradient = np.random.default_rng(1).normal(size=(100, 3))
    matrix = 2 * np.cov(X.T.astype(np.float64), bias=True) + 0.1 * np.eye(100)
    found = Curvature.of(X).solve(gradient, weight=2, ridge=0.1)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, gradient), rtol=1e-3, atol=1e-3)


def test_classes_that_a_plane_divides_are_survived() -> None:
    X = np.linspace(-1, 1, 50, dtype=np.float32)[:, None]
    y = (X[:, 0] > 0).astype(int)
    for found in fit(X, y, (1e-12, 1.0, 1e6, 1e12)):
        assert np.isfinite(found.coef).all() and np.isfinite(found.objective)
    assert (np.sign(X[:, 0] * found.coef[0, 0] + found.intercept[0]) == 2 * y - 1).all()


@pytest.mark.parametrize("k", [2, 3])
def test_columns_that_say_nothing_give_the_prior(k: int) -> None:
    y = np.repeat(np.arange(k), [70] + [15] * (k - 1))
    for found in fit(np.zeros((len(y), 4), dtype=np.float32), y):
        assert not found.coef.any()
        logits = np.append(0, found.intercept) if k == 2 else found.intercept
        np.testing.assert_allclose(np.exp(log_softmax(logits)), np.bincount(y) / len(y), rtol=1e-3)


def test_a_bound_on_the_iterations_holds_and_is_said() -> None:
    X, y = draw(600, 30, 3)
    (found,) = fit(X, y, (1.0,), max_iter=1)
    assert (found.iterations, found.converged) == (1, False)
