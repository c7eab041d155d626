"""Decoded pictures on a GPU, many together, perturbed as views say: equal to what a CPU makes in every bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from PIL.Image import Resampling
from torch import Tensor

from featcache.pictures.card.memory import allocate_pictures
from featcache.pictures.card.taps import send
from featcache.pictures.decode import MAX_PIXELS
from featcache.pictures.perturbations import brightness_table, crop_box, gaussian_weights, portion
from featcache.pictures.placement import Placement
from featcache.pictures.resample import TALL
from featcache.pictures.views import View

if TYPE_CHECKING:
    from featcache.pictures.card.resampling import Resampler

__all__ = ["CardViews"]

_MAX_ROWS = 65_535
"""As many as CUDA starts programs for along an axis but the first."""
_LEVELS_AT_ONCE = 1 << 26
"""To be looked up, which takes four bytes each."""

_Pictures: TypeAlias = Sequence[Tensor]
_Seeds: TypeAlias = Iterator[bytes]


class CardViews:
    """Perturbs pictures as `featcache.pictures.views.View.apply` does; for one thread, and one stream.

    Parameters
    ----------
    device : torch.device
        Where the pictures are. On a CPU Triton has to interpret (``TRITON_INTERPRET=1``) for blur and rescale.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._generator = np.random.Philox(key=0)
        self._state = self._generator.state
        self._weights: dict[float, Tensor] = {}
        self._resamplers: dict[float, Resampler] = {}

    @staticmethod
    def takes(view: View) -> bool:
        """Tell whether all parts of a view can be made on a device."""
        return all(part.kind in _MAKERS for part in view.parts)

    def apply(self, view: View, pictures: Sequence[Tensor], keys: Sequence[bytes]) -> list[Tensor | None]:
        """Begin to perturb pictures, on the current stream.

        Parameters
        ----------
        view : View
            One that it takes.
        pictures : sequence of uint8 Tensor (height, width, 3)
            RGB on the device; rows may be apart, the values of a row not. They are left as they are.
        keys : sequence of bytes
            Sha256 of the bytes of each.

        Returns
        -------
        list of uint8 Tensor (height, width, 3) or None
            On the device, laid out as ``pictures`` may be; some may be parts of these, or share memory. None of one
            that is for the CPU: it is too large for a part, or of a shape that not every Pillow resizes alike.
        """
        shapes = [picture.shape for picture in pictures]
        fitting = {shape for shape in set(shapes) if _fits(view, *shape[:2])}
        chosen = [i for i, shape in enumerate(shapes) if shape in fitting]
        made: Sequence[Tensor] = [pictures[i] for i in chosen]
        for place, part in enumerate(view.parts if chosen else ()):
            seeds = (view.seed(place, keys[i]) for i in chosen)
            made = _MAKERS[part.kind](self, made, part.value or 0.0, seeds)
        found: list[Tensor | None] = [None] * len(pictures)
        for i, each in zip(chosen, made, strict=True):
            found[i] = each
        return found

    def _hflip(self, pictures: _Pictures, value: float, seeds: _Seeds) -> list[Tensor]:
        return [picture.flip(1) for picture in pictures]

    def _brightness(self, pictures: _Pictures, value: float, seeds: _Seeds) -> list[Tensor]:
        table = send(np.array(brightness_table(value), np.uint8), self._device)
        levels = torch.cat([picture.reshape(-1) for picture in pictures])
        for part in torch.split(levels, _LEVELS_AT_ONCE):
            torch.index_select(table, 0, part.int(), out=part)
        parts = torch.split(levels, [picture.numel() for picture in pictures])
        return [part.view(picture.shape) for part, picture in zip(parts, pictures, strict=True)]

    def _crop(self, pictures: _Pictures, value: float, seeds: _Seeds) -> list[Tensor]:
        return [self._cut(picture, value, seed) for picture, seed in zip(pictures, seeds, strict=True)]

    def _cut(self, picture: Tensor, value: float, seed: bytes) -> Tensor:
        # Keyed anew: to make a generator, and to slice a tensor twice, takes several times as long.
        key = np.frombuffer(seed, "<u8").astype(np.uint64)
        self._generator.state = self._state | {"state": {"counter": np.zeros(4, np.uint64), "key": key}}
        rows, columns, _ = picture.shape
        top, left, height, width = crop_box((rows, columns), value, self._generator)
        line, start = picture.stride(0), picture.storage_offset()
        return picture.as_strided((height, width, 3), (line, 3, 1), start + top * line + 3 * left)

    def _blur(self, pictures: _Pictures, value: float, seeds: _Seeds) -> list[Tensor]:
        from featcache.pictures.card.blurring import blur_pictures  # Triton comes with CUDA builds of torch alone

        weights = self._weights.get(value)
        if weights is None:
            weights = self._weights[value] = send(gaussian_weights(value).astype(np.int32), self._device)
        return blur_pictures(pictures, weights)

    def _noise(self, pictures: _Pictures, value: float, seeds: _Seeds) -> list[Tensor]:
        from featcache.pictures.card.noise import add_noise  # as above

        return add_noise(pictures, value, list(seeds))

    def _rescale(self, pictures: _Pictures, value: float, seeds: _Seeds) -> list[Tensor]:
        from featcache.pictures.card.resampling import Resampler  # as above

        resampler = self._resamplers.get(value)
        if resampler is None:
            resampler = Resampler(partial(_rescaled, factor=value), Resampling.BICUBIC, self._device)
            self._resamplers[value] = resampler
        sizes = [[portion(side, value) for side in picture.shape[:2]] for picture in pictures]
        made, results = allocate_pictures(np.array(sizes, np.int64), self._device)
        resampler.resample(pictures, results)
        return made


_Make: TypeAlias = Callable[[CardViews, _Pictures, float, _Seeds], list[Tensor]]
_MAKERS: Mapping[str, _Make] = {
    "hflip": CardViews._hflip,
    "blur": CardViews._blur,
    "noise": CardViews._noise,
    "brightness": CardViews._brightness,
    "rescale": CardViews._rescale,
    "crop": CardViews._crop,
}
"""What makes a kind of perturbation of pictures, at least one, with its number and their seeds."""


def _fits(view: View, height: int, width: int) -> bool:
    """Tell whether a picture of a size, and what the parts of a view make of it, can be worked on, and resized."""
    sizes = [(height, width)]
    for part in view.parts:
        height, width = portion(height, part.scale), portion(width, part.scale)
        sizes.append((height, width))
    return all(rows <= min(_MAX_ROWS, TALL * columns) and rows * columns <= MAX_PIXELS for rows, columns in sizes)


def _rescaled(height: int, width: int, factor: float) -> Placement:
    size = portion(height, factor), portion(width, factor)
    return Placement((0, 0, height, width), size, (0, 0, *size), (0, 0))
