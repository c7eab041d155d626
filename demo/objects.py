"""Shapes, the patterns on them, and 1/f texture: what a picture is put together from."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["PATTERNS", "SHAPES", "Image", "cut_texture"]

Image = npt.NDArray[np.floating[Any]]  # float32 wherever a module hands it to another
_Surface = tuple[Image, Image, Image]  # signed distance to the outline, x and y part of the normal


@cache
def _textures() -> Image:
    """Make four fields whose amplitude falls as 1/f, as that of natural scenes does.

    D. J. Field, "Relations between the statistics of natural images and the response properties of cortical
    cells", J. Opt. Soc. Am. A 4, 1987.
    """
    rng, side = np.random.default_rng(1987), 512
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    spectrum = np.fft.rfft2(rng.standard_normal((4, side, side))) / np.maximum(frequency, 3 / side)
    fields = np.fft.irfft2(spectrum, s=(side, side))
    fields -= fields.mean((1, 2), keepdims=True)
    return np.asarray(fields / fields.std((1, 2), keepdims=True), np.float32)


def cut_texture(height: int, width: int, rng: np.random.Generator) -> Image:
    """Cut a window with a mean of about 0 and a variance of about 1 out of the fields."""
    field = _textures()[rng.integers(4)]
    top, left = rng.integers(0, (len(field) - height + 1, len(field) - width + 1))
    window: Image = field[top : top + height, left : left + width]
    return window[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]


def _ball(u: Image, v: Image) -> _Surface:
    return np.hypot(u, v) - 1, u + 0 * v, v + 0 * u


def _box(u: Image, v: Image) -> _Surface:
    """Draw a box seen from above: its front, its lit side and its top."""
    upper, lower = v + 0.875 * u, v - 0.95 + 0.875 * (u - 0.5)
    outline = np.maximum(np.maximum(np.abs(u) - 0.9, np.maximum(v - 0.95, -v - 0.9)), lower)
    top = (v < -0.55) & (upper < -0.1125)
    side = (u > 0.5) & ~top
    nx = np.where(side, 0.85, np.where(top, 0, -0.2)).astype(np.float32)
    return np.maximum(outline, -upper - 1.3375), nx, np.where(top, -0.9, 0).astype(np.float32)


def _cone(u: Image, v: Image) -> _Surface:
    width = 0.9 * np.maximum((v + 1) / 1.85, 0.01)
    foot = v - 0.82 - 0.16 * np.sqrt(np.maximum(1 - (u / 0.9) ** 2, 0))
    outline = np.maximum(np.maximum(np.abs(u) - width, foot), -v - 0.98)
    return outline, 0.9 * np.clip(u / width, -1, 1), np.full_like(outline, -0.35)


def _pillar(u: Image, v: Image) -> _Surface:
    across = np.clip(u / 0.5, -1, 1)
    bow = 0.14 * np.sqrt(1 - across**2)
    top = v < -0.8 + bow
    outline = np.maximum(np.abs(u) - 0.5, np.maximum(v - 0.84 - bow, -0.8 - bow - v))
    return outline, np.where(top, 0, across * 0.95) + 0 * v, np.where(top, -0.9, 0) + 0 * u


def _mushroom(u: Image, v: Image) -> _Surface:
    cap = np.maximum(np.hypot(u, (v - 0.05) / 1.02) - 1, v - 0.05 - 0.12 * (1 - u**2))
    stem = np.maximum(np.abs(u) - 0.28 - 0.06 * v, np.maximum(v - 0.97, -v))
    is_cap = cap < stem
    return np.minimum(cap, stem), np.where(is_cap, u, np.clip(u / 0.33, -1, 1)), np.where(is_cap, v, 0.2) + 0 * u


def _plain(u: Image, v: Image, rng: np.random.Generator) -> Image:
    return np.ones_like(u + v)


def _striped(u: Image, v: Image, rng: np.random.Generator) -> Image:
    angle = rng.uniform(-0.5, 0.5)
    wave = np.sin(9 * (v * np.cos(angle) + u * np.sin(angle)) + rng.uniform(0, 6))
    return np.asarray(0.8 + 0.45 * np.clip(3 * wave, -1, 1), np.float32)


def _spotted(u: Image, v: Image, rng: np.random.Generator) -> Image:
    turn = rng.uniform(0, 1.5)
    a = 6.5 * (u * np.cos(turn) - v * np.sin(turn)) + rng.uniform(0, 6)
    b = 6.5 * (u * np.sin(turn) + v * np.cos(turn))
    return np.asarray(0.75 + 0.6 * np.clip(3 * (np.cos(a) * np.cos(b) - 0.35), 0, 1), np.float32)


def _rough(u: Image, v: Image, rng: np.random.Generator) -> Image:
    return np.asarray(np.clip(1 + 0.35 * cut_texture(v.size, u.size, rng), 0.2, 2), np.float32)


SHAPES: dict[str, Callable[[Image, Image], _Surface]] = {
    "ball": _ball,
    "box": _box,
    "cone": _cone,
    "pillar": _pillar,
    "mushroom": _mushroom,
}
PATTERNS: dict[str, Callable[[Image, Image, np.random.Generator], Image]] = {
    "": _plain,
    "striped": _striped,
    "spotted": _spotted,
    "rough": _rough,
}
