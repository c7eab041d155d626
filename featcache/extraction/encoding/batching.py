"""How many contents go through an encoder at once: by rows, by tokens, and by what a device can hold."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.encoders.base import Encoder, Vectors
from featcache.errors import FeatcacheError

__all__ = ["CPU_ROWS", "Forward", "probe_rows", "token_batches"]

CPU_ROWS = 64
"""Rows a forward on a CPU: more gain nothing, the matrices are large enough."""

_TOKENS_A_ROW = 32
_SHORT_ROWS = 4
_MOST_PADDING = 1.10
_LEAST_ROWS = 16
_PROBED_ROWS = (32, 64, 128, 256, 512)
_WORTHWHILE = 1.05


def token_batches(lengths: Sequence[int], n_rows: int) -> list[NDArray[np.int64]]:
    """Cut texts into batches of similar length.

    The shortest come first. A batch ends before it has more than ``32 n_rows`` tokens, padding included, or more
    than ``4 n_rows`` texts; and, once it has 16, before padding adds more than a tenth.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each text.
    n_rows : int
        Size of a batch of pictures on the same device.

    Returns
    -------
    list of (m,) int64
        Positions in ``lengths``, each once; of equal lengths the first first.
    """
    order = np.argsort(np.asarray(lengths), kind="stable")
    batches: list[NDArray[np.int64]] = []
    start, real = 0, 0
    for end, position in enumerate(order):
        longest = max(1, lengths[position])
        n = end - start + 1
        is_padded = n > _LEAST_ROWS and n * longest > _MOST_PADDING * (real + longest)
        if n > 1 and (n * longest > _TOKENS_A_ROW * n_rows or n > _SHORT_ROWS * n_rows or is_padded):
            batches.append(order[start:end])
            start, real = end, 0
        real += longest
    if start < len(order):
        batches.append(order[start:])
    return batches


@dataclass
class Forward:
    """A loaded encoder that takes smaller batches once its device has run out of memory.

    Attributes
    ----------
    encoder : Encoder
        The encoder.
    n_rows : int
        Rows a batch should have; only ever gets smaller.
    """

    encoder: Encoder
    n_rows: int

    def start(self, inputs: Sequence[Any]) -> Callable[[], Vectors]:
        """Begin to encode; the function that is returned waits for the (n, d) float32 arrays.

        Raises
        ------
        FeatcacheError
            If the device cannot hold a single row.
        """
        wait = self._try(lambda: self.encoder.start(inputs), len(inputs))
        if wait is None:
            vectors = self._encode_in_pieces(inputs)
            return lambda: vectors
        return lambda: self._try(wait, len(inputs)) or self._encode_in_pieces(inputs)

    def _encode_in_pieces(self, inputs: Sequence[Any]) -> Vectors:
        pieces: list[Mapping[str, NDArray[np.float32]]] = []
        start = 0
        while start < len(inputs):
            piece = inputs[start : start + self.n_rows]
            encoded = self._try(lambda piece=piece: self.encoder.encode(piece), len(piece))  # type: ignore[misc]
            if encoded is not None:
                pieces.append(encoded)
                start += len(piece)
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    def _try(self, work: Callable[[], Any], n_rows: int) -> Any:
        """Return what the work returns; None if the device ran out of memory, and fewer rows are to be tried."""
        try:
            return work()
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            if n_rows <= 1:
                raise FeatcacheError(
                    f"the device has not enough memory for a single content ({' '.join(str(error).split())[:200]}): "
                    "free memory on it, or use --device cpu"
                ) from error
        self.n_rows = max(1, min(self.n_rows, n_rows // 2))
        _free_memory()
        return None


def _is_out_of_memory(error: Exception) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def _free_memory() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def probe_rows(encoder: Encoder, example: Any) -> int:
    """Find the smallest batch that is within a twentieth of the fastest, by trying.

    Parameters
    ----------
    encoder : Encoder
        On a device that is not shared.
    example : object
        One prepared content; copies of it are encoded.
    """
    rates: dict[int, float] = {}
    for n_rows in _PROBED_ROWS:
        try:
            encoder.encode([example] * n_rows)
            started = time.perf_counter()
            encoder.encode([example] * n_rows)
            rates[n_rows] = n_rows / (time.perf_counter() - started)
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            break
    _free_memory()
    fastest = max(rates.values(), default=0.0)
    return next((n_rows for n_rows, rate in rates.items() if rate * _WORTHWHILE >= fastest), 1)
