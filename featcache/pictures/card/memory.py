"""Many pictures at once: one allocation for all, and launches of those that are about as large."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["alike", "allocate", "allocate_pictures"]

_ALIGNMENT = 256


def allocate(n_bytes: NDArray[np.int64], device: torch.device) -> tuple[Tensor, NDArray[np.int64]]:
    """Return memory for arrays of these sizes, and where in it each begins."""
    ends = np.cumsum(-(-n_bytes // _ALIGNMENT) * _ALIGNMENT)
    memory = torch.empty(int(ends[-1]), dtype=torch.uint8, device=device)
    return memory, np.concatenate([[0], ends[:-1]])


def allocate_pictures(sizes: NDArray[np.int64], device: torch.device) -> tuple[list[Tensor], NDArray[np.int64]]:
    """Return pictures of sizes (n, 2), and their addresses (n,).

    They are uint8 (height, width, 3), and hold what was in the memory before. It is kept until all of them are gone.
    """
    memory, starts = allocate(3 * sizes.prod(1), device)
    pictures = [
        memory.as_strided((height, width, 3), (3 * width, 3, 1), start)
        for (height, width), start in zip(sizes.tolist(), starts.tolist(), strict=True)
    ]
    return pictures, memory.data_ptr() + starts


def alike(*sizes: NDArray[np.int64]) -> Iterator[NDArray[np.intp]]:
    """Divide pictures by their sizes (n,), each within a factor of four.

    A launch has as many programs for each picture as for the largest, so one that is odd is launched by itself.
    """
    classes = np.stack([np.frexp(each)[1] // 2 for each in sizes], axis=1)
    _, numbers = np.unique(classes, axis=0, return_inverse=True)
    for number in range(int(numbers.max()) + 1):
        yield np.flatnonzero(numbers == number)
