"""Where spectral features look: 4 × 4 windows of 64 × 64 native pixels around the middle of a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["ALIGNMENT", "PER_SIDE", "WINDOW", "cut_windows", "luma_chroma"]

WINDOW = 64
"""Side of a window in pixels: peaks at 1/2, 1/4, 1/8 … cycles per pixel fall on its frequencies exactly."""

PER_SIDE = 4
ALIGNMENT = 16
"""Windows begin at multiples of this, the side of a JPEG's block of subsampled colour.

Else the place of the blocks in a window would depend on the picture's size, which tells its generator.
"""


def cut_windows(picture: Image.Image) -> NDArray[np.uint8]:
    """Cut the windows of a picture, which is never resampled.

    In a picture of 256 pixels or more they lie side by side and tile the middle 256 × 256. In a smaller one they
    overlap, spread over what there is: each of them holds native pixels and no seam, though they repeat each other. A
    side of less than 64 pixels is continued by its mirror image, the only case in which pixels are made up; sizes down
    there do show in the features.

    Returns
    -------
    (16, 64, 64, 3) uint8
        Row by row.
    """
    width, height = picture.size
    rows, columns = _starts(height), _starts(width)
    right, bottom = min(width, columns[-1] + WINDOW), min(height, rows[-1] + WINDOW)
    pixels = np.asarray(picture.crop((columns[0], rows[0], right, bottom)))
    if min(height, width) < WINDOW:
        lacking = [(0, max(0, WINDOW - height)), (0, max(0, WINDOW - width)), (0, 0)]
        pixels = np.pad(pixels, lacking, "symmetric")
    rows, columns = [y - rows[0] for y in rows], [x - columns[0] for x in columns]
    return np.stack([pixels[y : y + WINDOW, x : x + WINDOW] for y in rows for x in columns])


def luma_chroma(windows: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert RGB to the luma and chroma of JPEG (ITU-T T.871), without its offset of 128 and its rounding.

    Returns
    -------
    (3, n, w, w) float32
        Y, Cb and Cr in levels, for windows of (n, w, w, 3).
    """
    red, green, blue = (windows[..., channel].astype(np.float32) for channel in range(3))
    luma = np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue
    return np.stack([luma, (blue - luma) * np.float32(0.5 / 0.886), (red - luma) * np.float32(0.5 / 0.701)])


def _starts(length: int) -> list[int]:
    """Where the windows along a side begin."""
    spread = max(0, min(length, PER_SIDE * WINDOW) - WINDOW)
    first = max(0, length - WINDOW - spread) // 2
    return [(first + spread * i // (PER_SIDE - 1)) // ALIGNMENT * ALIGNMENT for i in range(PER_SIDE)]
