"""Tables that a device makes for many axes at once are those that are made for one after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL.Image import Resampling

from featcache.pictures.card.taps import Axis, make_taps
from featcache.pictures.resample import axis_taps

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU that torch can use")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, NEEDS_GPU])]
FILTERS = [Resampling[name] for name in ("BOX", "BILINEAR", "HAMMING", "BICUBIC", "LANCZOS")]


def draw(n: int) -> list[Axis]:
    """Return axes of all kinds: shorter and longer ones, such as keep their length, wholes and parts, one pixel."""
    rng, found = np.random.default_rng(0), [(7, 7, 0, 7), (9, 9, 2, 5), (1, 9, 0, 9), (900, 1, 0, 1), (448, 224, 3, 99)]
    while len(found) < n:
        result = int(rng.integers(1, 60))
        start, stop = sorted(rng.choice(result + 1, 2, replace=False).tolist())
        found.append((int(rng.integers(1, 1 << int(rng.integers(1, 11)))), result, start, stop))
    return list(dict.fromkeys(found))


def dense(firsts: np.ndarray, weights: np.ndarray, length: int) -> np.ndarray:
    """Spread weights over the input: (n, length)."""
    found = np.zeros((len(firsts), length + weights.shape[1]), np.int64)
    for row, first, own in zip(found, firsts.tolist(), weights, strict=True):
        row[first : first + len(own)] = own
    assert not found[:, length:].any()
    return found[:, :length]


def read(memory: tuple[torch.Tensor, ...], address: int, n: int) -> np.ndarray:
    """Read int32 numbers at an address of the device."""
    for each in memory:
        at = (address - each.data_ptr()) // 4
        if 0 <= at < each.numel():
            return each.flatten()[at : at + n].cpu().numpy()
    raise AssertionError(f"{address:#x} is in no table")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("filter", FILTERS)
def test_weights_of_every_axis_are_those_of_the_cpu_in_every_bit(filter: Resampling, device: str) -> None:
    axes = draw(300)
    found, memory = make_taps(axes, filter, torch.device(device))
    assert list(found) != [] and set(found) == set(axes)
    for axis, taps in found.items():
        n = axis[3] - axis[2]
        firsts, weights = read(memory, taps.firsts, n), read(memory, taps.weights, n * taps.n_taps)
        own = dense(firsts, weights.reshape(n, -1), axis[0])
        np.testing.assert_array_equal(own, dense(*axis_taps(*axis, filter), axis[0]), err_msg=str(axis))
        assert not own[:, : taps.first].any() and not own[:, taps.stop :].any() and taps.stop <= axis[0]


def test_a_long_axis_does_not_make_the_tables_of_short_ones_large() -> None:
    found, memory = make_taps([(500, 224, 0, 224), (5000, 224, 0, 224)], Resampling.BICUBIC, torch.device("cpu"))
    short, long = found.values()
    assert (short.n_taps, long.n_taps) == (9, 90) and sum(each.numel() for each in memory) == 224 * (2 + 9 + 90)
