"""What reading a store gives: aligned arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Arrays"]


@dataclass(frozen=True)
class Arrays:
    """Aligned rows of one data set.

    Attributes
    ----------
    sample_id, split, group : (n,) str
        ``split`` is ``""`` for samples in none, ``group`` where none was given.
    label_a : (n,) int8
        0 real, 1 AI, -1 unknown.
    label_b : (n,) int16
        0 real, k for ``class_names[k]``, -1 unknown.
    class_names : tuple of str
        What the codes of ``label_b`` mean: ``("real", generator, …)``.
    features : mapping of modality to (n, d) float32
        Raw vectors; a row is NaN where the sample has none.
    present : mapping of modality to (n,) bool
        Which rows are not NaN.
    keys : mapping of content to (n, 32) uint8
        Keys of captions and pictures, whatever is selected; zeros where the sample has none.
    origin : (n,) str or None
        Where each sample comes from, ``""`` where that is not said. None: the data say it of no sample.
    draw_name : (n,) str or None
        By which name each sample is drawn into a part of the rows. None: by its sample_id.
    """

    sample_id: NDArray[np.str_]
    split: NDArray[np.str_]
    group: NDArray[np.str_]
    label_a: NDArray[np.int8]
    label_b: NDArray[np.int16]
    class_names: tuple[str, ...]
    features: Mapping[str, NDArray[np.float32]]
    present: Mapping[str, NDArray[np.bool_]]
    keys: Mapping[str, NDArray[np.uint8]]
    origin: NDArray[np.str_] | None = None
    draw_name: NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.label_a)

    def __repr__(self) -> str:
        columns = ", ".join(f"{modality} {vectors.shape[1]:,}" for modality, vectors in self.features.items())
        return f"Arrays({len(self):,} rows, columns: {columns or 'none'})"

    def select(self, rows: NDArray[Any]) -> Arrays:
        """Return some rows, in the order of ``rows``."""
        return Arrays(
            self.sample_id[rows],
            self.split[rows],
            self.group[rows],
            self.label_a[rows],
            self.label_b[rows],
            self.class_names,
            {m: v[rows] for m, v in self.features.items()},
            {m: v[rows] for m, v in self.present.items()},
            {m: v[rows] for m, v in self.keys.items()},
            None if self.origin is None else self.origin[rows],
            None if self.draw_name is None else self.draw_name[rows],
        )

    @property
    def strings(self) -> Mapping[str, NDArray[np.str_]]:
        """The columns of text: ``sample_id``, ``split``, ``group``, and ``origin`` where it is known."""
        columns = {"sample_id": self.sample_id, "split": self.split, "group": self.group}
        return columns if self.origin is None else columns | {"origin": self.origin}
