"""How a picture is to be turned to stand upright: what its EXIF data, or its XMP, say."""

from __future__ import annotations

from PIL import Image
from PIL.Image import Transpose

__all__ = ["ORIENTATION", "SWAPPING", "TURNS", "orientation_of"]

ORIENTATION = 0x0112
"""Tag of EXIF."""

SWAPPING = (5, 6, 7, 8)
"""Orientations that swap width and height."""

TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""What brings a picture of each orientation upright; those that are not here stand as they are."""


def orientation_of(image: Image.Image) -> int:
    """Return the orientation, 1 to 8, of a picture whose header was read; 1 if its EXIF block is corrupt."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # a corrupt EXIF block is no reason to lose the picture
        return 1
