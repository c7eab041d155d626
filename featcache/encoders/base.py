"""What extraction needs of an encoder: an identity before it is loaded, and vectors afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from featcache.errors import ModelError
from featcache.identity.fingerprint import Fingerprint
from featcache.identity.terms import Modality

if TYPE_CHECKING:
    from featcache.pictures.preprocess import Preprocessor

__all__ = [
    "Device",
    "Encoder",
    "EncoderSpec",
    "TokenEncoder",
    "Vectors",
    "check_rules",
    "decode_rules",
    "decode_size",
    "device_preprocessor",
    "loading_check",
]

Device = Literal["auto", "cuda", "cpu"]

Vectors = Mapping[str, NDArray[np.float32]]


class Encoder(Protocol):
    """A loaded encoder."""

    def encode(self, batch: Sequence[Any]) -> Vectors:
        """Return one (n, d) float32 array per requested output for ``n`` prepared contents."""
        ...

    def start(self, batch: Sequence[Any]) -> Callable[[], Vectors]:
        """Begin what `encode` does; the function that is returned waits for the vectors.

        On a GPU the forward and the copy back go on meanwhile; on a CPU all is done when this returns.
        """
        ...


@runtime_checkable
class TokenEncoder(Encoder, Protocol):
    """A loaded encoder of texts whose batches may be cut by their tokens; `encode` takes token lists too."""

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of prepared texts, special ones included, truncated as the encoder truncates.

        Called in another thread than `encode`, which goes on meanwhile.
        """
        ...


class EncoderSpec(Protocol):
    """An encoder that is not loaded yet: enough to plan with, cheap to make, picklable."""

    @property
    def modality(self) -> Modality:
        """What its vectors are: two encoders of one modality stand in for each other."""
        ...

    @property
    def fingerprint(self) -> Fingerprint:
        """Identity of the producer."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the vectors to store."""
        ...

    @property
    def widths(self) -> Mapping[str, int]:
        """Columns of the outputs, as far as they are known before the weights are read."""
        ...

    def prepare(self, source: Any) -> Any:
        """Turn an opened content into what `Encoder.encode` takes; safe in threads and processes.

        ``source`` is the caption, or the decoded RGB picture (PIL) at its full size, maybe perturbed by a view.
        """
        ...

    def load(self, device: Device, *, compile: bool = False) -> Encoder:
        """Read the weights and move them to a device; ``compile`` asks for a compiled forward, where there is one."""
        ...


def decode_size(spec: EncoderSpec) -> tuple[int, int] | None:
    """Return down to which (height, width) a JPEG may be decoded for an encoder; None: only at its full size.

    What an encoder says as its ``decode_at_least``, if it has one.
    """
    size: tuple[int, int] | None = getattr(spec, "decode_at_least", None)
    return size


def device_preprocessor(spec: EncoderSpec) -> Preprocessor | None:
    """Return what an encoder does to pictures, if once loaded it also takes tensors of its device; else None.

    What an encoder says as its ``device_preprocessor``, if it has one.
    """
    found: Preprocessor | None = getattr(spec, "device_preprocessor", None)
    return found


def decode_rules(spec: EncoderSpec) -> int:
    """Return by which rules an encoder wants pictures decoded: those that its identity names, or else the latest."""
    from featcache.pictures.decode_rules import DECODE_RULES

    document = spec.fingerprint.identity.get("decode")
    return int(document.get("rules", DECODE_RULES)) if isinstance(document, Mapping) else DECODE_RULES


def check_rules(rules: int) -> None:
    """Raise `ModelError` unless pictures can be decoded by these rules."""
    from featcache.pictures.decode_rules import DECODE_RULES

    if rules not in range(1, DECODE_RULES + 1):
        raise ModelError(
            f"pictures are decoded by the rules {rules!r}, this version knows those to {DECODE_RULES}: update it"
        )


def loading_check(spec: EncoderSpec) -> Callable[[], None] | None:
    """Return what raises unless an encoder can be loaded and has its outputs; None: only loading it tells.

    What an encoder has as its ``check``, if it has one.
    """
    check: Callable[[], None] | None = getattr(spec, "check", None)
    return check
