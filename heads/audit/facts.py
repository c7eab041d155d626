"""Facts about the files of samples, as a sample table has them; heads see none of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from featcache import FeatureStore
from heads.audit.evidence import Words
from heads.audit.rows import AuditRows

__all__ = ["ORIGINS", "count_origins", "file_facts", "origins_of"]

ORIGINS = "origins"
_BINS = 32


def file_facts(store: FeatureStore, rows: AuditRows) -> Iterator[Words]:
    """Yield the size of pictures and, where the cache has looked at that, format, bytes per pixel and EXIF data."""
    samples, numbers = store.samples, rows.numbers
    width, height = (side[numbers].astype(np.int64) for side in (samples.width, samples.height))
    known = (width > 0) & (height > 0)
    shape = width / np.maximum(height, 1)
    exact = width << 32 | height
    parts = (_cut(each, known) for each in (width, height, width * height, shape))
    yield Words.of_columns("picture sizes", known, (exact, *parts))
    files = samples.files
    if files is not None:
        names = files.names[numbers]
        yield Words.of_columns("file formats", names != "", (names,))
        ratio = samples.bytes_per_pixel[numbers]
        known = ~np.isnan(ratio)
        yield Words.of_columns("bytes per pixel", known, (_cut(ratio, known),))
        has_exif = files.has_exif[numbers]
        yield Words.of_columns("EXIF data", has_exif >= 0, (has_exif,))


def origins_of(store: FeatureStore, rows: AuditRows) -> Words | None:
    """Return where rows come from; None if the data say it of none."""
    column = store.samples.row_origin
    if column is None:
        return None
    names = column.to_array()[rows.numbers]
    return Words.of_columns(ORIGINS, names != "", (names,)) if (names != "").any() else None


def count_origins(store: FeatureStore, rows: AuditRows) -> dict[str, int]:
    """Count the origins that have real rows, that have AI rows, and that have both: ``real``, ``ai``, ``both``."""
    column, y = store.samples.row_origin, rows.y(rows.features.tasks[0])
    assert column is not None
    names = column.to_array()[rows.numbers]
    real, ai = ({*names[(y == code) & (names != "")].tolist()} for code in (0, 1))
    return {"real": len(real), "ai": len(ai), "both": len(real & ai)}


def _cut(values: NDArray[np.generic], known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number ranges of a column that hold about as many of the known values each; no label is looked at."""
    numbers = values.astype(np.float64)
    if not known.any():
        return np.zeros(len(numbers), np.int64)
    ends = np.unique(np.quantile(numbers[known], np.linspace(0, 1, _BINS + 1)[1:-1]))
    return np.searchsorted(ends, numbers).astype(np.int64)
