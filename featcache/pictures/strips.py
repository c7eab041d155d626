"""Large pictures a strip of rows at a time: beside a picture and what is made of it there is but one strip."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

__all__ = ["WHOLE_PIXELS", "by_strips", "cut_rows", "is_same", "to_array"]

WHOLE_PIXELS = 1 << 20
"""Pictures of so many pixels, as most are, are not cut."""

# Of one strip. Larger ones leave the processor's caches, and break up the blocks of 16 MB in which Pillow's next
# picture would find its place: what the allocator keeps would grow by three quarters.
_STRIP_PIXELS = 1 << 18


def by_strips(size: tuple[int, int], make: Callable[[int, int], Image.Image], *, multiple: int = 1) -> Image.Image:
    """Make a large RGB picture strip by strip, and a small one at once.

    Parameters
    ----------
    size : (width, height)
        Size of the picture in pixels.
    make : callable
        Called with the first row of each strip and one past its last, from the top; returns these rows in RGB.
    multiple : int
        Number of which the rows of every strip but the last are a multiple.
    """
    strips = list(_strips(size, multiple))
    if len(strips) == 1:
        return make(*strips[0])
    result = Image.new("RGB", size, None)
    for top, bottom in strips:
        result.paste(make(top, bottom), (0, top))
    return result


def cut_rows(picture: Image.Image, top: int, bottom: int) -> Image.Image:
    """Return some rows of a picture; all of them: the picture itself."""
    is_whole = bottom - top == picture.height
    return picture if is_whole else picture.crop((0, top, picture.width, bottom))


def is_same(picture: Image.Image, other: Image.Image) -> bool:
    """Tell whether two RGB pictures have the same pixels, all of them."""
    if picture.size != other.size:
        return False
    return all(
        ImageChops.difference(cut_rows(picture, *rows), cut_rows(other, *rows)).getbbox() is None
        for rows in _strips(picture.size)
    )


def to_array(
    picture: Image.Image, box: tuple[int, int, int, int] | None = None, *, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Return pixels of an RGB picture, to be written to; `numpy.asarray` holds them twice for a while.

    Parameters
    ----------
    picture : PIL.Image.Image
        The picture, in mode RGB.
    box : (left, top, right, bottom), optional
        Which part of it, as for `PIL.Image.Image.crop`. Default: all.
    out : ndarray of uint8, shape (height, width, 3), optional
        Where to. Default: into new memory.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
    """
    whole = (0, 0, *picture.size)
    left, top, right, bottom = box or whole
    pixels = np.empty((bottom - top, right - left, 3), np.uint8) if out is None else out
    for first, last in _strips((right - left, bottom - top)):
        part = (left, top + first, right, top + last)
        pixels[first:last] = np.asarray(picture if part == whole else picture.crop(part))
    return pixels


def _strips(size: tuple[int, int], multiple: int = 1) -> Iterator[tuple[int, int]]:
    width, height = size
    n_rows = height
    if width * height > WHOLE_PIXELS:
        n_rows = max(1, _STRIP_PIXELS // (width * multiple)) * multiple
    for top in range(0, height, n_rows):
        yield top, min(top + n_rows, height)
