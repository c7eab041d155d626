"""RGB picture → patches of an encoder that keeps its aspect, equal to what transformers' PIL processor makes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from featcache.errors import ModelError
from featcache.pictures.preprocess import Backend, Preprocessor
from featcache.pictures.processor_config import parse_patch_config

__all__ = ["PatchPreprocessor"]

_EPS = 1e-5


@dataclass(frozen=True)
class PatchPreprocessor:
    """What a NaFlex encoder does to a picture: as many patches as there may be, in about its own aspect.

    Attributes
    ----------
    patch_size : int
        Side of a patch in pixels.
    max_patches : int
        Most patches of a picture; what it has less is filled up.
    filter, rescale, mean, std, backend, square_crop
        What they are in `Preprocessor`.
    """

    patch_size: int
    max_patches: int
    filter: Resampling
    rescale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    backend: Backend = "pillow"
    square_crop: bool = False

    @classmethod
    def from_config(
        cls, config: Mapping[str, object], *, resize: Backend = "pillow", square_crop: bool = False
    ) -> PatchPreprocessor:
        """Read a parsed ``preprocessor_config.json``; ``resize`` and ``square_crop`` are the user's choice.

        Raises
        ------
        ModelError
            If the class or an option cannot be honoured exactly.
        """
        options = parse_patch_config(config)
        if options["max_patches"] > np.iinfo(np.uint16).max:
            raise ModelError(f"max_num_patches is {options['max_patches']}, expected at most 65535")
        return cls(**options, backend=resize, square_crop=square_crop)

    @property
    def at_least(self) -> None:
        """No picture may be decoded smaller than it is: the size of what is made of it varies."""

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resize an RGB picture and cut it into patches.

        Returns
        -------
        ndarray of uint8, shape (1 + max_patches, patch_size² · 3)
            A first row that begins with the numbers of rows and columns of patches, two bytes each, the lower first;
            then the patches, row by row, their pixels row by row in RGB; then zeros.
        """
        height, width = (min(image.size),) * 2 if self.square_crop else (image.height, image.width)
        side, grid = self.patch_size, self.grid(height, width)
        levels = self._resizing((grid[0] * side, grid[1] * side)).pixels(image)
        patches = levels.reshape(grid[0], side, grid[1], side, 3).swapaxes(1, 2).reshape(grid[0] * grid[1], -1)
        result = np.zeros((1 + self.max_patches, side * side * 3), np.uint8)
        result[0, :4] = np.array(grid, "<u2").view(np.uint8)
        result[1 : 1 + len(patches)] = patches
        return result

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the numbers of rows and columns of the patches of a picture.

        Source: ``get_image_size_for_max_num_patches`` of transformers, whose every step decides the last patch.
        """

        def scaled(scale: float) -> tuple[int, int]:
            side = self.patch_size
            return max(1, math.ceil(height * scale / side)), max(1, math.ceil(width * scale / side))

        low, high = _EPS / 10, 100.0
        while high - low >= _EPS:
            middle = (low + high) / 2
            if math.prod(scaled(middle)) <= self.max_patches:
                low = middle
            else:
                high = middle
        return scaled(low)

    def document(self) -> dict[str, Any]:
        """Describe all that decides the patches and their normalisation, for a fingerprint."""
        whole = self._resizing((self.patch_size, self.patch_size)).document()
        return whole | {"resize": f"patches:{self.max_patches}x{self.patch_size}"}

    def _resizing(self, size: tuple[int, int]) -> Preprocessor:
        return Preprocessor(
            size,
            filter=self.filter,
            rescale=self.rescale,
            mean=self.mean,
            std=self.std,
            backend=self.backend,
            square_crop=self.square_crop,
        )
