"""Pictures that a CPU decoded, brought to a GPU many together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["upload_pictures"]

_STAGED_BYTES = 32 << 20
"""That are copied at once: beside the pictures there is little memory that the system cannot move."""


def upload_pictures(pictures: Sequence[NDArray[np.uint8]], device: torch.device) -> list[Tensor]:
    """Begin to copy pictures to a device, on its current stream.

    Parameters
    ----------
    pictures : sequence of uint8 array (height, width, 3)
        Rows one after the other. They are read before this returns.
    device : torch.device
        Where to; a CPU gets copies, too.

    Returns
    -------
    list of uint8 Tensor (height, width, 3)
        On the device.
    """
    found: list[Tensor] = []
    for part in _parts(pictures):
        ends = np.cumsum([picture.size for picture in part]).tolist()
        host = torch.empty(ends[-1], dtype=torch.uint8, pin_memory=device.type == "cuda")
        levels = host.numpy()
        for picture, end in zip(part, ends, strict=True):
            levels[end - picture.size : end] = picture.reshape(-1)
        there = host.to(device, non_blocking=True)
        for picture, end in zip(part, ends, strict=True):
            height, width, _ = picture.shape
            found.append(there.as_strided((height, width, 3), (3 * width, 3, 1), end - picture.size))
    return found


def _parts(pictures: Sequence[NDArray[np.uint8]]) -> Iterator[Sequence[NDArray[np.uint8]]]:
    """Divide pictures into runs that are staged together: at least one each."""
    start = n_bytes = 0
    for i, picture in enumerate(pictures):
        if i > start and n_bytes + picture.size > _STAGED_BYTES:
            yield pictures[start:i]
            start, n_bytes = i, 0
        n_bytes += picture.size
    if start < len(pictures):
        yield pictures[start:]
