"""What an export holds: columns that are read piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.files.string_column import StringColumn
from featcache.identity.terms import MODALITIES
from featcache.store.selection import Selection
from featcache.store.store import FeatureStore

__all__ = ["ARRAYS", "FORMAT", "Column", "Source", "fixed"]

FORMAT = "featcache-export"
ARRAYS = frozenset(
    {
        *("sample_id", "split", "group", "origin", "label_a", "label_b", "class_names", "about"),
        *MODALITIES,
        *(f"{modality}_present" for modality in MODALITIES),
    }
)
"""Names that arrays of an export have."""
_PIECE_BYTES = 16 << 20
_FORMAT_VERSION = 1


@dataclass(frozen=True)
class Column:
    """One array of an export.

    Attributes
    ----------
    name : str
        Name of the array.
    dtype : numpy.dtype
        Its dtype, which is never object.
    shape : tuple of int
        Its shape, the rows first.
    read : callable
        Called with (start, stop); returns those rows.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    read: Callable[[int, int], NDArray[Any]]

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def pieces(self) -> Iterator[NDArray[Any]]:
        """Yield the rows in order, about 16 MiB at a time."""
        n = self.shape[0]
        step = max(1, _PIECE_BYTES * n // max(self.nbytes, 1))
        for start in range(0, n, step):
            yield np.ascontiguousarray(self.read(start, min(start + step, n)), dtype=self.dtype)


@dataclass(frozen=True)
class Source:
    """The rows that are exported.

    Attributes
    ----------
    store : FeatureStore
        The store whose samples are exported.
    rows : (n,) int64
        Row numbers of the samples.
    selections : mapping of modality to Selection
        The vectors to export.
    """

    store: FeatureStore
    rows: NDArray[np.int64]
    selections: Mapping[str, Selection]

    @cached_property
    def about(self) -> Mapping[str, Any]:
        """A JSON document that says what the arrays are."""
        return {
            "format": FORMAT,
            "format_version": _FORMAT_VERSION,
            "dataset": self.store.dataset,
            "class_names": list(self.store.class_names),
            "features": {
                modality: {
                    "fingerprint": s.fingerprint,
                    "view": s.view,
                    "outputs": dict(zip(s.outputs, s.widths, strict=True)),
                }
                for modality, s in self.selections.items()
            },
        }

    @property
    def strings(self) -> tuple[Column, ...]:
        """``sample_id``, ``split``, ``group``, and ``origin`` where it is known."""
        table = self.store.samples
        texts = {"sample_id": table.sample_id, "group": table.group}
        if table.row_origin is not None:
            texts["origin"] = table.row_origin
        sample_id, *others = (_text(name, column, self.rows) for name, column in texts.items())
        return (sample_id, fixed("split", table.split[self.rows]), *others)

    @property
    def numbers(self) -> tuple[Column, ...]:
        """Labels, vectors, and which of these are present."""
        table = self.store.samples
        columns = [fixed("label_a", table.label_a[self.rows]), fixed("label_b", table.label_b[self.rows])]
        for modality, selection in self.selections.items():
            places = self.store.rows(selection).select(self.rows)

            def read(start: int, stop: int, places: Any = places) -> NDArray[np.float32]:
                return np.asarray(places.read(np.arange(start, stop)))

            columns.append(Column(modality, np.dtype(np.float32), (len(places), places.width), read))
            columns.append(fixed(f"{modality}_present", places.present))
        return tuple(columns)


def fixed(name: str, values: NDArray[Any]) -> Column:
    """Return the column of an array in memory."""
    return Column(name, values.dtype, values.shape, lambda start, stop: values[start:stop])


def _text(name: str, column: StringColumn, rows: NDArray[np.int64]) -> Column:
    width = max((len(column[row]) for row in rows.tolist()), default=0)
    dtype = np.dtype(f"U{max(width, 1)}")

    def read(start: int, stop: int) -> NDArray[np.str_]:
        return np.array([column[row] for row in rows[start:stop].tolist()], dtype)

    return Column(name, dtype, (len(rows),), read)
