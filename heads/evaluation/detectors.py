"""What a detector says of rows: a run, in any view that is stored, or a file of scores that another program wrote."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from featcache import FeatureStore
from heads.data.features import FloatArray
from heads.data.tasks import AI, IntArray, joint_tasks
from heads.errors import HeadsError
from heads.evaluation.truth import Truth
from heads.files.folder import read_file
from heads.runs.run import Run, load_run_features
from heads.runs.stored_views import own_view
from heads.verdicts.maps import RAW, ProbabilityMaps
from heads.verdicts.points import OperatingPoint

__all__ = ["Detector", "RunDetector", "ScoreFile", "Scored", "read_scores"]

FILE_POINT = "0.5"
_MAX_SCORES = 2**31
_IDS, _P_AI, _RAW = "sample_id", "p_ai", "p_ai_raw"


@dataclass(frozen=True)
class Scored:
    """What a detector says of those rows that it can answer.

    Attributes
    ----------
    rows : int64 array (m,)
        Their numbers in the `Truth`.
    raw : float64 array (m,)
        P(AI) that decides.
    p_ai : float64 array (m,)
        P(AI) that is printed, at the prior.
    of_generator : float32 array (m, K) or None
        P(generator | AI); None of a detector that knows no generators.
    generators : tuple of str
        Names of its columns.
    """

    rows: IntArray
    raw: NDArray[np.float64]
    p_ai: NDArray[np.float64]
    of_generator: FloatArray | None
    generators: tuple[str, ...]

    def select(self, places: IntArray) -> Scored:
        """Return some of these rows, by their place here."""
        of_generator = None if self.of_generator is None else self.of_generator[places]
        return Scored(self.rows[places], self.raw[places], self.p_ai[places], of_generator, self.generators)


class Detector(Protocol):
    """Something that says of rows whether they are AI."""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        ...

    @property
    def maps(self) -> ProbabilityMaps:
        """How its raw scores become probabilities."""
        ...

    @property
    def points(self) -> Sequence[OperatingPoint]:
        """All its operating points."""
        ...

    def point(self, name: str | None) -> OperatingPoint:
        """Return an operating point; the default is its own choice."""
        ...

    def score(self, truth: Truth, view: str, *, prior: float | None) -> Scored:
        """Score rows under a view of the pictures."""
        ...


@dataclass(frozen=True)
class RunDetector:
    """A run on the vectors of a store."""

    run: Run
    store: FeatureStore

    @property
    def name(self) -> str:
        """The run's folder."""
        return str(self.run.path)

    @property
    def maps(self) -> ProbabilityMaps:
        """Those of the run."""
        return self.run.record.verdicts.maps

    @property
    def own_view(self) -> str:
        """The view that the head is fitted for: the clean one of a head that looks at captions alone."""
        return own_view(self.run)

    @property
    def points(self) -> Sequence[OperatingPoint]:
        """Those of the run."""
        return tuple(self.run.points.values())

    def point(self, name: str | None) -> OperatingPoint:
        """Return an operating point of the run."""
        return self.run.point(name)

    def score(self, truth: Truth, view: str, *, prior: float | None) -> Scored:
        """Score the rows that have all vectors of the head in this view."""
        run = self.run if view == self.own_view else self.run.in_view(view)
        features = load_run_features(run, self.store, splits=(truth.split,))
        usable = features.select(features.usable(run.fusion))
        order = np.argsort(truth.sample_id)
        place = np.searchsorted(truth.sample_id, usable.sample_id, sorter=order).clip(max=len(truth) - 1)
        rows = order[place]
        known = truth.sample_id[rows] == usable.sample_id
        if not known.any():
            raise HeadsError(
                f"none of the {len(truth)} labelled rows of split {truth.split!r} has all vectors that "
                f"{self.name} needs in view {view!r}"
            )
        found = run.predict(usable.select(known))
        mapped = self.maps.apply(found, run.tasks, prior=prior)
        a, b = joint_tasks(run.tasks)
        return Scored(
            rows[known],
            found.proba[a.name].astype(np.float64),
            mapped.proba[a.name].astype(np.float64),
            mapped.proba[b.name] if b else None,
            b.classes if b else (),
        )


@dataclass(frozen=True)
class ScoreFile:
    """Scores of another program, by sample_id.

    Attributes
    ----------
    name : str
    path : Path
    sample_id : str array (n,)
        Ascending.
    raw, p_ai : float64 array (n,)
    of_generator : float32 array (n, K) or None
    generators : tuple of str
    """

    name: str
    path: Path
    sample_id: NDArray[np.str_]
    raw: NDArray[np.float64]
    p_ai: NDArray[np.float64]
    of_generator: FloatArray | None
    generators: tuple[str, ...]

    @property
    def maps(self) -> ProbabilityMaps:
        """None: scores are taken as they are."""
        return RAW

    @property
    def points(self) -> Sequence[OperatingPoint]:
        """AI from 0.5 on."""
        return (self.point(None),)

    def point(self, name: str | None) -> OperatingPoint:
        """Return its only point: AI from 0.5 on."""
        if name not in (None, FILE_POINT):
            raise HeadsError(f"scores {self.name} have no operating point {name!r:.80}, only {FILE_POINT}")
        return OperatingPoint(FILE_POINT, "clean", 0.5, 0.5)

    def score(self, truth: Truth, view: str, *, prior: float | None) -> Scored:
        """Look up the rows; whatever view is asked for, these are the scores that there are."""
        del view
        if prior is not None:
            raise HeadsError(f"scores {self.name} are of an unknown prior and cannot be moved to {prior:g}")
        place = np.searchsorted(self.sample_id, truth.sample_id).clip(max=len(self.sample_id) - 1)
        rows = np.flatnonzero(self.sample_id[place] == truth.sample_id)
        if not len(rows):
            raise HeadsError(
                f"{self.path} has no score of any of the {len(truth)} labelled rows of split {truth.split!r}: "
                f"its first sample_id is {str(self.sample_id[0])!r:.80}, that of the split "
                f"{str(truth.sample_id[0])!r:.80}"
            )
        taken = place[rows]
        of_generator = None if self.of_generator is None else self.of_generator[taken]
        return Scored(rows, self.raw[taken], self.p_ai[taken], of_generator, self.generators)


def read_scores(name: str, path: Path) -> ScoreFile:
    """Read a CSV file with the columns ``sample_id``, ``p_ai`` and, for generators, ``p_NAME``, e.g. of heads predict.

    ``p_NAME`` is the probability that the generator made the picture; over all of them they are taken as shares.
    Rows without a ``p_ai`` are left out. Other columns are not read; ``p_ai_raw`` decides where it is there.

    Raises
    ------
    HeadsError
        If a column is missing, a score is no number from 0 to 1, or a sample_id occurs twice.
    """
    try:
        ids, makers, values = _parse(path, read_file(path, _MAX_SCORES).decode("utf-8-sig"))
    except (UnicodeDecodeError, csv.Error) as error:
        raise HeadsError(f"{path} is no CSV file in UTF-8: {error}") from error
    table, sample_id = np.array(values), np.array(ids)
    order = np.argsort(sample_id, kind="stable")
    sample_id, table = sample_id[order], table[order]
    doubled = np.flatnonzero(sample_id[1:] == sample_id[:-1])
    if len(doubled):
        raise HeadsError(f"{path} has two scores of sample {str(sample_id[doubled[0]])!r:.80}")
    shares = table[:, 2:]
    total = shares.sum(axis=1, keepdims=True)
    even = np.full(shares.shape, 1 / max(len(makers), 1))
    of_generator = np.divide(shares, total, out=even, where=total > 0).astype(np.float32)
    names = tuple(AI if maker == f"p_generator_{AI}" else maker.removeprefix("p_") for maker in makers)
    knows = len(names) > 1
    return ScoreFile(
        name, path, sample_id, table[:, 1], table[:, 0], of_generator if knows else None, names if knows else ()
    )


def _parse(path: Path, text: str) -> tuple[list[str], list[str], list[list[float]]]:
    """Return sample_ids, the columns of generators, and a line of numbers each: P(AI), the one that decides, theirs."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    columns = list(reader.fieldnames or [])
    for column in (_IDS, _P_AI):
        if columns.count(column) != 1:
            found = "two columns" if column in columns else "no column"
            raise HeadsError(f"{path} has {found} {column!r}, expected sample_id, p_ai and perhaps p_GENERATOR")
    makers = [column for column in columns if column.startswith("p_") and column not in (_P_AI, _RAW)]
    numbers = [_P_AI, _RAW if _RAW in columns else _P_AI, *makers]
    ids: list[str] = []
    values = []
    for row in reader:
        if row[_P_AI]:
            ids.append(row[_IDS] or "")
            of_row = f"of sample {ids[-1]!r:.80}"
            values.append([_parse_score(row[column], path, f"{column} {of_row}") for column in numbers])
    if not ids:
        raise HeadsError(f"{path} has no scores")
    return ids, makers, values


def _parse_score(text: str | None, path: Path, what: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise HeadsError(f"{path}: {what} is {text!r:.80}, expected a number from 0 to 1")
    return value
