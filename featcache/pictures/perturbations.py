"""Perturbations of a decoded RGB picture, each a function of its pixels, one number and a seed.

All arithmetic that decides a pixel is of integers or of single IEEE operations, so that neither threads, nor
processes, nor the processor, nor the versions of numpy and BLAS change a level. JPEG and rescaling are
Pillow's own: what they make follows its libjpeg and its resampling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from io import BytesIO
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling, Transpose

from featcache.errors import ImageError
from featcache.pictures.compositing import detach
from featcache.pictures.decode import MAX_PIXELS
from featcache.pictures.placement import Box
from featcache.pictures.quiet import quietly
from featcache.pictures.strips import by_strips, to_array

__all__ = [
    "PERTURBATIONS",
    "blur",
    "brightness",
    "brightness_table",
    "crop",
    "crop_box",
    "gaussian_weights",
    "hflip",
    "jpeg",
    "noise",
    "noise_table",
    "portion",
    "rescale",
]

Apply: TypeAlias = Callable[[Image.Image, float, bytes], Image.Image]

_TRUNCATE = 4  # sigmas
_TILE_ROWS, _TILE_COLUMNS = 64, 4096
_ONE = 1 << 16  # 255 × _ONE + _ONE / 2 < 2**24: float32 holds every sum exactly, in whatever order BLAS adds
_NOISE_LEVELS = 1 << 16
_NOISE_CHUNK = 1 << 16  # levels, a multiple of 4
_NOISE_ROUND = float(1 << 20)


def hflip(picture: Image.Image, value: float, seed: bytes) -> Image.Image:
    """Swap left and right."""
    return picture.transpose(Transpose.FLIP_LEFT_RIGHT)


def jpeg(picture: Image.Image, value: float, seed: bytes) -> Image.Image:
    """Encode as baseline JPEG of a quality of 1 to 100 (libjpeg's scale), 4:2:0, standard tables; decode.

    Raises
    ------
    ImageError
        If a side exceeds the 65,500 pixels that libjpeg encodes.
    """
    buffer = BytesIO()
    try:
        picture.save(buffer, "JPEG", quality=int(value), subsampling="4:2:0", optimize=False, progressive=False)
    except OSError as error:
        raise ImageError(f"picture of {picture.width} × {picture.height} cannot be encoded as JPEG: {error}") from None
    with quietly():  # a picture of the largest size allowed makes Pillow warn
        image = Image.open(buffer, formats=["JPEG"])
        image.load()
    return detach(image)


def blur(picture: Image.Image, value: float, seed: bytes) -> Image.Image:
    """Convolve with a Gaussian whose sigma is given in pixels.

    Rows, then columns; each pass is rounded to 8 bits. The kernel is sampled at whole pixels, cut at
    ``int(4 · sigma + 0.5)`` pixels, and its weights are multiples of 2**-16 with sum 1. Beyond the border the
    picture is mirrored, its outermost pixel repeated. This is `scipy.ndimage.gaussian_filter` to within a
    level or two; Pillow's ``GaussianBlur``, three box filters, is off by up to 19.
    """
    kernel = gaussian_weights(value)
    rows, columns = (_mirrored(side, len(kernel) // 2) for side in (picture.height, picture.width))

    def blur_rows(top: int, bottom: int) -> Image.Image:
        under = rows[top : bottom + len(kernel) - 1]
        low, high = int(under.min()), int(under.max()) + 1
        pixels = to_array(picture, (0, low, picture.width, high))
        pixels = to_array(_turned(_filter_rows(pixels, under - low, kernel)))
        return _turned(_filter_rows(pixels, columns, kernel))

    return by_strips(picture.size, blur_rows, multiple=_TILE_ROWS)


def gaussian_weights(sigma: float) -> NDArray[np.float32]:
    """Return the weights of `blur`, multiples of 1 with sum 2**16; the middle one takes what rounding left."""
    radius = int(_TRUNCATE * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    whole: NDArray[np.float32] = np.rint(weights / weights.sum() * _ONE).astype(np.float32)
    whole[radius] += _ONE - whole.sum()
    return whole


def noise(picture: Image.Image, value: float, seed: bytes) -> Image.Image:
    """Add Gaussian noise, independent per pixel and channel; its sigma is a fraction of the 255 levels.

    The noise is rounded to whole levels, then the sum is clipped to 0…255. A sample is the quantile of a
    16-bit word of Philox 4x64 under the seed (little-endian words, rows first), so it ends at 4.3 sigma.
    Source: Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC 2011.
    """
    table = noise_table(value)
    generator = _generator(seed)

    def add_noise(top: int, bottom: int) -> Image.Image:
        levels = to_array(picture, (0, top, picture.width, bottom))
        flat = levels.reshape(-1)
        for start in range(0, len(flat), _NOISE_CHUNK):
            part = flat[start : start + _NOISE_CHUNK]
            words = generator.random_raw(-(-len(part) // 4)).astype("<u8", copy=False).view("<u2")
            sums = np.take(table, words[: len(part)], mode="clip") + part
            part[:] = np.clip(sums, 0, 255, out=sums)
        return Image.fromarray(levels)

    return by_strips(picture.size, add_noise, multiple=4)  # each strip takes whole words


def noise_table(value: float) -> NDArray[np.int16]:
    """Return what `noise` adds to a level for each 16-bit word, (65536,)."""
    return np.rint(value * 255 * _quantiles()).astype(np.int16)


def brightness(picture: Image.Image, value: float, seed: bytes) -> Image.Image:
    """Multiply each level by a factor, round half up, clip to 255."""
    return picture.point(brightness_table(value) * 3)


def brightness_table(value: float) -> list[int]:
    """Return what `brightness` makes of each of the 256 levels."""
    return [min(255, int(level * value + 0.5)) for level in range(256)]


def rescale(picture: Image.Image, value: float, seed: bytes) -> Image.Image:
    """Multiply both sides by a factor (round half up, at least 1 pixel) with Pillow's antialiased bicubic.

    The picture stays at its new size, as it does on a platform that scales it; nothing scales it back.

    Raises
    ------
    ImageError
        If the result exceeds `MAX_PIXELS`.
    """
    width, height = (portion(side, value) for side in picture.size)
    if width * height > MAX_PIXELS:
        raise ImageError(f"picture rescaled to {width} × {height} pixels, at most {MAX_PIXELS} are allowed")
    return picture.resize((width, height), Resampling.BICUBIC)


def crop(picture: Image.Image, value: float, seed: bytes) -> Image.Image:
    """Keep a fraction of each side (round half up, at least 1 pixel), at a seeded, uniform position."""
    top, left, height, width = crop_box((picture.height, picture.width), value, _generator(seed))
    return picture.crop((left, top, left + width, top + height))


def crop_box(size: tuple[int, int], value: float, generator: np.random.Philox) -> Box:
    """Return what `crop` keeps of a picture (height, width), by the next two words of a generator."""
    height, width = (portion(side, value) for side in size)
    down, right = generator.random_raw(2).tolist()
    return down * (size[0] - height + 1) >> 64, right * (size[1] - width + 1) >> 64, height, width


def portion(side: int, factor: float) -> int:
    """Multiply a side; round half up, at least 1 pixel."""
    return max(1, int(side * factor + 0.5))


PERTURBATIONS: Mapping[str, Apply] = {
    "hflip": hflip,
    "jpeg": jpeg,
    "blur": blur,
    "noise": noise,
    "brightness": brightness,
    "rescale": rescale,
    "crop": crop,
}
"""The functions by the names that views give them."""


def _generator(seed: bytes) -> np.random.Philox:
    """Key Philox directly: its raw words are part of numpy's promise, the distributions made of them are not."""
    return np.random.Philox(key=int.from_bytes(seed[:16], "little"))


@lru_cache(maxsize=1)
def _quantiles() -> NDArray[np.float64]:
    """Return the standard normal quantile at the middle of each 65,536th of the probability.

    Rounded to multiples of 2**-20: the last bits would be those of the C library's logarithm.
    """
    inverse = NormalDist().inv_cdf
    upper = np.array([inverse((i + 0.5) / _NOISE_LEVELS) for i in range(_NOISE_LEVELS // 2, _NOISE_LEVELS)])
    upper = np.rint(upper * _NOISE_ROUND) / _NOISE_ROUND
    return np.concatenate([-upper[::-1], upper])


def _turned(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return a picture whose rows are columns; Pillow does that several times faster than numpy."""
    return Image.fromarray(pixels).transpose(Transpose.TRANSPOSE)


def _mirrored(length: int, radius: int) -> NDArray[np.intp]:
    """Number the rows from ``radius`` before the first to ``radius`` behind the last."""
    return np.pad(np.arange(length), radius, mode="symmetric")


def _filter_rows(pixels: NDArray[np.uint8], rows: NDArray[np.intp], kernel: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Convolve ``rows`` of an array along axis 0: tiles, each a product with a banded matrix that holds the kernel."""
    reach = len(kernel) - 1
    flat = pixels.reshape(len(pixels), -1)
    band = np.zeros((_TILE_ROWS, _TILE_ROWS + reach), np.float32)
    for row in range(_TILE_ROWS):
        band[row, row : row + len(kernel)] = kernel
    result = np.empty((len(rows) - reach, flat.shape[1]), np.uint8)
    for top in range(0, len(result), _TILE_ROWS):
        n = min(_TILE_ROWS, len(result) - top)
        under = rows[top : top + n + reach]
        for left in range(0, flat.shape[1], _TILE_COLUMNS):
            columns = slice(left, left + _TILE_COLUMNS)
            sums = band[:n, : len(under)] @ flat[under, columns].astype(np.float32)
            sums += _ONE / 2
            sums *= 1 / _ONE
            result[top : top + n, columns] = sums  # cast cuts off the fraction
    return result.reshape(-1, *pixels.shape[1:])
