"""Which pictures the CPU decodes for a card that resizes them, and how much memory these may take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from featcache.extraction.preparing.card import Card
from featcache.extraction.preparing.recipe import Reading

__all__ = ["Share"]

_MOST_BYTES = 256 << 20
_WINDOWS = 48
_PICTURES = 4
_LARGE = 4
_SURPRISES = 2
_JPEGS = frozenset({"JPEG", "MPO", ""})
"""Formats of which it takes the file to know whether the card decodes it."""


@dataclass(frozen=True)
class Share:
    """What of the memory for pictures is for those that the CPU decodes for the card: half, the others have the rest.

    Attributes
    ----------
    card : Card
        Says what it does.
    window : int
        Bytes of pixels that a window has at most, and a quarter more. There are four, each may have half as many of
        pictures that nobody expected, and what two of them have is copied once: less than a quarter in all.
    picture : int
        Bytes that one may take while it is decoded: for all workers together a quarter.
    """

    card: Card
    window: int
    picture: int

    @classmethod
    def of(cls, card: Card, memory: int, n_workers: int) -> Share:
        """Divide the memory for pictures among workers of whom each decodes one at a time."""
        return cls(card, max(1, min(_MOST_BYTES, memory // _WINDOWS)), memory // (_PICTURES * n_workers))

    def pixel_bytes(self, reading: Reading) -> int:
        """Return how much a picture needs if the card does not decode it; 0: then it is for the others."""
        n_bytes = 3 * reading.n_pixels
        is_allowed = self.card.is_trusted and _LARGE * n_bytes <= self.window and reading.n_bytes <= self.picture
        return n_bytes if is_allowed else 0

    def decoded_bytes(self, reading: Reading) -> int:
        """Return how much a picture needs that is certain to be decoded by the CPU for the card; 0: it is not."""
        return 0 if self._may_be_decoded_there(reading) else self.pixel_bytes(reading)

    def why_not(self, reading: Reading) -> str:
        """Return why a picture is for the others, as a `Way` says it; empty if the card has a part in it."""
        if not self.card.is_trusted:
            return "not trusted"
        if self._may_be_decoded_there(reading) or self.pixel_bytes(reading):
            return ""
        return "large" if reading.n_pixels else "unknown"

    def space_for(self, readings: Iterable[Reading], n_parts: int) -> int:
        """Return how many bytes of pixels are to be kept free for one of the parts of a window."""
        expected = sum(map(self.decoded_bytes, readings))
        return expected + (self.window // _SURPRISES // n_parts if self.card.decoder and self.card.is_trusted else 0)

    def _may_be_decoded_there(self, reading: Reading) -> bool:
        return self.card.decoder is not None and reading.format in _JPEGS
