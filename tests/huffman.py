"""Huffman codes of JPEGs (ITU-T T.81, annex F.2.2), read into the coefficients of blocks."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

import numpy as np


@dataclass(frozen=True)
class HuffmanCode:
    """A Huffman code: codes are in order of size, so that each is found by where it starts among 16 bits."""

    starts: list[int]
    lengths: list[int]
    symbols: bytes

    @classmethod
    def from_counts(cls, counts: bytes, symbols: bytes) -> HuffmanCode:
        lengths = [length for length, count in enumerate(counts, 1) for _ in range(count)]
        starts = list(accumulate((1 << 16 - length for length in lengths), initial=0))
        if starts[-1] > 1 << 16 or len(symbols) != len(lengths):
            raise ValueError("JPEG has a Huffman table that is no code")
        return cls(starts, [*lengths, 0], symbols + b"\0")  # no code has length 0


class JpegBits:
    """The bits from one restart marker to the next."""

    def __init__(self, stretch: bytes) -> None:
        stretch = stretch.replace(b"\xff\0", b"\xff")
        octets = np.frombuffer(stretch + bytes(256), np.uint8).astype(np.int64)  # no block is longer than these zeros
        # 40 bits from each byte on: 7 that were read, 16 of a code and 15 of a value.
        windows = sum(octets[at : len(octets) - 4 + at] << (32 - 8 * at) for at in range(5))
        self._windows: list[int] = np.asarray(windows).tolist()
        self._at, self._end = 0, 8 * len(stretch)

    def block(self, dc: HuffmanCode, ac: HuffmanCode, previous: int) -> list[int]:
        """Read the 64 coefficients of a block; ``previous`` is the first of the block before."""
        found = [0] * 64
        found[0] = previous + self._read(dc)[2]
        at = 1
        while at < 64:
            n_zeros, size, value = self._read(ac)
            at += n_zeros
            if size:
                found[at] = value
            elif n_zeros != 15:
                break
            at += 1
        if self._at > self._end:
            raise ValueError("JPEG is cut off, or damaged: a stretch of it ends too early")
        return found

    def _read(self, code: HuffmanCode) -> tuple[int, int, int]:
        """Read a code and the bits behind it: zeros before a coefficient, its size in bits, and the coefficient."""
        window, n_left = self._windows[self._at >> 3], 40 - (self._at & 7)
        found = bisect_right(code.starts, window >> n_left - 16 & 0xFFFF) - 1
        length, symbol = code.lengths[found], code.symbols[found]
        if not length:
            raise ValueError("JPEG is damaged: bits that are no code")
        size = symbol & 15
        bits = window >> n_left - length - size & (1 << size) - 1
        self._at += length + size
        return symbol >> 4, size, bits if bits >= 1 << size >> 1 else bits + 1 - (1 << size)
