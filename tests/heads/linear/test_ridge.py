"""Laws of ridge regression and discriminants from moments: they are scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge

from heads.head.moments import Moments
from heads.linear.ridge import discriminant_path, ridge_path

STRENGTHS = (1e-4, 1e-2, 1.0, 100.0)


def draw(n: int, d: int = 12, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.choice(k, n, p=np.arange(1, k + 1) / (k * (k + 1) / 2))
    X = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=(k, d))[y] + 3
    return X.astype(np.float32), y


@pytest.mark.parametrize("n", [400, 10])
@pytest.mark.parametrize("k", [2, 4])
def test_ridge_is_that_of_scikit_learn(n: int, k: int) -> None:
    X, y = draw(n, k=k)
    y[: 2 * k] = np.arange(2 * k) % k
    for strength, (coef, intercept) in zip(STRENGTHS, ridge_path(Moments.of(X, groups=y), STRENGTHS), strict=True):
        model = Ridge(alpha=1 / strength, solver="svd").fit(X.astype(np.float64), np.eye(k)[y])
        np.testing.assert_allclose(coef, model.coef_, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(intercept, model.intercept_, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("n", [400, 10])
@pytest.mark.parametrize("k", [2, 4])
def test_discriminants_are_those_of_scikit_learn(n: int, k: int) -> None:
    X, y = draw(n, k=k)
    y[: 2 * k] = np.arange(2 * k) % k
    path = discriminant_path(Moments.of(X, groups=y), STRENGTHS)
    for strength, (coef, intercept) in zip(STRENGTHS, path, strict=True):
        shrinkage = 1 / (1 + strength * n)
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(X.astype(np.float64), y)
        scores = X @ coef.T + intercept
        expected = model.decision_function(X.astype(np.float64))
        if k == 2:
            scores = scores[:, 1] - scores[:, 0]
        else:
            scores, expected = (v - v.mean(axis=1, keepdims=True) for v in (scores, expected))
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-4 * np.abs(expected).max())


def test_columns_without_variance_and_classes_without_spread_are_survived() -> None:
    X, y = draw(50)
    X[:, 3] = 0
    flat = np.eye(4, 12, dtype=np.float32)[y]
    for data in (X, flat, np.zeros_like(X)):
        for path in (ridge_path, discriminant_path):
            for coef, intercept in path(Moments.of(data, groups=y), (1e-12, 1.0, 1e12)):
                assert np.isfinite(coef).all() and np.isfinite(intercept).all()
                assert path is ridge_path or np.abs(coef[:, 3]).max() < 1e-6 or data is flat
