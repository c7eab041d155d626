"""An encoder that stands for one that is loaded already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from featcache.encoders.base import Encoder, EncoderSpec

__all__ = ["Preloaded"]


class Preloaded:
    """Stands for an encoder that is loaded already, so that an extraction can be timed without the loading.

    A copy of it made for another process is the plain one again.
    """

    def __init__(self, spec: EncoderSpec, encoder: Encoder) -> None:
        self._spec = spec
        self._encoder = encoder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._spec, name)

    def __reduce__(self) -> tuple[Callable[[EncoderSpec], EncoderSpec], tuple[EncoderSpec]]:
        return _unchanged, (self._spec,)

    def check(self) -> None:
        """Do nothing: it has been loaded."""

    def load(self, *_: object, **__: object) -> Encoder:
        """Return it."""
        return self._encoder


def _unchanged(spec: EncoderSpec) -> EncoderSpec:
    return spec
