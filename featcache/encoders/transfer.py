"""Between a GPU and the host without waiting: page-locked copies that go on while the next batch is prepared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.encoders.base import Vectors
from featcache.errors import ModelError

if TYPE_CHECKING:
    import torch

__all__ = ["fetch", "send", "send_stacked"]


def send(array: NDArray[Any], device: str) -> torch.Tensor:
    """Copy an array to a device; it may be overwritten as soon as this returns, except where the device is the CPU."""
    import torch

    # Torch warns of an array that it must not write to, although nobody is going to.
    tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    return tensor if device == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def send_stacked(
    rows: Sequence[NDArray[np.uint8] | torch.Tensor] | NDArray[np.uint8], size: int, device: str
) -> torch.Tensor:
    """Copy rows of one shape to a device, as one tensor of `size` of them; those that are too many are 0.

    Parameters
    ----------
    rows : sequence of uint8 array or Tensor, or uint8 array
        Arrays may be overwritten as soon as this returns, except where the device is the CPU and they are one array.
        Tensors are on the device already, complete whatever the stream; they may be let go of as soon as this returns.
    size : int
        Of the result, at least as many as there are.
    device : str
        Where to.
    """
    if isinstance(rows, np.ndarray):
        return _send_arrays(rows, size, device)
    arrays = [row for row in rows if isinstance(row, np.ndarray)]
    if len(arrays) == len(rows):
        return _send_arrays(arrays, size, device)
    return _stack(rows, arrays, size, device)


def _send_arrays(arrays: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], size: int, device: str) -> torch.Tensor:
    import torch

    n = len(arrays)
    if device == "cpu":
        whole = arrays if isinstance(arrays, np.ndarray) else np.stack(arrays)
        fill = np.zeros((size - n, *whole.shape[1:]), np.uint8)
        return send(np.concatenate([whole, fill]) if len(fill) else whole, device)
    # Straight into page-locked memory: these copies are what the host does beside preparing pictures.
    staged = torch.empty((size, *arrays[0].shape), dtype=torch.uint8, pin_memory=True)
    view = staged.numpy()
    np.stack(list(arrays), out=view[:n])
    view[n:] = 0
    return staged.to(device, non_blocking=True)


def _stack(
    rows: Sequence[NDArray[np.uint8] | torch.Tensor], arrays: Sequence[NDArray[np.uint8]], size: int, device: str
) -> torch.Tensor:
    """Stack tensors of the device, and between them those of the rows that are arrays yet."""
    import torch

    sent = iter(_send_arrays(arrays, len(arrays), device) if arrays else ())
    tensors = [next(sent) if isinstance(row, np.ndarray) else row for row in rows]
    result = torch.empty((size, *tensors[0].shape), dtype=torch.uint8, device=device)
    torch.stack(tensors, out=result[: len(tensors)])
    result[len(tensors) :] = 0
    if result.is_cuda:
        # Memory that another stream made is that stream's again once it is let go of: not before this one has read it.
        stream = torch.cuda.current_stream()
        for tensor in tensors:
            tensor.record_stream(stream)
    return result


def fetch(vectors: Mapping[str, torch.Tensor], widths: Mapping[str, int], n: int) -> Callable[[], Vectors]:
    """Begin to copy vectors to the host.

    Parameters
    ----------
    vectors : mapping of output name to (m, d) tensor
        The vectors, on any device.
    widths : mapping of output name to int
        How many columns they must have, as far as that is known.
    n : int
        How many of the ``m`` rows are wanted, from the first on.

    Returns
    -------
    callable
        Waits for the copies and returns (n, d) float32 arrays.

    Raises
    ------
    ModelError
        If a vector has another width: it is not what its name says.
    """
    import torch

    for name, vector in vectors.items():
        if vector.ndim != 2 or vector.shape[1] != widths.get(name, vector.shape[1]):
            raise ModelError(f"output {name!r} has shape {tuple(vector.shape)}, expected {widths.get(name)} columns")
    # Contiguous: a class token that is a part of all tokens would keep them in memory.
    rows = {name: vector[:n].float().contiguous() for name, vector in vectors.items()}
    if all(vector.device.type == "cpu" for vector in rows.values()):
        done = {name: vector.numpy() for name, vector in rows.items()}
        return lambda: done
    host = {name: torch.empty(vector.shape, dtype=torch.float32, pin_memory=True) for name, vector in rows.items()}
    for name, vector in rows.items():
        host[name].copy_(vector, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record()

    def wait() -> Vectors:
        copied.synchronize()
        # Page-locked memory is scarce: what is kept until a unit is complete lies elsewhere.
        return {name: vector.numpy().copy() for name, vector in host.items()}

    return wait
