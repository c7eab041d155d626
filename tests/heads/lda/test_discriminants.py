"""Laws of discriminants: scikit-learn's without a second view, and blind to what differs between views."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from heads.errors import HeadsError
from heads.head.moments import Moments
from heads.lda.discriminants import invariant_scores

RNG = np.random.default_rng(0)


def draw(n: int, d: int = 12, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    y = np.concatenate([np.arange(2 * k) % k, RNG.choice(k, n - 2 * k, p=np.arange(1, k + 1) / (k * (k + 1) / 2))])
    X = RNG.normal(size=(n, d)) @ RNG.normal(size=(d, d)) + RNG.normal(size=(k, d))[y] + 3
    return X.astype(np.float32), y


@pytest.mark.parametrize("differences", [None, np.eye(12)])
@pytest.mark.parametrize(("n", "k"), [(400, 2), (400, 4), (10, 4)])
def test_without_a_weight_they_are_those_of_scikit_learn(n: int, k: int, differences: np.ndarray | None) -> None:
    X, y = draw(n, k=k)
    for shrinkage in (1e-3, 0.1, 10.0):
        coef, intercept = invariant_scores(Moments.of(X, groups=y), differences, gamma=0.0, shrinkage=shrinkage)
        model = LinearDiscriminantAnalysis(solver="eigen" if n > 12 else "lsqr", shrinkage=shrinkage / (1 + shrinkage))
        expected = model.fit(X.astype(np.float64), y).decision_function(X.astype(np.float64))
        scores = X @ coef.T + intercept
        if k == 2:
            scores = scores[:, 1] - scores[:, 0]
        else:
            scores, expected = (v - v.mean(axis=1, keepdims=True) for v in (scores, expected))
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-4 * np.abs(expected).max())


def test_they_are_the_inverse_of_the_covariance_times_the_centres() -> None:
    X, y = draw(200)
    delta = RNG.normal(size=(50, 12))
    differences, moments = delta.T @ delta / 50, Moments.of(X, groups=y)
    within = moments.scatter / 200
    covariance = within + 3 * differences + 0.1 * np.trace(within) / 12 * np.eye(12)
    coef, _ = invariant_scores(moments, differences, gamma=3.0, shrinkage=0.1)
    expected = np.linalg.solve(covariance, (moments.means - X.mean(axis=0, dtype=np.float64)).T).T
    np.testing.assert_allclose(coef, 1.1 * expected, rtol=1e-6, atol=1e-9)


def test_a_direction_along_which_views_differ_is_given_up() -> None:
    X, y = draw(400)
    differences = np.zeros((12, 12))
    differences[3, 3] = 1e9
    coef, _ = invariant_scores(Moments.of(X, groups=y), differences, gamma=1.0, shrinkage=0.1)
    assert np.abs(coef[:, 3]).max() < 1e-6 * np.abs(coef).max()


def test_columns_without_variance_and_classes_without_spread_are_survived() -> None:
    X, y = draw(50)
    X[:, 3] = 0
    flat = np.eye(4, 12, dtype=np.float32)[y]
    for data in (X, flat, np.zeros_like(X)):
        for shrinkage in (1e-6, 1.0, 1e6):
            found = invariant_scores(Moments.of(data, groups=y), None, gamma=0.0, shrinkage=shrinkage)
            assert all(np.isfinite(values).all() for values in found)


def test_a_covariance_that_is_none_is_refused() -> None:
    X, y = draw(50)
    with pytest.raises(HeadsError, match=r"covariance of 12 columns is not positive definite"):
        invariant_scores(Moments.of(X, groups=y), -np.eye(12), gamma=1e6, shrinkage=0.1)
