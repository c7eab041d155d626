"""Pictures on a GPU, of any sizes, blurred together: equal to `featcache.pictures.perturbations.blur` in every bit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from featcache.pictures.card.blur_kernels import BLUR_BLOCK, BLUR_FIELDS, blur_columns, blur_rows
from featcache.pictures.card.launching import launch
from featcache.pictures.card.memory import alike, allocate, allocate_pictures
from featcache.pictures.card.taps import send

__all__ = ["blur_pictures"]


def blur_pictures(pictures: Sequence[Tensor], weights: Tensor) -> list[Tensor]:
    """Begin to convolve pictures with a kernel along both axes, on the current stream.

    Parameters
    ----------
    pictures : sequence of uint8 Tensor (height, width, 3)
        On one device, at least one; rows may be apart, the values of a row not. On a CPU Triton has to interpret
        (``TRITON_INTERPRET=1``).
    weights : int32 Tensor (2 · radius + 1,)
        `featcache.pictures.perturbations.gaussian_weights`, on the device.

    Returns
    -------
    list of uint8 Tensor (height, width, 3)
        On the device.
    """
    device, radius = weights.device, len(weights) // 2
    sizes = np.array([picture.shape[:2] for picture in pictures], np.int64)
    between, starts = allocate(3 * sizes.prod(1), device)
    middles = between.data_ptr() + starts
    blurred, results = allocate_pictures(sizes, device)
    first, second = np.empty((2, len(pictures), BLUR_FIELDS), np.int64)
    first[:, 0], first[:, 1] = [picture.data_ptr() for picture in pictures], middles
    first[:, 2], first[:, 3:] = [picture.stride(0) for picture in pictures], sizes
    second[:, 0], second[:, 1], second[:, 2], second[:, 3:] = middles, results, 3 * sizes[:, 1], sizes
    for own in alike(*sizes.T):
        height, width = sizes[own].max(0).tolist()
        grid = (len(own), height, -(-3 * width // BLUR_BLOCK))
        launch(blur_rows, grid, send(first[own], device), weights, RADIUS=radius)
        launch(blur_columns, grid, send(second[own], device), weights, RADIUS=radius)
    return blurred
