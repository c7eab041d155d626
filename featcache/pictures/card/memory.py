"""Memory of a device for many arrays at once: one allocation, and views into it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["allocate", "allocate_pictures"]

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
