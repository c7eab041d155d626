"""Logistic regression along a path of strengths: L-BFGS that begins from the curvature of the Gram matrix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from heads.data.tasks import IntArray
from heads.head.moments import Moments
from heads.head.protocol import FloatArray
from heads.head.threads import in_order

__all__ = ["Curvature", "LogisticFit", "fit_path"]

_MEMORY = 20  # pairs of steps and gradient changes
_TOLERANCE = 1e-6
_LEAST_CURVATURE = 1e-3
_SEARCHES = 25
_RANK = 1e-10
_BLOCK = 2**24  # values that one thread takes

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class Curvature:
    """Eigenbasis of the covariance of the rows: the shape of the Hessian's bound (Böhning 1992, eq. 2.3).

    Attributes
    ----------
    values : float64 array (d,)
        Variances along the directions, at least 0.
    vectors : float32 array (d, r)
        Directions, one a column; what is outside of them varies not at all.
    """

    values: Float64Array
    vectors: FloatArray

    @classmethod
    def of(cls, X: FloatArray) -> Self:
        """Diagonalise the covariance of the rows of ``X`` (n, d), standardised ones."""
        if len(X) >= X.shape[1]:
            values, vectors = np.linalg.eigh(Moments.of(X, dtype=np.float32).scatter / len(X))
            return cls(np.maximum(values, 0), vectors.astype(np.float32))
        # Few rows span few directions: those of the smaller Gram matrix.
        centred = X - X.mean(axis=0, dtype=np.float64)
        values, vectors = np.linalg.eigh(centred @ centred.T)
        kept = values > _RANK * max(values[-1], 1)
        values = values[kept]
        vectors = centred.T @ (vectors[:, kept] / np.sqrt(values))
        return cls(values / len(X), vectors.astype(np.float32))

    def solve(self, gradient: Float64Array, *, weight: float, ridge: float) -> Float64Array:
        """Return ``(weight * covariance + ridge)^-1 gradient`` of a (d, k) gradient."""
        outside = gradient.astype(np.float32)
        inside = self.vectors.T @ outside
        scaled = inside / (weight * self.values + ridge).astype(np.float32)[:, None]
        if self.vectors.shape[1] == len(outside):
            return np.asarray(self.vectors @ scaled, dtype=np.float64)
        outside -= self.vectors @ inside
        return np.asarray(self.vectors @ scaled + outside / np.float32(ridge), dtype=np.float64)


@dataclass(frozen=True)
class LogisticFit:
    """The optimum for one strength.

    Attributes
    ----------
    strength : float
        scikit-learn's ``C``.
    coef : float64 array (k, d)
    intercept : float64 array (k,)
        ``k`` is 1 for two classes, else their number.
    objective : float
        Sum of the weighted log losses plus ``|coef|^2 / (2 strength)``.
    iterations : int
        Of this strength; each reads ``X`` twice.
    converged : bool
    """

    strength: float
    coef: Float64Array
    intercept: Float64Array
    objective: float
    iterations: int
    converged: bool


def fit_path(
    X: FloatArray,
    y: IntArray,
    *,
    strengths: Sequence[float],
    curvature: Curvature,
    max_iter: int = 500,
    weights: Float64Array | None = None,
) -> Iterator[LogisticFit]:
    """Fit from the strongest regularisation to the weakest, each from where the last one ended.

    The optimum is that of scikit-learn's ``LogisticRegression``: L2, the intercept free. Products with ``X`` are
    float32, sums float64. A fit has converged when the quadratic model promises to lower the objective by less
    than a millionth of it.

    Parameters
    ----------
    X : float32 array (n, d)
        Columns on one scale.
    y : int array (n,)
        Classes 0 … K - 1, each of which occurs, two or more.
    strengths : sequence of float
    curvature : Curvature
        Of these rows, or of others like them: it decides the speed, not the optimum.
    max_iter : int
        Bound on the iterations of one strength.
    weights : float64 array (n,), optional
        By which the losses of the rows are multiplied, above 0: scikit-learn's ``sample_weight``.

    Yields
    ------
    LogisticFit
    """
    solver = _Solver(X, y, curvature, np.ones(len(y)) if weights is None else weights)
    for strength in sorted(strengths):
        iterations, converged = solver.run(ridge=1 / strength, max_iter=max_iter)
        coef, intercept = solver.weights
        yield LogisticFit(strength, coef, intercept, solver.objective, iterations, converged)


class _Solver:
    """Weights (1 + d, k), the intercepts first, of the centred columns, and the logits (n, k) that they give."""

    def __init__(self, X: FloatArray, y: IntArray, curvature: Curvature, weights: Float64Array) -> None:
        n_classes = int(y.max()) + 1
        self._X, self._curvature = X, curvature
        self._mean = X.mean(axis=0, dtype=np.float64)
        step = max(1, _BLOCK // X.shape[1])
        self._blocks = [slice(start, start + step) for start in range(0, len(X), step)]
        columns = np.arange(n_classes) if n_classes > 2 else np.array([1])
        self._hot = y[:, None] == columns
        self._weights = weights[:, None]
        self._of_hot = np.broadcast_to(self._weights, self._hot.shape)[self._hot]
        self._w = np.zeros((1 + X.shape[1], len(columns)))
        self._logits = np.zeros((len(X), len(columns)))
        self._pairs: list[tuple[Float64Array, Float64Array]] = []  # step, change of the loss's gradient

    @property
    def weights(self) -> tuple[Float64Array, Float64Array]:
        """Coefficients (k, d) and intercepts (k,) for the columns as they are."""
        return self._w[1:].T.copy(), self._w[0] - self._mean @ self._w[1:]

    def run(self, *, ridge: float, max_iter: int) -> tuple[int, bool]:
        """Minimise for one ridge; return the iterations and whether they sufficed."""
        self._ridge = ridge
        loss, proba = self._loss(self._logits)
        gradient = self._gradient(proba)
        for iteration in range(max_iter + 1):
            slope_of_loss = gradient.copy()
            gradient[1:] += ridge * self._w[1:]
            self.objective = loss + ridge / 2 * float(np.vdot(self._w[1:], self._w[1:]))
            direction = self._direction(gradient, proba)
            decrease = -float(np.vdot(gradient, direction)) / 2
            if decrease <= _TOLERANCE * self.objective:
                return iteration, True
            if iteration == max_iter:
                break
            step, loss, proba = self._search(direction, -2 * decrease)
            if step == 0:  # rounding hides what is left to gain
                return iteration, True
            gradient = self._gradient(proba)
            self._remember(step * direction, gradient - slope_of_loss)
        return max_iter, False

    def _gradient(self, proba: Float64Array) -> Float64Array:
        """Gradient of the loss."""
        residual = self._weights * (proba - self._hot)
        sums = residual.sum(axis=0)
        gradient = np.empty_like(self._w)
        gradient[0] = sums
        gradient[1:] = self._sum_rows(residual.astype(np.float32))
        gradient[1:] -= np.outer(self._mean, sums)
        return gradient

    def _loss(self, logits: Float64Array) -> tuple[float, Float64Array]:
        """Return the sum of the weighted log losses, and the probabilities (n, k)."""
        if logits.shape[1] == 1:
            proba = expit(logits)
            signed = np.where(self._hot, -logits, logits)
            return float((self._weights * np.logaddexp(0, signed)).sum()), proba
        top = logits.max(axis=1, keepdims=True)
        proba = np.exp(logits - top)
        total = proba.sum(axis=1, keepdims=True)
        loss = float((self._weights * (np.log(total) + top)).sum() - (self._of_hot * logits[self._hot]).sum())
        proba /= total
        return loss, proba

    def _direction(self, gradient: Float64Array, proba: Float64Array) -> Float64Array:
        """Two loops of L-BFGS (Nocedal & Wright 2006, algorithm 7.4) around the bound's inverse.

        Pairs remember the loss alone: whatever the ridge, its part of a gradient's change is known.
        """
        used = []
        q = gradient.copy()
        for step, change in reversed(self._pairs):
            y = change.copy()
            y[1:] += self._ridge * step[1:]
            rho = 1 / float(np.vdot(step, y))
            alpha = rho * float(np.vdot(step, q))
            q -= alpha * y
            used.append((step, y, rho, alpha))
        q = self._precondition(q, proba)
        if used:  # the last pair says how far the bound is from the curvature here
            step, y, rho, _ = used[0]
            q /= rho * float(np.vdot(y, self._precondition(y, proba)))
        for step, y, rho, alpha in reversed(used):
            q += (alpha - rho * float(np.vdot(y, q))) * step
        return -q

    def _precondition(self, q: Float64Array, proba: Float64Array) -> Float64Array:
        n, k = proba.shape
        mean = float(np.mean(self._weights * proba * (1 - proba)))
        weight = n * max(mean, _LEAST_CURVATURE) * (k / (k - 1) if k > 1 else 1)
        return np.concatenate([q[:1] / weight, self._curvature.solve(q[1:], weight=weight, ridge=self._ridge)])

    def _search(self, direction: Float64Array, slope: float) -> tuple[float, float, Float64Array]:
        """Go along a direction to where the slope is a tenth; return the step, the loss and probabilities there.

        The objective is convex, and along the direction its logits move linearly: Newton's method, kept between
        the ends of a bracket, needs no product with ``X`` but one.
        """
        along = self._times(direction[1:].astype(np.float32)).astype(np.float64)
        along += direction[0] - self._mean @ direction[1:]
        w, ridge = self._w[1:], self._ridge
        linear, square = ridge * float(np.vdot(w, direction[1:])), ridge * float(np.vdot(direction[1:], direction[1:]))
        low, high, step = 0.0, np.inf, 1.0
        for _ in range(_SEARCHES):
            loss, proba = self._loss(self._logits + step * along)
            pulled = self._weights * proba * along
            rise = float(pulled.sum() - (self._of_hot * along[self._hot]).sum()) + linear + step * square
            if abs(rise) <= abs(slope) / 10:
                self._logits += step * along
                self._w += step * direction
                return step, loss, proba
            low, high = (step, high) if rise < 0 else (low, step)
            total = pulled.sum(axis=1) ** 2 if along.shape[1] > 1 else pulled[:, 0] ** 2
            bend = float(np.vdot(pulled, along) - (total / self._weights[:, 0]).sum()) + square
            step = step - rise / bend if bend > 0 else np.inf
            if not low < step < high:
                step = (low + high) / 2 if high < np.inf else 2 * low
        return 0.0, loss, proba

    def _remember(self, step: Float64Array, change: Float64Array) -> None:
        if float(np.vdot(step, change)) > 0:
            self._pairs = [*self._pairs[1 - _MEMORY :], (step, change)]

    def _times(self, coef: FloatArray) -> FloatArray:
        """Return ``X @ coef``."""
        return np.concatenate(list(in_order(lambda rows: self._X[rows] @ coef, self._blocks)))

    def _sum_rows(self, values: FloatArray) -> Float64Array:
        """Return ``X.T @ values``."""
        found = np.zeros((self._X.shape[1], values.shape[1]))
        for part in in_order(lambda rows: self._X[rows].T @ values[rows], self._blocks):
            found += part
        return found
