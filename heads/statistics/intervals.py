"""Intervals for figures of clustered rows, exact bounds for rates, and tests of several differences.

Percentiles of a bootstrap are too narrow where groups are few. Here its standard deviation is taken for the standard
error, widened by ``√(G / (G − 1))`` for what resampling G groups leaves out, with Student's t for G − 1 degrees of
freedom.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heads.errors import HeadsError
from heads.statistics.resampling import standard_error

__all__ = [
    "Interval",
    "Scale",
    "bound",
    "bound_rate",
    "clopper_pearson_lower",
    "clopper_pearson_upper",
    "difference_p_value",
    "holm",
    "least_n",
    "t_interval",
]

FloatArray = NDArray[np.float64]
Scale = Literal["identity", "logit", "log"]

_FEW_EVENTS = 5.0
_NO_SPREAD = 1e-12
_MAX_GROWTH = 1.5
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Interval:
    """A figure and how far it can be trusted.

    Attributes
    ----------
    estimate : float
        On the rows as they are; NaN where the figure is undefined.
    low, high : float
        NaN where nothing can be said: of one group, or of a figure that is undefined.
    level : float
        How often such intervals are to cover the truth, over draws of other groups; the training seed stays.
    n_groups : int
        Groups with rows that the figure is of.
    """

    estimate: float
    low: float
    high: float
    level: float
    n_groups: int

    def to_dict(self) -> dict[str, float | int | None]:
        """Return what JSON holds: NaN and infinity become null."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in vars(self).items()
        }


def t_interval(
    estimate: float,
    se: float,
    n_groups: int,
    *,
    scale: Scale = "identity",
    level: float = 0.95,
    n_effective: float | None = None,
) -> Interval:
    """Bound a figure by its bootstrap standard error.

    Parameters
    ----------
    estimate : float
    se : float
        Standard deviation over resamples of groups, of the figure itself whatever the scale.
    n_groups : int
        Groups with rows that the figure is of; of figures that need two classes, those of the class that has fewer.
    scale : {"identity", "logit", "log"}
        Where the interval is symmetric: ``identity`` for differences, ``logit`` for figures in [0, 1], ``log`` for
        those from 0 on. The standard error is carried there by the delta method.
    level : float
    n_effective : float, optional
        Of ``logit``: how many independent rows the figure is worth where resamples cannot say, at 0, at 1 or where all
        of them agree; ``n_groups`` by default.

    Returns
    -------
    Interval
        On ``logit``, at 0 and 1 and where fewer than 5 independent rows are on the rarer side, the Clopper–Pearson
        interval of as many rows as would have this standard error (Korn and Graubard, "Confidence intervals for
        proportions with small expected number of positive counts estimated from survey data", 1998).
    """
    if math.isnan(estimate) or math.isnan(se) or n_groups < 2:
        return Interval(estimate, math.nan, math.nan, level, n_groups)
    t = _t_quantile((1 + level) / 2, n_groups - 1)
    se *= math.sqrt(n_groups / (n_groups - 1))
    if scale == "logit":
        low, high = _bound_share(estimate, se, t=t, level=level, n_unknown=n_effective or n_groups)
    elif scale == "log" and t * se < _MAX_GROWTH * estimate:
        growth = t * se / estimate
        low, high = estimate * math.exp(-growth), estimate * math.exp(growth)
    elif scale == "identity" and estimate and se < _NO_SPREAD:
        low = high = math.nan  # all resamples agree on a difference: how far it can be trusted, they cannot say
    else:
        low, high = estimate - t * se, estimate + t * se
        low = max(low, 0.0) if scale == "log" else low
    return Interval(estimate, low, high, level, n_groups)


def bound(resampled: FloatArray, n_groups: int, *, scale: Scale = "identity", level: float = 0.95) -> Interval:
    """Return the `t_interval` of what `resampling.resample` returned of one figure, (1 + n_resamples,)."""
    return t_interval(float(resampled[0]), standard_error(resampled[1:]), n_groups, scale=scale, level=level)


def bound_rate(hits: NDArray[np.bool_], groups: NDArray[np.int64], *, level: float = 0.95) -> Interval:
    """Bound the share of hits among rows that come in groups, without resampling.

    Parameters
    ----------
    hits : bool array (n,)
        At least one.
    groups : int array (n,)
        Any numbers; rows of one are not independent.
    level : float

    Notes
    -----
    The standard error is that of a ratio by linearisation, ``√Σ (hits_g − p n_g)² / n``, which is what the standard
    deviation of the cluster bootstrap tends to (Davison and Hinkley, 1997, section 2.7.2).
    """
    place = np.unique(groups, return_inverse=True)[1].reshape(-1)
    rows = np.bincount(place).astype(np.float64)
    hit = np.bincount(place, weights=hits)
    share = float(hit.sum() / rows.sum())
    se = float(np.sqrt(((hit - share * rows) ** 2).sum()) / rows.sum())
    return t_interval(share, se, len(rows), scale="logit", level=level)


def clopper_pearson_upper(errors: ArrayLike, n: ArrayLike, confidence: float = 0.95) -> FloatArray:
    """Return the one-sided upper bound of a rate of which ``errors`` in ``n`` independent rows were seen.

    Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial", 1934. Both
    broadcast, need not be whole numbers, and without rows the bound is 1.
    """
    from scipy.special import betaincinv  # a tenth of a second, which not every command spends

    x, rows = np.broadcast_arrays(np.asarray(errors, np.float64), np.asarray(n, np.float64))
    return np.asarray(np.where(x < rows, betaincinv(x + 1, rows - x, confidence), 1.0))


def clopper_pearson_lower(errors: ArrayLike, n: ArrayLike, confidence: float = 0.95) -> FloatArray:
    """Return the one-sided lower bound of a rate: see `clopper_pearson_upper`."""
    rows = np.asarray(n, np.float64)
    return np.asarray(1.0 - clopper_pearson_upper(rows - np.asarray(errors, np.float64), rows, confidence))


def least_n(budget: float, confidence: float = 0.95) -> int:
    """Return how many independent rows without an error it takes for an upper bound of at most ``budget``."""
    if not (0 < budget < 1 and 0 < confidence < 1):
        raise HeadsError(f"budget and confidence lie between 0 and 1, found {budget!r} and {confidence!r}")
    return math.ceil(math.log1p(-confidence) / math.log1p(-budget) * (1 - _ROUNDING))


def difference_p_value(estimate: float, se: float, n_groups: int) -> float:
    """Return the two-sided p-value of a difference: below 1 − level where the `t_interval` excludes 0.

    1 where nothing can be said. Where all resamples agree, it is that of as many signs that agree, ``2^(1 − G)``.
    """
    from scipy.special import stdtr

    if math.isnan(estimate) or math.isnan(se) or n_groups < 2 or estimate == 0:
        return 1.0
    if se < _NO_SPREAD:
        return 2.0 ** (1 - n_groups)
    se *= math.sqrt(n_groups / (n_groups - 1))
    return 2 * float(stdtr(n_groups - 1, -abs(estimate) / se))


def holm(p_values: ArrayLike) -> FloatArray:
    """Adjust p-values of several tests, so that all claims below a level are true together as often as one would be.

    Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))), 1.0)
    return adjusted


def _bound_share(estimate: float, se: float, *, t: float, level: float, n_unknown: float) -> tuple[float, float]:
    """Bound a figure in [0, 1]."""
    spread = estimate * (1 - estimate)
    if spread > 0 and se > _NO_SPREAD:
        n = spread / se**2
        if n * min(estimate, 1 - estimate) >= _FEW_EVENTS:
            logit, half = math.log(estimate / (1 - estimate)), t * se / spread
            return _expit(logit - half), _expit(logit + half)
        n *= (_t_quantile((1 + level) / 2, math.inf) / t) ** 2
    else:
        n = n_unknown
    confidence = (1 + level) / 2
    low = clopper_pearson_lower(estimate * n, n, confidence)
    return float(low), float(clopper_pearson_upper(estimate * n, n, confidence))


def _t_quantile(share: float, n_free: float) -> float:
    from scipy.special import ndtri, stdtrit

    return float(ndtri(share) if math.isinf(n_free) else stdtrit(n_free, share))


def _expit(x: float) -> float:
    return (1 + math.tanh(x / 2)) / 2
