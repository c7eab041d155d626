"""How kernels are launched: one at a time, whichever threads do it."""

from __future__ import annotations

from threading import Lock
from typing import Any

from torch import Tensor

__all__ = ["launch"]

_LAUNCHING = Lock()


def launch(kernel: Any, grid: tuple[int, ...], *tensors: Tensor, **constants: int) -> None:
    """Queue a kernel of Triton on the current stream.

    What Triton compiled others may find before it can be launched, and they would compile the same meanwhile: so one
    thread waits for the other.
    """
    with _LAUNCHING:
        kernel[grid](*tensors, **constants)
