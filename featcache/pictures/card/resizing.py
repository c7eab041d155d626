"""Decoded pictures on a GPU, of any sizes, resized together to the pixels of an encoder: equal to Pillow's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import triton
from PIL.Image import Resampling
from torch import Tensor

from featcache.pictures.card.resampling import Resampler
from featcache.pictures.preprocess import Preprocessor

__all__ = ["CardResizer"]


class CardResizer:
    """Resizes pictures for one encoder, on one stream.

    Parameters
    ----------
    preprocessor : Preprocessor
        What the encoder does to a picture; see `takes`.
    device : torch.device
        Where the pictures are. On a CPU Triton has to interpret (``TRITON_INTERPRET=1``).
    """

    name = "triton"
    version: str = triton.__version__

    def __init__(self, preprocessor: Preprocessor, device: torch.device) -> None:
        if not self.takes(preprocessor):
            raise ValueError(f"cannot resize as {preprocessor!r} does, expected Pillow's resampling")
        self._size = preprocessor.size
        self._fill = torch.tensor(preprocessor.fill, dtype=torch.uint8, device=device)
        self._resampler = Resampler(preprocessor.place, preprocessor.filter, device, width=self._size[1])

    @staticmethod
    def takes(preprocessor: Preprocessor) -> bool:
        """Tell whether the kernels do what a preprocessor does: resample as Pillow, not as torch or to nearest."""
        is_nearest = preprocessor.resize is not None and preprocessor.filter == Resampling.NEAREST
        return preprocessor.backend == "pillow" and not is_nearest

    def resize(self, pictures: Sequence[Tensor]) -> Tensor:
        """Begin to make the pixels of pictures, on the current stream.

        Parameters
        ----------
        pictures : sequence of uint8 Tensor (height, width, 3)
            On the device; rows may be apart, the values of a row not.

        Returns
        -------
        uint8 Tensor (n, height, width, 3)
            On the device.
        """
        n = len(pictures)
        pixels = self._fill.expand(n, *self._size, 3).contiguous()
        self._resampler.resample(pictures, pixels.data_ptr() + pixels.stride(0) * np.arange(n))
        return pixels
