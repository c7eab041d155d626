"""Whether the scores of a set of pictures are a mixture of known ones: of real and of AI rows like those of training.

A row's novelty does not notice another's photographs. Their scores do: no share of AI rows among rows like those of
validation gives such scores.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.data.tasks import IntArray
from heads.head.protocol import FloatArray

__all__ = ["LEAST_SET", "KnownScores", "SetStatement", "state_set"]

LEAST_SET = 10
"""Of fewer pictures nothing is said."""
_LEVEL = 0.975
_WIDENED_AT = 0.95  # Student's t is compared with the normal distribution there
_DRAWS = 400
_THRESHOLDS = 512
_STEPS = 40
_MOST_TIMES = 4  # a set of more than so many times the known rows adds nothing to the difference
_INVERSE_GOLDEN = (5**0.5 - 1) / 2

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class KnownScores:
    """Raw scores of ``m`` rows that a head was not fitted on.

    Attributes
    ----------
    p_ai : float32 array (m,)
        Raw P(AI).
    y : int64 array (m,)
        0 real, 1 AI.
    group : int64 array (m,)
        Rows of one number belong together.
    """

    p_ai: FloatArray
    y: IntArray
    group: IntArray

    def __len__(self) -> int:
        return len(self.y)

    @property
    def is_enough(self) -> bool:
        """Whether each class has rows of two groups or more."""
        return all(len(np.unique(self.group[self.y == code])) > 1 for code in (0, 1))

    def complete(self, other: KnownScores) -> KnownScores:
        """Return the same with the rows of another for each class that has rows of fewer than two groups here."""
        few = [code for code in (0, 1) if len(np.unique(self.group[self.y == code])) < 2]
        own, more = ~np.isin(self.y, few), np.isin(other.y, few)
        own_group = np.unique(self.group, return_inverse=True)[1].reshape(-1)
        group = np.concatenate([own_group[own], len(own_group) + np.unique(other.group, return_inverse=True)[1][more]])
        p_ai = np.concatenate([self.p_ai[own], other.p_ai[more]])
        return KnownScores(p_ai, np.concatenate([self.y[own], other.y[more]]), group)

    def thin(self, most: int, *, seed: int = 0) -> KnownScores:
        """Return at most so many rows: whole groups, drawn at random; of one that is larger, a part."""
        if len(self) <= most:
            return self
        names, own = np.unique(self.group, return_inverse=True)
        place = np.random.default_rng(seed).permutation(len(names))[own.reshape(-1)]
        rows = np.sort(np.argsort(place, kind="stable")[:most])
        return KnownScores(self.p_ai[rows], self.y[rows], self.group[rows])


@dataclass(frozen=True)
class SetStatement:
    """How far the scores of a set are from the nearest mixture of known ones.

    Attributes
    ----------
    n, n_known : int
        Rows of the set, and known ones.
    distance : float
        The least Kolmogorov–Smirnov distance to a mixture of known real and AI scores.
    null : float
        Sets of known rows are closer with probability 0.975.
    p_value : float
    share : float
        Share of AI of the nearest mixture.
    is_unlike : bool
        Whether the distance is above ``null``.
    """

    n: int
    n_known: int
    distance: float
    null: float
    p_value: float
    share: float
    is_unlike: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


def state_set(p_ai: NDArray[np.floating[Any]], known: KnownScores, *, seed: int = 0) -> SetStatement | None:
    """Compare the raw scores of a set with the mixtures of known ones; None where nothing can be said.

    The null comes from known rows alone: groups of them are drawn at the size of the set, and again at that of all
    known rows, as both sides are samples. Each class is drawn on its own, at the share of AI that fits the set best.

    Parameters
    ----------
    p_ai : float array (n,)
        Raw P(AI).
    known : KnownScores
    seed : int
        Of what is drawn.
    """
    if len(p_ai) < LEAST_SET or not known.is_enough:
        return None
    edges = np.unique(known.p_ai)
    if len(edges) > _THRESHOLDS:
        edges = np.unique(np.quantile(known.p_ai, np.linspace(0, 1, _THRESHOLDS), method="nearest"))
    n_cells = len(edges) + 1
    own = _share_up_to(np.searchsorted(edges, p_ai.astype(np.float32), "left"), n_cells)
    cells = np.searchsorted(edges, known.p_ai, "left")
    real, ai = (_share_up_to(cells[known.y == code], n_cells) for code in (0, 1))
    distance, share = (float(value[0]) for value in _nearest((own - real)[None], ai - real))
    rng = np.random.default_rng(seed)
    near = _end_or_share(share, len(p_ai))
    null = near * (ai - real)
    for code, part in ((0, 1 - near), (1, near)):
        rows, size = known.y == code, max(1, round(part * len(p_ai)))
        null = null + part * _draw_differences(cells[rows], known.group[rows], size, n_cells=n_cells, rng=rng)
    distances = np.sort(_nearest(null, ai - real)[0])
    limit = float(np.quantile(distances, _LEVEL, method="higher"))
    p_value = (1 + int((distances >= distance).sum())) / (1 + _DRAWS)
    return SetStatement(len(p_ai), len(known), distance, limit, p_value, share, distance > limit)


def _end_or_share(share: float, n: int) -> float:
    """Return 0 or 1 if a share that was fitted to ``n`` rows can hardly be told from it.

    From an end the fit has one way to go, from any other share two: a null there would be too close.
    """
    end = round(share)
    return end if abs(share - end) <= 1 / np.sqrt(n) else share


def _share_up_to(cells: IntArray, n_cells: int) -> Float64Array:
    """Return which share of scores is at or below each threshold: (n_cells - 1,)."""
    return np.asarray(np.cumsum(np.bincount(cells, minlength=n_cells))[:-1] / len(cells))


def _nearest(above_real: Float64Array, apart: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Find the share w of AI in [0, 1] at which ``max |above_real - w * apart|`` is least, by golden section.

    Parameters
    ----------
    above_real : float64 array (r, t)
        Distribution of each set less that of real rows; the distance is convex in w.
    apart : float64 array (t,)
        Distribution of AI rows less that of real rows.

    Returns
    -------
    distance, share : float64 array (r,)
    """

    def far(share: Float64Array) -> Float64Array:
        return np.asarray(np.abs(above_real - share[:, None] * apart).max(axis=1))

    low, high = np.zeros(len(above_real)), np.ones(len(above_real))
    for _ in range(_STEPS):
        width = _INVERSE_GOLDEN * (high - low)
        is_low = far(high - width) <= far(low + width)
        low, high = np.where(is_low, low, high - width), np.where(is_low, low + width, high)
    shares = np.stack([low, np.zeros(len(low)), np.ones(len(low))])
    distances = np.stack([far(share) for share in shares])
    best = distances.argmin(axis=0)
    return distances.min(axis=0), shares[best, np.arange(len(low))]


def _draw_differences(
    cells: IntArray, group: IntArray, size: int, *, n_cells: int, rng: np.random.Generator
) -> Float64Array:
    """Draw by how much the distributions of a set of so many rows and of the known rows differ, being samples.

    Groups are drawn with replacement, for either side. Few groups, or a few that have most of the rows, are bounded as
    by Student's t: with the effective number of groups of Kish, "Survey Sampling", 1965, section 8.2.

    Returns
    -------
    float64 array (draws, n_cells - 1)
    """
    order = rng.permutation(len(cells))
    order = order[np.argsort(group[order], kind="stable")]
    sizes = np.unique(group, return_counts=True)[1]
    n_most = min(size, _MOST_TIMES * len(cells))
    found = np.empty((_DRAWS, n_cells - 1))
    for draw in found:
        of_set = _share_up_to(cells[order[_draw_rows(sizes, n_most, rng)]], n_cells)
        of_known = _share_up_to(cells[order[_draw_rows(sizes, len(cells), rng)]], n_cells)
        draw[:] = of_set - of_known
    from scipy.special import ndtri, stdtrit  # a tenth of a second, which not every command spends

    n_groups = max(float(sizes.sum()) ** 2 / float((sizes**2).sum()), 2.0)
    student = float(stdtrit(n_groups - 1, _WIDENED_AT) / ndtri(_WIDENED_AT))
    wider = student * float(np.sqrt(n_groups / (n_groups - 1)))
    return np.asarray(found * wider)


def _draw_rows(sizes: IntArray, size: int, rng: np.random.Generator) -> IntArray:
    """Draw groups until there are so many rows: places of rows that stand group by group."""
    drawn = rng.integers(0, len(sizes), size)
    ends = np.cumsum(sizes[drawn])
    drawn = drawn[: int(np.searchsorted(ends, size)) + 1]
    ends = ends[: len(drawn)]
    first = (np.cumsum(sizes) - sizes)[drawn] - (ends - sizes[drawn])
    return np.asarray((np.repeat(first, sizes[drawn]) + np.arange(ends[-1]))[:size])
