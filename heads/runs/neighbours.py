"""The training samples that are most like a picture, for explanation: found in the cache that a run was fitted on.

Alike is what points the same way from the mean of the training rows, along the axes of the run's novelty. No vector of
them is kept anywhere.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache import FeatcacheError, FeatureStore
from heads.data.features import Features, StrArray
from heads.data.loading import load_labels
from heads.data.row_source import StoredRows
from heads.data.tasks import AI, REAL, IntArray, joint_tasks
from heads.errors import HeadsError
from heads.head.protocol import FloatArray
from heads.head.threads import blas_on_one_thread
from heads.runs.run import Run

__all__ = ["Neighbour", "TrainingRows", "find_training_rows"]

_VALUES = 2**22  # numbers of vectors, or similarities, that are held at a time
_QUERIES = 256

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class Neighbour:
    """A training sample near a picture.

    Attributes
    ----------
    sample_id : str
    label : str
        ``real``, the name of the generator, or ``ai`` where that is not known.
    distance : float
        1 less the cosine, from 0 to 2.
    """

    sample_id: str
    label: str
    distance: float

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


@dataclass(frozen=True)
class TrainingRows:
    """Training rows along the axes of the novelty: 64 numbers each at most, held in memory.

    Attributes
    ----------
    axes : float32 array (d, k)
    centre : float64 array (k,)
        The mean of the rows along the axes.
    directions : float32 array (n, k)
        From there to each row, of length 1; 0 where the row is the mean.
    sample_id, label : str array (n,)
        As of `Neighbour`.
    n_fitted : int or None
        How many train rows the run says it was fitted on.
    """

    axes: FloatArray
    centre: Float64Array
    directions: FloatArray
    sample_id: StrArray
    label: StrArray
    n_fitted: int | None

    def __len__(self) -> int:
        return len(self.sample_id)

    @property
    def note(self) -> str | None:
        """What is wrong with these rows: the data set has changed since the run was fitted."""
        if self.n_fitted in (None, len(self)):
            return None
        return f"it has {len(self):,} train rows, the run was fitted on {self.n_fitted:,}: some may be new to it"

    @blas_on_one_thread()
    def nearest(self, X: FloatArray, k: int) -> list[tuple[Neighbour, ...]]:
        """Return the ``k`` nearest training samples of rows (m, d), the nearest first; fewer if there are fewer."""
        towards = _unit(_place(X, self.axes, self.centre))
        found = []
        for start in range(0, len(X), _QUERIES):
            rows, similarity = self._most_similar(towards[start : start + _QUERIES], k)
            for places, values in zip(rows.tolist(), similarity.tolist(), strict=True):
                found.append(tuple(self._neighbour(i, s) for i, s in zip(places, values, strict=True)))
        return found

    def _neighbour(self, row: int, similarity: float) -> Neighbour:
        return Neighbour(str(self.sample_id[row]), str(self.label[row]), max(0.0, 1.0 - similarity))

    def _most_similar(self, towards: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
        """Return the most similar rows of each query (q, k) and their cosines; of equal ones the first come first."""
        best = np.empty((len(towards), 0), np.float32)
        rows = np.empty((len(towards), 0), np.int64)
        step = max(1, _VALUES // max(len(towards), 1))
        for start in range(0, len(self), step):
            similar = towards @ self.directions[start : start + step].T
            for _ in range(min(k, similar.shape[1])):
                place = similar.argmax(axis=1)[:, None]
                best = np.hstack([best, np.take_along_axis(similar, place, 1)])
                rows = np.hstack([rows, start + place])
                np.put_along_axis(similar, place, -np.inf, 1)
            order = np.argsort(-best, axis=1, kind="stable")[:, :k]
            best, rows = np.take_along_axis(best, order, 1), np.take_along_axis(rows, order, 1)
        return rows, best


def find_training_rows(run: Run, store: FeatureStore) -> TrainingRows:
    """Read the train rows that a run was fitted on, in the run's own view, block by block.

    Parameters
    ----------
    run : Run
    store : FeatureStore
        As `heads.runs.training_cache.open_training` returns it.

    Raises
    ------
    HeadsError
        If the run knows no axes, or the store has no train rows that it could have been fitted on.
    """
    if run.likeness is None:
        raise HeadsError(f"{run.path} is of an early version and knows nothing of its training rows: fit it again")
    features, numbers = _train_rows(run, store)
    novelty = run.likeness.novelty
    axes, centre = novelty.axes, novelty.centres.mean(axis=0, dtype=np.float64)
    source = StoredRows(store, [run.selections], numbers)
    seen = np.empty((len(numbers), axes.shape[1]), np.float32)
    step = max(1, _VALUES // source.n_columns)
    for start in range(0, len(seen), step):
        rows = np.arange(start, min(start + step, len(seen)))
        seen[rows] = _place(source.read(rows), axes, centre)
    kept = np.flatnonzero(np.isfinite(seen).all(axis=1))
    features, seen = features.select(kept), seen[kept]
    mean = seen.mean(axis=0, dtype=np.float64)
    directions = _unit(seen - mean.astype(np.float32))
    n_fitted = run.record.rows.get("train")
    return TrainingRows(axes, centre + mean, directions, features.sample_id, _labels(features), n_fitted)


def _train_rows(run: Run, store: FeatureStore) -> tuple[Features, IntArray]:
    try:
        features, numbers = load_labels(store, [run.selections], splits=("train",), tasks=run.tasks)
    except FeatcacheError as error:
        raise HeadsError(f"no training samples can be named: {error}") from error
    kept = np.flatnonzero(features.usable(run.fusion) & features.labelled)
    if not len(kept):
        raise HeadsError(f"data set {store.dataset!r:.80} of cache {store.path} has no train rows with vectors")
    return features.select(kept), numbers[kept]


def _labels(features: Features) -> StrArray:
    a, b = joint_tasks(features.tasks)
    targets = features.targets
    labels = np.where(targets.applies[a.name] & (targets.y[a.name] == 0), REAL, AI)
    if b is None:
        return labels
    known = targets.applies[b.name]
    return np.where(known, np.array(b.classes)[np.where(known, targets.y[b.name], 0)], labels)


def _place(X: FloatArray, axes: FloatArray, centre: Float64Array) -> FloatArray:
    """Return where rows (m, d) lie along the axes, seen from a centre: rounded once, as raw columns may be far off."""
    return np.asarray(X.astype(np.float64) @ axes.astype(np.float64) - centre, np.float32)


def _unit(rows: FloatArray) -> FloatArray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, 1), np.float32)
