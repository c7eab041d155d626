"""Sets of generators that hold the true one as often as promised: split-conformal, for each generator on its own.

Sadinle, Lei and Wasserman, "Least ambiguous set-valued classifiers with bounded error levels", 2019, with the cuts of
each class from calibrating rows of that class: of AI pictures of a generator, the set has its name with at least the
coverage, whatever share of pictures it makes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np

from heads.data.tasks import BoolArray, IntArray
from heads.errors import HeadsError
from heads.files.ranges import Range
from heads.head.protocol import FloatArray
from heads.verdicts.draws import draw_one_a_group
from heads.verdicts.points import is_note

__all__ = ["COVERAGES", "GeneratorSets", "build_sets", "least_draws", "parse_sets"]

COVERAGES, _SHARE, _COUNT = Range(float, 0.5, 0.999), Range(float, 0, 1), Range(int, 0, 2**63 - 1)
_ROUNDING = 1e-9


@dataclass(frozen=True)
class GeneratorSets:
    """From which raw P(generator | AI) on a generator is in the set.

    Attributes
    ----------
    coverage : float
        Share of AI pictures of each generator with a cut whose set has its name.
    cuts : tuple of float or None
        One a class of task B. None: too few rows for a guarantee; the class goes by the lowest cut of the others.
    n : tuple of int
        Calibrating draws of each class.
    unit : {"row", "group"}
        What was drawn independently.
    view, dataset, rows, note : str
        As of `OperatingPoint` and `Guarantee`.
    """

    coverage: float
    cuts: tuple[float | None, ...]
    n: tuple[int, ...]
    unit: Literal["row", "group"]
    view: str
    dataset: str
    rows: str
    note: str = ""

    def __post_init__(self) -> None:
        COVERAGES.check(self.coverage, "--coverage")
        known = [cut for cut in self.cuts if cut is not None]
        if not known or len(self.n) != len(self.cuts) or not all(map(_SHARE.holds, known)):
            raise HeadsError(f"sets of generators have malformed cuts: {self.cuts!r:.80}")

    def choose(self, proba: FloatArray) -> BoolArray:
        """Return which generators are in each row's set, of raw P(generator | AI) (n, K); always the likeliest one."""
        lowest = min(cut for cut in self.cuts if cut is not None)
        cuts = np.array([lowest if cut is None else cut for cut in self.cuts])
        # In float64: numpy would round the cuts to float32 probabilities.
        chosen: BoolArray = proba.astype(np.float64) >= cuts
        chosen[np.arange(len(proba)), proba.argmax(axis=1)] = True
        return chosen

    def to_json(self) -> dict[str, Any]:
        """Return the object that stands in ``run.json``."""
        return asdict(self)


def least_draws(coverage: float) -> int:
    """Return how many draws of a class a guarantee needs: ``⌈1 / (1 − coverage)⌉ − 1``."""
    COVERAGES.check(coverage, "--coverage")
    return math.ceil(1 / (1 - coverage) - _ROUNDING) - 1


def build_sets(
    proba: FloatArray,
    y: IntArray,
    groups: IntArray,
    *,
    classes: Sequence[str],
    coverage: float,
    about: Mapping[str, str],
) -> GeneratorSets:
    """Choose the cuts on AI rows whose generator is known.

    Parameters
    ----------
    proba : float32 array (n, K)
        Raw P(generator | AI).
    y : int array (n,)
        Generator of each row.
    groups : int array (n,)
        Rows of one number are not independent: one of them is drawn.
    classes : sequence of str
    coverage : float
    about : mapping
        ``view``, ``dataset``, ``rows`` and ``note`` of `GeneratorSets`.

    Raises
    ------
    HeadsError
        If no class has draws enough.
    """
    if not np.isfinite(proba).all():
        raise HeadsError(f"P(generator) of {int((~np.isfinite(proba).all(axis=1)).sum())} rows is not finite")
    needed = least_draws(coverage)
    cuts: list[float | None] = []
    counts: list[int] = []
    for code in range(len(classes)):
        rows = np.flatnonzero(y == code)
        scores = np.sort(proba[rows[draw_one_a_group(groups[rows])], code])[::-1]
        counts.append(len(scores))
        place = math.ceil((len(scores) + 1) * coverage - _ROUNDING)
        cuts.append(float(scores[place - 1]) if len(scores) >= needed else None)
    if all(cut is None for cut in cuts):
        raise HeadsError(
            f"--coverage {coverage:g} needs {needed} rows (groups, where there are some) of a generator, found "
            f"{max(counts)} at most: calibrate on another --dataset that has more, or ask for less"
        )
    is_single = all(len(np.unique(groups[y == code])) == np.count_nonzero(y == code) for code in range(len(classes)))
    return GeneratorSets(coverage, tuple(cuts), tuple(counts), "row" if is_single else "group", **about)


def parse_sets(document: Any, where: str) -> GeneratorSets:
    """Read what `GeneratorSets.to_json` wrote; it is not trusted."""
    is_sound = (
        isinstance(document, Mapping)
        and set(document) | {"note"} == {field.name for field in fields(GeneratorSets)}
        and isinstance(document["cuts"], list)
        and isinstance(document["n"], list)
        and all(map(_COUNT.holds, document["n"]))
        and document["unit"] in ("row", "group")
        and all(isinstance(document[name], str) for name in ("view", "dataset", "rows"))
        and is_note(document.get("note", ""))
    )
    if not is_sound:
        raise HeadsError(f"{where} has malformed sets of generators: {document!r:.80}")
    return GeneratorSets(**{**document, "cuts": tuple(document["cuts"]), "n": tuple(document["n"])})
