"""What picture files give away besides their pixels: how well one fact of the file alone tells real from AI.

A detector that is trained where every AI picture is a PNG and every real one a JPEG may learn to see compression.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.file_facts import FORMATS
from featcache.cache.samples import SampleTable

__all__ = ["MIN_ACCURACY", "MIN_PICTURES", "FactValue", "Tell", "count_formats", "find_tells"]

MIN_ACCURACY = 0.75
"""Balanced accuracy from which a fact gives the label away; half of it is luck."""

MIN_PICTURES = 50
"""Pictures of each class, with known label and known value, below which a fact is not judged."""

_SHOWN = 3


@dataclass(frozen=True)
class FactValue:
    """One value of a fact, or one side of a threshold: ``"PNG"``, ``"512×512"``, ``"> 0.75"``.

    Attributes
    ----------
    name : str
        What the value is called.
    n_real, n_ai : int
        Pictures that have it.
    """

    name: str
    n_real: int
    n_ai: int


@dataclass(frozen=True)
class Tell:
    """How well one fact about picture files tells real from AI.

    Attributes
    ----------
    fact : {"file format", "picture size", "bytes per pixel", "EXIF data"}
        Which property of the picture files was looked at.
    split : str
        ``train``, or ``""`` if that has no labelled pictures: all of them.
    n_real, n_ai : int
        Different pictures with a known label of which the fact is known.
    accuracy : float
        Mean of the shares of real and of AI pictures that are told right, 0 to 1; 0.5 is luck. Of pictures that the
        rule was not made of: it is made of one half, divided by content key, for the other, and the other way round.
    gives_away : bool
        Whether it is at least `MIN_ACCURACY`.
    values : tuple of FactValue
        The most frequent; of bytes per pixel both sides of the best threshold, if there is one.
    """

    fact: str
    split: str
    n_real: int
    n_ai: int
    accuracy: float
    gives_away: bool
    values: tuple[FactValue, ...]


def count_formats(table: SampleTable) -> dict[str, int] | None:
    """Count samples with a readable picture by its format, the most frequent first; None: the table is too old."""
    if table.files is None:
        return None
    counts = np.bincount(table.files.format[table.has("image")], minlength=len(FORMATS)).tolist()
    names = sorted((code for code, n in enumerate(counts) if n), key=lambda code: -counts[code])
    return {FORMATS[code] or "unknown": counts[code] for code in names}


def find_tells(table: SampleTable) -> tuple[Tell, ...]:
    """Judge each fact that is known of enough pictures of both classes; each picture counts once.

    Of format, size and EXIF data each value votes for the class that has more of it, by share of the class; values
    seen fewer than twice vote together, and for values never seen. Of bytes per pixel it is the best threshold. A tie
    counts as half right.
    """
    rows = table.first_rows("image")
    rows = rows[table.label_a[rows] >= 0]
    in_train = table.split[rows] == "train"
    split = "train" if in_train.any() else ""
    rows = rows[in_train] if split else rows
    found = []
    for fact, of_fact, values in _facts(table, rows):
        is_ai, half = table.label_a[of_fact] == 1, (table.image_key[of_fact, -1] & 1).astype(bool)
        n_ai = int(is_ai.sum())
        n_real = len(is_ai) - n_ai
        if min(n_real, n_ai) < MIN_PICTURES:
            continue
        if fact == "bytes per pixel":
            vote, values_shown = _by_threshold(values, is_ai, half)
        else:
            names, code = np.unique(values, return_inverse=True)
            vote = _by_value(code, is_ai, half, len(names))
            values_shown = _most_frequent(fact, names, code, is_ai)
        accuracy = _accuracy(vote, is_ai)
        found.append(Tell(fact, split, n_real, n_ai, accuracy, accuracy >= MIN_ACCURACY, values_shown))
    return tuple(found)


def _facts(table: SampleTable, rows: NDArray[np.int64]) -> Iterator[tuple[str, NDArray[np.int64], NDArray[Any]]]:
    """Yield the name of each fact, the rows of which it is known, and its values there."""
    files = table.files
    if files is not None:
        known = rows[files.format[rows] > 0]
        yield "file format", known, files.format[known]
    known = rows[(table.width[rows] > 0) & (table.height[rows] > 0)]
    yield "picture size", known, table.width[known].astype(np.uint64) << np.uint64(32) | table.height[known]
    if files is not None:
        ratio = table.bytes_per_pixel
        known = rows[~np.isnan(ratio[rows])]
        yield "bytes per pixel", known, ratio[known]
        known = rows[files.has_exif[rows] >= 0]
        yield "EXIF data", known, files.has_exif[known]


def _accuracy(vote: NDArray[np.int64], is_ai: NDArray[np.bool_]) -> float:
    """Balanced accuracy of votes: 1 for AI, -1 for real, 0 for neither."""
    right = 1 + np.where(is_ai, vote, -vote)
    return float(right[is_ai].mean() + right[~is_ai].mean()) / 4


def _by_value(code: NDArray[np.int64], is_ai: NDArray[np.bool_], half: NDArray[np.bool_], n: int) -> NDArray[np.int64]:
    """Let each of ``n`` values vote as it does in the other half: (n_pictures,) of 1 for AI, -1, 0."""
    vote = np.zeros(len(code), np.int64)
    if n == 1:
        return vote
    for fit in (half, ~half):
        ai, real = (np.bincount(code[fit & of], minlength=n).astype(np.int64) for of in (is_ai, ~is_ai))
        n_ai, n_real = ai.sum(), real.sum()
        is_rare = ai + real <= 1
        ai[is_rare], real[is_rare] = ai[is_rare].sum(), real[is_rare].sum()
        vote[~fit] = np.sign(ai * n_real - real * n_ai)[code[~fit]]
    return vote


def _by_threshold(
    x: NDArray[np.float32], is_ai: NDArray[np.bool_], half: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], tuple[FactValue, ...]]:
    """Vote by the best threshold of the other half; returns too what is on the sides of the best one of all."""
    order = np.argsort(x)
    ordered, is_ai_ordered, half_ordered = x[order].astype(np.float64), is_ai[order], half[order]
    vote = np.zeros(len(x), np.int64)
    for fit in (half_ordered, ~half_ordered):
        threshold, low = _threshold(ordered[fit], is_ai_ordered[fit])
        vote[order[~fit]] = np.where(ordered[~fit] <= threshold, low, -low)
    threshold, low = _threshold(ordered, is_ai_ordered)
    is_low = ordered <= threshold
    shown = tuple(
        FactValue(f"{sign} {threshold:.2g}", int((side & ~is_ai_ordered).sum()), int((side & is_ai_ordered).sum()))
        for sign, side in (("≤", is_low), (">", ~is_low))
    )
    return vote, shown if low else ()


def _threshold(ordered: NDArray[np.float64], is_ai: NDArray[np.bool_]) -> tuple[float, int]:
    """Return the best threshold for sorted values, and the vote of what is not above it; (0, 0) if it is but luck."""
    last = np.flatnonzero(ordered[1:] > ordered[:-1])
    ai = np.cumsum(is_ai, dtype=np.int64)
    n_ai = int(is_ai.sum())
    gain = ai[last] * (len(ordered) - n_ai) - (last + 1 - ai[last]) * n_ai
    if not gain.any():
        return 0.0, 0
    best = int(np.abs(gain).argmax())
    return float(ordered[last[best]] + ordered[last[best] + 1]) / 2, int(np.sign(gain[best]))


def _most_frequent(
    fact: str, names: NDArray[Any], code: NDArray[np.int64], is_ai: NDArray[np.bool_]
) -> tuple[FactValue, ...]:
    ai, both = np.bincount(code[is_ai], minlength=len(names)), np.bincount(code, minlength=len(names))
    shown = np.argsort(-both, kind="stable")[:_SHOWN].tolist()
    return tuple(FactValue(_name(fact, int(names[i])), int(both[i] - ai[i]), int(ai[i])) for i in shown)


def _name(fact: str, value: int) -> str:
    if fact == "file format":
        return FORMATS[value]
    if fact == "picture size":
        return f"{value >> 32}×{value & 0xFFFFFFFF}"
    return "with" if value else "without"
