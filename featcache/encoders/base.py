"""What extraction needs of an encoder: an identity before it is loaded, and vectors afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from featcache.fingerprint import Fingerprint

__all__ = ["COMPUTE_DTYPES", "STORAGE_DTYPES", "Device", "Encoder", "EncoderSpec", "Modality"]

Modality = Literal["text", "image"]
Device = Literal["auto", "cuda", "cpu"]
COMPUTE_DTYPES = ("float32", "bfloat16", "float16")
STORAGE_DTYPES = ("float16", "float32")


class Encoder(Protocol):
    """A loaded encoder."""

    def encode(self, batch: Sequence[Any]) -> Mapping[str, NDArray[np.float32]]:
        """Return one (n, d) float32 array per requested output for ``n`` prepared contents."""
        ...


class EncoderSpec(Protocol):
    """An encoder that is not loaded yet: enough to plan with, cheap to make, picklable."""

    @property
    def modality(self) -> Modality:
        """Which side of a sample it encodes."""
        ...

    @property
    def fingerprint(self) -> Fingerprint:
        """Identity of the producer."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the vectors to store."""
        ...

    def prepare(self, content: bytes) -> Any:
        """Turn a content (file bytes, or a caption's UTF-8) into what `Encoder.encode` takes; thread-safe.

        Raises
        ------
        ImageError
            If a picture cannot be used.
        """
        ...

    def load(self, device: Device) -> Encoder:
        """Read the weights and move them to a device."""
        ...
