"""Memory that processes share, in slots: one for what is made of a picture."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["SlotLayout", "Slots", "shared_file"]

_ALIGNMENT = 64


@dataclass(frozen=True)
class SlotLayout:
    """Where arrays of uint8 lie in a slot.

    Attributes
    ----------
    shapes : tuple of shape
        Of the arrays.
    starts : tuple of int
        Where each begins.
    n_bytes : int
        Size of a slot.
    """

    shapes: tuple[tuple[int, ...], ...]
    starts: tuple[int, ...]
    n_bytes: int

    @classmethod
    def of(cls, shapes: Sequence[tuple[int, ...]]) -> Self:
        """Put arrays one after the other, each at a multiple of 64 bytes."""
        sizes = [-(-math.prod(shape) // _ALIGNMENT) * _ALIGNMENT for shape in shapes]
        *starts, end = accumulate(sizes, initial=0)
        return cls(tuple(shapes), tuple(starts), max(_ALIGNMENT, end))


class Slots:
    """Slots in a shared file, mapped.

    Parameters
    ----------
    descriptor : int
        Of the file.
    layout : SlotLayout
        Of each slot.
    n_slots : int
        How many there are.
    """

    def __init__(self, descriptor: int, layout: SlotLayout, n_slots: int) -> None:
        self.layout = layout
        self._memory = mmap.mmap(descriptor, n_slots * layout.n_bytes)

    def __getitem__(self, place: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the array of a (slot, number): the memory itself, no copy."""
        slot, number = place
        shape = self.layout.shapes[number]
        start = slot * self.layout.n_bytes + self.layout.starts[number]
        return np.frombuffer(self._memory, np.uint8, math.prod(shape), start).reshape(shape)


def shared_file(size: int) -> int:
    """Return the descriptor of memory that has no name, so that nothing of it can be left behind."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("featcache-pixels", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile(prefix="featcache-pixels-") as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor
