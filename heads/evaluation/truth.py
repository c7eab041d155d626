"""What is known of the rows of a split: labels, which rows belong together, and what kinds of pictures they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache import FeatureStore, link_rows
from heads.data.features import StrArray
from heads.data.tasks import REAL, UNKNOWN, BoolArray, IntArray
from heads.errors import HeadsError

__all__ = ["SLICES", "UNNAMED", "Truth", "read_truth"]

SLICES = ("generator", "origin", "format", "size")
"""By what rows can be told apart."""
UNNAMED = "unknown"
_SIZES = (256, 512, 1024, 2048)


@dataclass(frozen=True)
class Truth:
    """``n`` rows of one split whose class of task A is known.

    Attributes
    ----------
    split : str
    sample_id : str array (n,)
    y : int64 array (n,)
        0 real, 1 AI.
    groups : int64 array (n,)
        Number of the set of rows that belong together (`featcache.link_rows`), from 0: what is resampled.
    slices : mapping of str to str array (n,)
        `SLICES`; ``generator`` is ``real``, a name, or `UNNAMED`.
    n_unlabelled : int
        Rows of the split that are not here.
    """

    split: str
    sample_id: StrArray
    y: IntArray
    groups: IntArray
    slices: Mapping[str, StrArray]
    n_unlabelled: int

    def __len__(self) -> int:
        return len(self.y)

    @property
    def generator(self) -> StrArray:
        """``real``, the name of the generator, or `UNNAMED`: (n,)."""
        return self.slices["generator"]

    @property
    def n_groups(self) -> int:
        """Sets of rows that belong together."""
        return int(self.groups.max()) + 1 if len(self) else 0

    def select(self, rows: BoolArray | IntArray) -> Truth:
        """Return some rows; groups are numbered anew."""
        groups = np.unique(self.groups[rows], return_inverse=True)[1].reshape(-1)
        slices = {name: values[rows] for name, values in self.slices.items()}
        return Truth(self.split, self.sample_id[rows], self.y[rows], groups, slices, self.n_unlabelled)


def read_truth(store: FeatureStore, split: str) -> Truth:
    """Read the labels of a split; no vectors.

    Raises
    ------
    HeadsError
        If no row of it is known to be real or AI.
    """
    numbers = store.row_numbers(split)
    arrays = store.read(numbers, selections={})
    label_a, label_b = arrays.label_a.astype(np.int64), arrays.label_b.astype(np.int64)
    known = label_a != UNKNOWN
    if not known.any():
        raise HeadsError(f"none of the {len(known)} rows of split {split!r} is known to be real or AI")
    names = np.array([*arrays.class_names, UNNAMED])
    generator = names[np.where(label_b > 0, label_b, len(names) - 1)]
    slices = {"generator": np.where(label_a == 0, REAL, generator), **_slices(store, numbers)}
    every = Truth(split, arrays.sample_id, label_a, link_rows(arrays), slices, int((~known).sum()))
    return every.select(known)


def _slices(store: FeatureStore, numbers: NDArray[np.int64]) -> dict[str, StrArray]:
    samples = store.samples
    unnamed = np.full(len(numbers), UNNAMED)
    origin = unnamed if samples.row_origin is None else samples.row_origin.to_array()[numbers]
    formats = unnamed if samples.files is None else samples.files.names[numbers]
    longest = np.maximum(samples.width, samples.height)[numbers].astype(np.int64)
    size = np.array([*(f"up to {most} px" for most in _SIZES), f"over {_SIZES[-1]} px"])
    return {
        "origin": np.where(origin == "", UNNAMED, origin),
        "format": np.where(formats == "", UNNAMED, formats),
        "size": np.where(longest == 0, UNNAMED, size[np.searchsorted(_SIZES, longest)]),
    }
