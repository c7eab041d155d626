"""What picture files are besides their pixels: for audits, because it tells more of the source than of the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FORMATS", "FileFacts"]

FORMATS = ("", "JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM", "WEBP", "JPEG2000", "AVIF", "MPO", "HEIF")
"""Formats by code, as Pillow names them; "" is unknown. New ones go to the end: the codes are on disk."""

_UNKNOWN = -1
_MAX_BYTES = np.iinfo(np.uint32).max


@dataclass(frozen=True)
class FileFacts:
    """Facts about ``n`` picture files. No head sees them: format and size alone give generators away.

    Attributes
    ----------
    format : (n,) uint8
        Code of the format, see `FORMATS`; 0 unknown.
    n_bytes : (n,) uint32
        Size of the file; 0 unknown.
    has_exif : (n,) int8
        1 with EXIF data, 0 without, -1 unknown.
    """

    format: NDArray[np.uint8]
    n_bytes: NDArray[np.uint32]
    has_exif: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.format)

    @property
    def names(self) -> NDArray[np.str_]:
        """Name of each file's format, ``""`` if unknown: (n,)."""
        return np.array(FORMATS)[self.format]

    @classmethod
    def unknown(cls, n: int) -> FileFacts:
        """Return ``n`` rows of which nothing is known, to be filled."""
        return cls(np.zeros(n, np.uint8), np.zeros(n, np.uint32), np.full(n, _UNKNOWN, np.int8))

    def __getitem__(self, rows: NDArray[Any] | slice) -> FileFacts:
        return FileFacts(self.format[rows], self.n_bytes[rows], self.has_exif[rows])

    def put(self, rows: NDArray[Any], facts: FileFacts) -> None:
        """Fill some rows with those of others."""
        self.format[rows], self.n_bytes[rows], self.has_exif[rows] = facts.format, facts.n_bytes, facts.has_exif

    def note(self, row: int, n_bytes: int, *, format: str = "", has_exif: bool | None = None) -> None:
        """Fill one row with what the header of the file says; by default it has none that could be read."""
        self.n_bytes[row] = min(n_bytes, _MAX_BYTES)
        self.format[row] = FORMATS.index(format) if format in FORMATS else 0
        self.has_exif[row] = _UNKNOWN if has_exif is None else has_exif
