"""How much memory a picture takes while it is prepared, told by its header: never less than it takes.

All numbers are measured (docs/decisions/0012), and tests measure them again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from featcache.pictures.decode import MAX_PIXELS
from featcache.pictures.strips import WHOLE_PIXELS
from featcache.pictures.views import View

__all__ = ["Footprint"]

# Bytes a pixel at the worst moment of decoding. A header that is read in microseconds does not tell which of its
# variants a file is; JPEG, for one, takes 4 where it is baseline, and 12 where it is progressive and CMYK.
_DECODING = {
    "JPEG": 13, "MPO": 13, "PNG": 9, "GIF": 9, "BMP": 9, "TIFF": 17, "PPM": 15, "WEBP": 20, "JPEG2000": 30, "AVIF": 26,
    "HEIF": 24,
}  # fmt: skip
_UNKNOWN = max(_DECODING.values())
_PICTURE = 4  # what Pillow stores of a pixel in RGB
_VIEW = 3  # what a perturbation may take beside the picture that it is made of and its result
_INPUT = 8  # what an encoder may take to bring a picture to its size
_STRIP = 20  # bytes a pixel that the conversion of a strip takes, or of a picture that is not cut


@dataclass(frozen=True)
class Footprint:
    """What pictures take that are prepared in one way.

    Attributes
    ----------
    decoded : float
        Bytes a pixel once a picture is decoded: itself, and the most that any view takes beside it.
    """

    decoded: float

    @classmethod
    def of(cls, views: Iterable[View]) -> Self:
        """Return the footprint of pictures that are prepared under some views, one after the other."""
        return cls(max(map(_view_bytes, views), default=0.0))

    def n_bytes(self, n_pixels: int, format: str, file_bytes: int) -> int:
        """Return what a picture takes at most, from the reading of its file on.

        Parameters
        ----------
        n_pixels : int
            Width × height; 0 if its header could not be read. Then it counts as the largest that is allowed.
        format : str
            Pillow's name of its format, ``""`` if unknown.
        file_bytes : int
            Size of the picture's file.
        """
        n_pixels = n_pixels or MAX_PIXELS
        strip = _STRIP * min(n_pixels, WHOLE_PIXELS)
        return int(n_pixels * max(_DECODING.get(format, _UNKNOWN), self.decoded)) + strip + file_bytes


def _view_bytes(view: View) -> float:
    area, worst = 1.0, 0.0
    for place, part in enumerate(view.parts):
        source, between = _PICTURE * area * (place > 0), _PICTURE * area * part.scale * (part.scale != 1)
        worst = max(worst, source + between + _VIEW * area + _PICTURE * area * part.scale**2)
        area *= part.scale**2
    seen = 0 if view.is_clean else _PICTURE * area
    return _PICTURE + max(worst, seen + _INPUT * area)
