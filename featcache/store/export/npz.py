"""An export as one ``.npz``."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np

from featcache.store.export.columns import Column, Source, fixed

__all__ = ["constants", "write_npy", "write_npz"]

_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_npz(source: Source, path: Path) -> None:
    """Write every array as one uncompressed member; the same rows give the same bytes."""
    _write((*source.strings, *source.numbers, *constants(source)), path)


def _write(columns: Iterable[Column], path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for column in columns:
            member = zipfile.ZipInfo(f"{column.name}.npy", _EPOCH)
            with archive.open(member, "w", force_zip64=True) as file:
                write_npy(column, file)


def write_npy(column: Column, file: IO[bytes]) -> None:
    """Write one array in numpy's own format, piece by piece."""
    header = {
        "descr": np.lib.format.dtype_to_descr(column.dtype),
        "fortran_order": False,
        "shape": column.shape,
    }
    np.lib.format.write_array_header_1_0(file, header)
    for piece in column.pieces():
        file.write(piece.tobytes())


def constants(source: Source) -> tuple[Column, Column]:
    """Return ``class_names`` and ``about``, which do not belong to rows."""
    names = np.array(source.store.class_names, np.str_)
    return fixed("class_names", names), fixed("about", np.array([json.dumps(source.about)]))
