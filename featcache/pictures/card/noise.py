"""Gaussian noise on a GPU, many pictures together: equal to `featcache.pictures.perturbations.noise` in every bit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from featcache.pictures.card.launching import launch
from featcache.pictures.card.memory import alike
from featcache.pictures.card.philox import NOISE_BLOCK, NOISE_FIELDS, add_words
from featcache.pictures.card.taps import send
from featcache.pictures.perturbations import noise_table

__all__ = ["add_noise"]

_KEY_BYTES = 16


def add_noise(pictures: Sequence[Tensor], value: float, seeds: Sequence[bytes]) -> list[Tensor]:
    """Add noise to pictures, on the current stream.

    Parameters
    ----------
    pictures : sequence of uint8 Tensor (height, width, 3)
        On one device; rows may be apart, the values of a row not. On a CPU Triton has to interpret
        (``TRITON_INTERPRET=1``).
    value : float
        Sigma, as a fraction of the 255 levels.
    seeds : sequence of bytes
        One a picture.

    Returns
    -------
    list of uint8 Tensor (height, width, 3)
        New ones on the device, in memory that they share; their rows are together.
    """
    if not pictures:
        return []
    device, n_levels = pictures[0].device, [picture.numel() for picture in pictures]
    ends = np.cumsum(n_levels)
    memory = torch.empty(int(ends[-1]), dtype=torch.uint8, device=device)
    orders = np.empty((len(pictures), NOISE_FIELDS), np.int64)
    orders[:, 0] = [picture.data_ptr() for picture in pictures]
    orders[:, 1] = memory.data_ptr() + ends - n_levels
    orders[:, 2] = [picture.stride(0) for picture in pictures]
    orders[:, 3] = [3 * picture.shape[1] for picture in pictures]
    orders[:, 4] = n_levels
    keys = b"".join(seed[:_KEY_BYTES].ljust(_KEY_BYTES, b"\0") for seed in seeds)
    orders[:, 5:] = np.frombuffer(keys, "<i8").reshape(len(pictures), 2)
    for own in alike(np.array(n_levels)):
        grid = (-(-int(orders[own, 4].max()) // NOISE_BLOCK), len(own))
        launch(add_words, grid, send(orders[own], device), _table(value, device))
    parts = torch.split(memory, n_levels)
    return [part.view(picture.shape) for part, picture in zip(parts, pictures, strict=True)]


@cache
def _table(value: float, device: torch.device) -> Tensor:
    """Return the table on a device; it waits until it is there, for any stream, and stays: 128 KB for each view."""
    return torch.from_numpy(noise_table(value)).to(device)
