"""What the pixels of resampled axes are made of: tables for many axes at once, made on the device that reads them.

In float64, by the operations of `featcache.pictures.resample.axis_taps` in their order, each of which IEEE 754 rounds
in one way only: the weights are the same in every bit. One axis after the other takes a CPU far longer than a GPU
takes to decode the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Resampling
from torch import Tensor

from featcache.pictures.resample import PRECISION_BITS, axis_taps

__all__ = ["Axis", "Taps", "make_taps", "round_up", "send"]

Axis: TypeAlias = tuple[int, int, int, int]
"""Its length, that of the result, and which pixels of that: start, stop."""
_FEW_TAPS = 4


class Taps(NamedTuple):
    """What the pixels of an axis are made of.

    Attributes
    ----------
    firsts, weights : int
        Addresses on the device: of the first input pixel of each, (n,) int32, and of the weights from that one on,
        (n, n_taps) int32.
    n_taps : int
        Weights a pixel; they are 0 beyond the last that it needs.
    first, stop : int
        Which input pixels are needed for all.
    """

    firsts: int
    weights: int
    n_taps: int
    first: int
    stop: int


def make_taps(axes: Sequence[Axis], filter: Resampling, device: torch.device) -> tuple[dict[Axis, Taps], list[Tensor]]:
    """Make the tables of axes, on the current stream.

    Parameters
    ----------
    axes : sequence of Axis
        Each of them once.
    filter : Resampling
        Any of Pillow's classic filters but ``NEAREST``.
    device : torch.device
        Where to.

    Returns
    -------
    taps : dict
        By axis.
    memory : list of Tensor
        What their addresses are in.
    """
    taps: dict[Axis, Taps] = {}
    memory: list[Tensor] = []
    make = _taps_by_torch if filter in _KERNELS else _taps_by_numpy
    for group in _groups(axes, filter):
        firsts, weights = make(group, filter, device)
        memory += [firsts, weights]
        numbers = np.arange(len(group.axes))
        addresses = [each.data_ptr() + 4 * each[0].numel() * numbers for each in (firsts, weights)]
        own = np.stack([*addresses, np.full(len(numbers), group.n_taps), group.first, group.stop], axis=1)
        taps |= zip(group.axes, map(Taps._make, own.tolist()), strict=True)
    return taps, memory


def send(numbers: NDArray[Any], device: torch.device) -> Tensor:
    """Copy numbers to a device, on the current stream, without waiting for what is at work on it."""
    host = torch.from_numpy(numbers)
    return host if device.type == "cpu" else host.pin_memory().to(device, non_blocking=True)


def round_up(n_taps: int) -> int:
    """Return the number of taps that a kernel is compiled for: few different ones."""
    return max(_FEW_TAPS, 1 << (n_taps - 1).bit_length())


@dataclass(frozen=True)
class _Group:
    """Axes of which the tables are made together: what `resample.axis_taps` computes first of each, (m,)."""

    axes: Sequence[Axis]
    n_pixels: int
    n_taps: int
    scale: NDArray[np.float64]
    support: NDArray[np.float64]
    first: NDArray[np.int64]
    stop: NDArray[np.int64]


def _groups(axes: Sequence[Axis], filter: Resampling) -> Iterator[_Group]:
    """Divide axes by how many taps a pixel has at most: one long axis shall not make all tables large."""
    length, result, start, stop = np.array(axes, np.int64).reshape(-1, 4).T
    scale = length / result
    support = _SUPPORTS[filter] * np.maximum(scale, 1.0)
    low = np.maximum(((start + 0.5) * scale - support + 0.5).astype(np.int64), 0)
    high = np.minimum(((stop - 0.5) * scale + support + 0.5).astype(np.int64), length)
    n_taps = (2 * support + 1e-6).astype(np.int64) + 1  # one more than fit where the bounds may be rounded apart
    rounded = np.array([round_up(n) for n in n_taps.tolist()])
    for own in np.unique(rounded):
        at = np.flatnonzero(rounded == own)
        chosen, n_pixels = [axes[i] for i in at.tolist()], int((stop - start)[at].max())
        yield _Group(chosen, n_pixels, int(n_taps[at].max()), scale[at], support[at], low[at], high[at])


def _taps_by_numpy(group: _Group, filter: Resampling, device: torch.device) -> tuple[Tensor, Tensor]:
    firsts = np.zeros((len(group.axes), group.n_pixels), np.int32)
    weights = np.zeros((*firsts.shape, group.n_taps), np.int32)
    for number, axis in enumerate(group.axes):
        first, own = axis_taps(*axis, filter)
        firsts[number, : len(first)] = first
        weights[number, : own.shape[0], : own.shape[1]] = own
    return send(firsts, device), send(weights, device)


def _taps_by_torch(group: _Group, filter: Resampling, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the first input pixel of each pixel (m, n), and the weights (m, n, k), int32."""
    lengths, _, starts, _ = np.array(group.axes, np.float64).T
    table = np.stack([lengths, starts, group.scale, group.support, 1.0 / np.maximum(group.scale, 1.0)])
    length, start, scale, support, inverse = send(table, device)[:, :, None]
    pixels = torch.arange(group.n_pixels, dtype=torch.float64, device=device)
    centre = (start + pixels + 0.5) * scale
    first = (centre - support + 0.5).long().clamp(min=0)
    last = torch.minimum((centre + support + 0.5).long(), length.long())
    taps = first[:, :, None] + torch.arange(group.n_taps, device=device)
    x = (taps - centre[:, :, None] + 0.5) * inverse[:, :, None]
    values = torch.where(taps < last[:, :, None], _KERNELS[filter](x), 0.0)
    total = values[:, :, 0].clone()
    for k in range(1, group.n_taps):  # one after the other, as Pillow adds them up
        total += values[:, :, k]
    total = torch.where(total != 0, total, 1.0)[:, :, None]
    values = values / total * float(1 << PRECISION_BITS)
    return first.int(), torch.trunc(values + torch.where(values < 0, -0.5, 0.5)).int()


def _box(x: Tensor) -> Tensor:
    return ((x > -0.5) & (x <= 0.5)).double()


def _bilinear(x: Tensor) -> Tensor:
    return (1.0 - x.abs()).clamp(min=0.0)


def _bicubic(x: Tensor) -> Tensor:
    x, a = x.abs(), -0.5
    near = (x * (a + 2.0) - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return torch.where(x < 1.0, near, torch.where(x < 2.0, far, 0.0))


_KERNELS: Mapping[Resampling, Callable[[Tensor], Tensor]] = {
    Resampling.BOX: _box,
    Resampling.BILINEAR: _bilinear,
    Resampling.BICUBIC: _bicubic,
}
"""Those without sine and cosine, which a GPU rounds in its own way."""
_SUPPORTS = {
    Resampling.BOX: 0.5,
    Resampling.BILINEAR: 1.0,
    Resampling.HAMMING: 1.0,
    Resampling.BICUBIC: 2.0,
    Resampling.LANCZOS: 3.0,
}
