"""Loaded pixels of any mode → 8-bit RGB: transparency over white, 16 bits to 8.

Each pixel is converted by itself, strip by strip. Reasons for the rules: docs/decisions/0001-rgb-conversion.md.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from featcache.errors import ImageError
from featcache.pictures.strips import by_strips, cut_rows

__all__ = ["detach", "to_rgb", "whiten_around"]

_PLAIN = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})
_ALPHA = frozenset({"LA", "PA", "RGBA", "La", "RGBa"})


def detach(image: Image.Image) -> Image.Image:
    """Return the pixels that were loaded from a file without the file, whose decoder may hold them several times."""
    return image._new(image.im)


def to_rgb(image: Image.Image, format: str | None) -> Image.Image:
    """Convert to RGB what was loaded from a file of a format, as Pillow names it.

    Returns
    -------
    PIL.Image.Image
        A picture of mode RGB; ``image`` itself if it has that mode and no transparent colour.

    Raises
    ------
    ImageError
        If it is not stated which level is white.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and format in ("PNG", "PPM")):
        return by_strips(image.size, lambda top, bottom: _grey16_to_rgb(cut_rows(image, top, bottom)))
    if image.mode not in _PLAIN | _ALPHA:
        raise ImageError(f"{format} pixels of mode {image.mode!r} have no stated white")
    if image.has_transparency_data:
        return by_strips(image.size, lambda top, bottom: _over_white(cut_rows(image, top, bottom)))
    return image if image.mode == "RGB" else image.convert("RGB")


def whiten_around(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """Make an RGB picture white, in place, outside a box (left, top, right, bottom), and return it."""
    left, top, right, bottom = box
    width, height = image.size
    outside = ((0, 0, width, top), (0, bottom, width, height), (0, top, left, bottom), (right, top, width, bottom))
    for part in outside:
        if part[0] < part[2] and part[1] < part[3]:
            image.paste((255, 255, 255), part)
    return image


def _over_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _grey16_to_rgb(image: Image.Image) -> Image.Image:
    wide = np.asarray(image)
    if wide.dtype != np.uint16:
        wide = np.clip(wide, 0, 65535).astype(np.uint16)
    grey = ((np.arange(65536) + 128) // 257).astype(np.uint8)[wide]
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[wide == transparent] = 255
    return Image.fromarray(grey).convert("RGB")
