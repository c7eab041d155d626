"""Classes that are Gaussian with one covariance: their posterior in closed form, and the best scores that exist."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BayesScores", "GaussianClasses"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class BayesScores:
    """What no classifier of single rows can beat on average.

    Attributes
    ----------
    a_auc : float
        Area under the curve of P(AI) = 1 - P(class 0).
    a_balanced_accuracy : float
        Balanced accuracy at the best threshold, which is the prior of AI.
    a_balanced_accuracy_at_half : float
        Balanced accuracy at 0.5, where a head that was fitted to plain probabilities decides.
    b_accuracy, b_f1_macro : float or None
        Scores of the likeliest class but 0, over rows that are not of class 0; None with fewer than two such classes.
    n_draws : int
        Monte Carlo draws behind them: a score of 0.9 is uncertain by about sqrt(0.09 / n_draws).
    """

    a_auc: float
    a_balanced_accuracy: float
    a_balanced_accuracy_at_half: float
    b_accuracy: float | None
    b_f1_macro: float | None
    n_draws: int


@dataclass(frozen=True)
class GaussianClasses:
    """K classes: x | k ~ N(means[k], diag(variance) + loadings @ loadings.T).

    Attributes
    ----------
    means : float64 array (K, d)
    variance : float64 array (d,)
        Variance of the noise of each column, positive.
    loadings : float64 array (d, q)
        Loadings of q shared factors that are standard normal.
    priors : float64 array (K,)
        Probability of each class; they sum to 1.
    """

    means: FloatArray
    variance: FloatArray
    loadings: FloatArray
    priors: FloatArray

    @cached_property
    def _weights(self) -> FloatArray:
        """Inverse covariance times the means, (d, K), by the Woodbury identity: no (d, d) matrix is built."""
        scaled = self.loadings / self.variance[:, None]
        core = np.eye(self.loadings.shape[1]) + self.loadings.T @ scaled
        plain = self.means.T / self.variance[:, None]
        weights: FloatArray = plain - scaled @ np.linalg.solve(core, self.loadings.T @ plain)
        return weights

    @cached_property
    def _gram(self) -> FloatArray:
        """Inner products of the means under the inverse covariance: (K, K)."""
        gram: FloatArray = self.means @ self._weights
        return gram

    def posterior(self, X: NDArray[np.floating[Any]]) -> FloatArray:
        """Return P(class | row) of ``X`` (n, d) as (n, K): linear discriminant analysis with known parameters."""
        return self._softmax(X.astype(np.float64) @ self._weights)

    def scores(self, *, n_draws: int = 200_000, seed: int = 0) -> BayesScores:
        """Estimate the Bayes-optimal scores from draws of the K discriminants, which are Gaussian themselves."""
        rng = np.random.default_rng(seed)
        values, vectors = np.linalg.eigh(self._gram)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        y = rng.choice(len(self.priors), size=n_draws, p=self.priors)
        posterior = self._softmax(self._gram[y] + rng.standard_normal((n_draws, len(values))) @ root.T)
        p_ai, is_ai = 1.0 - posterior[:, 0], y > 0
        accuracy = f1 = None
        if len(self.priors) > 2:
            accuracy, f1 = _generator_scores(y[is_ai] - 1, posterior[is_ai, 1:].argmax(axis=1))
        return BayesScores(
            a_auc=_auc(p_ai, is_ai),
            a_balanced_accuracy=_balanced(p_ai >= 1.0 - self.priors[0], is_ai),
            a_balanced_accuracy_at_half=_balanced(p_ai >= 0.5, is_ai),
            b_accuracy=accuracy,
            b_f1_macro=f1,
            n_draws=n_draws,
        )

    def _softmax(self, discriminants: FloatArray) -> FloatArray:
        logits = discriminants - 0.5 * np.diag(self._gram) + np.log(self.priors)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        posterior: FloatArray = odds / odds.sum(axis=1, keepdims=True)
        return posterior


def _balanced(says_ai: NDArray[np.bool_], is_ai: NDArray[np.bool_]) -> float:
    return float((says_ai[is_ai].mean() + (~says_ai[~is_ai]).mean()) / 2)


def _auc(p: FloatArray, is_positive: NDArray[np.bool_]) -> float:
    """Return the share of pairs in the right order; draws are continuous, so that ties hardly occur."""
    ranks = np.empty(len(p))
    ranks[np.argsort(p)] = np.arange(1, len(p) + 1)
    n = int(is_positive.sum())
    return float((ranks[is_positive].sum() - n * (n + 1) / 2) / (n * (len(p) - n)))


def _generator_scores(y: NDArray[np.int64], found: NDArray[np.int64]) -> tuple[float, float]:
    n_classes = int(max(y.max(), found.max())) + 1
    hits = np.bincount(y[y == found], minlength=n_classes)
    both = np.bincount(y, minlength=n_classes) + np.bincount(found, minlength=n_classes)
    return float((y == found).mean()), float((2 * hits / np.maximum(both, 1)).mean())
