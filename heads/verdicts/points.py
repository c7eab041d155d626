"""Operating points: from which raw P(AI) on a picture is called AI, below which real, and what was promised of that."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from heads.data.tasks import BoolArray
from heads.errors import HeadsError
from heads.files.ranges import Range

__all__ = ["BALANCED", "Guarantee", "OperatingPoint", "OriginBound", "is_note", "parse_point"]

BALANCED = "balanced"
"""The point of every run: its threshold, by balanced accuracy, without a guarantee."""
_SCORE = Range(float, 0, 1)
_SHARE = Range(float, 0, 1)
_MAX_NOTE = 400
_COUNT = Range(int, 0, 2**63 - 1)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class OriginBound:
    """What was found of the rows of one origin.

    Attributes
    ----------
    origin : str
    n, n_errors : int
        Independent draws, and how many of them were called wrongly.
    bound : float
        Upper Clopper–Pearson bound, as of `Guarantee`, at the confidence that is left to one origin.
    """

    origin: str
    n: int
    n_errors: int
    bound: float


@dataclass(frozen=True)
class Guarantee:
    """With which confidence which error rate stays within a budget, for pictures like those of the calibrating rows.

    Attributes
    ----------
    rate : {"fpr", "fnr"}
        Real pictures called AI, or AI pictures called real.
    budget, confidence : float
    unit : {"row", "group"}
        What was drawn independently: with ``group`` the rate is of a random row of a random group.
    n, n_errors : int
        Draws, and how many of them were called wrongly.
    bound : float
        One-sided upper Clopper–Pearson bound of the rate, at most ``budget``: of the most errors that are within it.
        Where scores are equal, and where the threshold is not at the end of what may be chosen, fewer were made.
    expected, low, high : float or None
        The rate that it buys (of ``fpr``: AI pictures called AI; of ``fnr``: real pictures called real) on the same
        rows, and its 95 % interval. None where there are no such rows; of one group there is no interval.
    dataset, rows : str
        Which rows these were: a data set, and ``calibrating`` (the part of the run's own validation) or ``valid``.
    origins : tuple of OriginBound
        With ``--by origin`` each origin on its own; the worst decided, and is what ``n``, ``n_errors`` and ``bound``
        are of.
    note : str
        On what it depends beside this: what could not be checked. Blank where all was.
    """

    rate: Literal["fpr", "fnr"]
    budget: float
    confidence: float
    unit: Literal["row", "group"]
    n: int
    n_errors: int
    bound: float
    expected: float | None
    low: float | None
    high: float | None
    dataset: str
    rows: str
    origins: tuple[OriginBound, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class OperatingPoint:
    """Two thresholds on raw P(AI): AI from the upper one on, real below the lower one, unsure between them.

    Attributes
    ----------
    name : str
    view : str
        Of the pictures that it was made on.
    ai_from, real_below : float
        Equal where nothing is unsure.
    guarantees : tuple of Guarantee
        None of the point `BALANCED`.
    """

    name: str
    view: str
    ai_from: float
    real_below: float
    guarantees: tuple[Guarantee, ...] = ()

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None:
            raise HeadsError(
                f"an operating point is called {self.name!r:.80}, expected lower-case letters, digits, '.', '_', '-'"
            )
        _SCORE.check(self.ai_from, f"threshold of operating point {self.name}")
        _SCORE.check(self.real_below, f"lower threshold of operating point {self.name}")
        if self.real_below > self.ai_from:
            raise HeadsError(f"operating point {self.name} calls scores both real and AI")

    @property
    def abstains(self) -> bool:
        """Whether some scores are unsure."""
        return self.real_below < self.ai_from

    def is_ai(self, raw: NDArray[np.floating[Any]]) -> BoolArray:
        """Return which raw P(AI) are called AI: (n,)."""
        # In float64: numpy would round the threshold to float32 scores, and so move it onto one.
        return raw.astype(np.float64) >= self.ai_from

    def is_unsure(self, raw: NDArray[np.floating[Any]]) -> BoolArray:
        """Return which raw P(AI) are called neither: (n,)."""
        scores = raw.astype(np.float64)
        return (scores >= self.real_below) & (scores < self.ai_from)

    def to_json(self) -> dict[str, Any]:
        """Return the object that stands in ``run.json``."""
        return asdict(self)


def parse_point(document: Any, where: str) -> OperatingPoint:
    """Read what `OperatingPoint.to_json` wrote; it is not trusted."""
    own = _take(document, OperatingPoint, where)
    if not (isinstance(own["name"], str) and isinstance(own["view"], str) and isinstance(own["guarantees"], list)):
        raise HeadsError(f"{where} has a malformed operating point: {document!r:.80}")
    return OperatingPoint(**{**own, "guarantees": tuple(_parse_guarantee(each, where) for each in own["guarantees"])})


def _parse_guarantee(document: Any, where: str) -> Guarantee:
    own = _take(document, Guarantee, where, early={"note": ""})
    origins = own["origins"]
    is_sound = (
        own["rate"] in ("fpr", "fnr")
        and own["unit"] in ("row", "group")
        and all(_SHARE.holds(own[name]) for name in ("budget", "confidence", "bound"))
        and all(own[name] is None or _SHARE.holds(own[name]) for name in ("expected", "low", "high"))
        and _COUNT.holds(own["n"])
        and _COUNT.holds(own["n_errors"])
        and isinstance(own["dataset"], str)
        and isinstance(own["rows"], str)
        and is_note(own["note"])
        and isinstance(origins, list)
    )
    if not is_sound:
        raise HeadsError(f"{where} has a malformed guarantee: {document!r:.80}")
    return Guarantee(**{**own, "origins": tuple(_parse_origin(each, where) for each in origins)})


def is_note(found: object) -> bool:
    """Whether something that is read may be the condition of a promise."""
    return isinstance(found, str) and len(found) <= _MAX_NOTE


def _parse_origin(document: Any, where: str) -> OriginBound:
    own = _take(document, OriginBound, where)
    is_sound = isinstance(own["origin"], str) and _COUNT.holds(own["n"]) and _COUNT.holds(own["n_errors"])
    if not (is_sound and _SHARE.holds(own["bound"])):
        raise HeadsError(f"{where} has a malformed bound of an origin: {document!r:.80}")
    return OriginBound(**own)


def _take(
    document: Any,
    kind: type[OperatingPoint | Guarantee | OriginBound],
    where: str,
    *,
    early: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the fields of an object that has exactly those of a type; ``early``: of those that early runs lack."""
    expected = {field.name for field in fields(kind)}
    if not isinstance(document, Mapping) or set(document) | set(early or ()) != expected:
        raise HeadsError(f"{where} has a malformed {kind.__name__}: {document!r:.80}")
    return {**(early or {}), **document}
