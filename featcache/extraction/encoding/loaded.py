"""Encoders in use: each is loaded once, and takes as many contents at once as its device is fast with, and can hold."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featcache.encoders.base import Encoder, EncoderSpec, Vectors
from featcache.encoders.loading import is_cuda
from featcache.errors import FeatcacheError
from featcache.extraction.options import ExtractOptions
from featcache.identity.terms import CONTENT_OF

__all__ = ["CPU_ROWS", "EncoderKey", "LoadedEncoder", "LoadedEncoders", "encoder_key", "probe_rows"]

CPU_ROWS = 64
"""Rows a forward on a CPU: more gain nothing, the matrices are large enough."""

_CUDA_ROWS = 256
_PROBED_ROWS = (32, 64, 128, 256, 512)
_WORTHWHILE = 1.05


@dataclass
class LoadedEncoder:
    """An encoder in use, which takes smaller batches once its device has run out of memory.

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


EncoderKey: TypeAlias = tuple[str, tuple[str, ...]]
"""What makes two encoders the same: digest of the producer, and the outputs that it is asked for."""


def encoder_key(spec: EncoderSpec) -> EncoderKey:
    """Return what makes two encoders the same."""
    return spec.fingerprint.digest, tuple(spec.outputs)


class LoadedEncoders:
    """The encoders of some sides, loaded when they are first needed, or foreseen; views of one encoder share it."""

    def __init__(self, options: ExtractOptions) -> None:
        self.load_seconds = 0.0
        self._options = options
        self._encoders: dict[EncoderKey, Encoder] = {}
        self._loaded: dict[EncoderKey, LoadedEncoder] = {}

    def foresee(self, specs: Iterable[EncoderSpec]) -> None:
        """Load encoders that are going to be needed, if it is for a GPU: those who prepare inputs start meanwhile."""
        if is_cuda(self._options.device):
            with self._timed():
                for spec in specs:
                    self._load(spec)

    def of(self, spec: EncoderSpec, example: object) -> LoadedEncoder:
        """Return the loaded encoder; ``example`` is a prepared content, to try out batches with.

        Once a batch is often enough to ask: a digest is computed for it.
        """
        key = encoder_key(spec)
        if key not in self._loaded:
            with self._timed():
                encoder = self._load(spec)
                self._loaded[key] = LoadedEncoder(encoder, self._rows(spec, encoder, example))
        return self._loaded[key]

    def _load(self, spec: EncoderSpec) -> Encoder:
        options, key = self._options, encoder_key(spec)
        if key not in self._encoders:
            self._encoders[key] = (
                spec.load(options.device, compile=True) if options.compile else spec.load(options.device)
            )
        return self._encoders[key]

    def _rows(self, spec: EncoderSpec, encoder: Encoder, example: object) -> int:
        """Return how many rows a batch should have."""
        options = self._options
        if options.batch_size is not None:
            return options.batch_size
        if getattr(encoder, "device", "cpu") != "cuda":
            return CPU_ROWS
        # Captions are cut by tokens, and to a compiled forward every size tried is a compilation.
        is_tried = CONTENT_OF[spec.modality] == "image" and not options.compile
        return probe_rows(encoder, example) if is_tried else _CUDA_ROWS

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.load_seconds += time.perf_counter() - started
