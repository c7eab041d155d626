"""What a card works with: who decodes, resizes and perturbs pictures in the memory of a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from featcache.pictures.jpeg_kind import JpegHeader, JpegKind

if TYPE_CHECKING:
    from torch import Tensor

    from featcache.pictures.views import View

__all__ = ["BatchDecoder", "Perturber", "Resizer"]


class BatchDecoder(Protocol):
    """Decodes JPEGs into the memory of a device; see `featcache.pictures.card.decoding.CardDecoder`."""

    @property
    def name(self) -> str:
        """What it is called in the ``versions`` of a shard."""
        ...

    @property
    def version(self) -> str:
        """Of its library."""
        ...

    def takes(self, kind: JpegKind) -> bool:
        """Whether files of this kind were proved to be equal, in every bit."""
        ...

    def decode(self, files: Sequence[bytes | memoryview], headers: Sequence[JpegHeader]) -> list[Tensor | None]:
        """Return (height, width, 3) uint8 of each, as stored; None: Pillow is to look at it."""
        ...


class Resizer(Protocol):
    """Brings pictures of a device to an encoder's size; see `featcache.pictures.card.resizing.CardResizer`."""

    @property
    def name(self) -> str:
        """What it is called in the ``versions`` of a shard, where others than the device decoded."""
        ...

    @property
    def version(self) -> str:
        """Of its library."""
        ...

    def resize(self, pictures: Sequence[Tensor]) -> Tensor:
        """Begin, on the current stream, to make (n, height, width, 3) uint8 on the device."""
        ...


class Perturber(Protocol):
    """Makes views of pictures on a device; see `featcache.pictures.card.views.CardViews`."""

    def apply(self, view: View, pictures: Sequence[Tensor], keys: Sequence[bytes]) -> list[Tensor | None]:
        """Begin, on the current stream, to make what `View.apply` does; None where the CPU is to say why not."""
        ...
