"""What a process that reads pictures for a GPU says of them: rows of numbers, many times as fast as what they mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Transpose

from featcache.extraction.preparing.card_loading import Found, Loaded, Pixels, Refused
from featcache.pictures.jpeg_kind import JpegHeader, JpegKind

__all__ = ["LoadAnswer"]

Header: TypeAlias = tuple[int, int, int, int, bool, bool, bool, int]
"""What a header says in the order of `JpegHeader`, with the number of its kind in the place of that."""

_Refused: TypeAlias = tuple[int, str]
_Loaded: TypeAlias = tuple[int, int, int, float, int | None]
_Pixels: TypeAlias = tuple[int, str, int, int, int, float, float]
Row: TypeAlias = _Refused | _Loaded | _Pixels
"""Of a picture for the CPU the number of its kind, and why. Of one that the card decodes the number of its header,
start and size in the memory, seconds, and its turn. Of one that was decoded the number of its kind, why, start, height
and width, and seconds of reading and of decoding."""

_NO_KIND = -1


@dataclass
class LoadAnswer:
    """What became of a task.

    Attributes
    ----------
    kinds, headers : dict
        Those that its rows have the numbers of, by their numbers.
    rows : list of tuple
        One a picture.
    """

    kinds: dict[JpegKind, int] = field(default_factory=dict)
    headers: dict[Header, int] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def add(self, found: Loaded | Pixels | Refused, start: int = 0) -> None:
        """Say what became of the next picture; ``start`` is where in the memory it is."""
        match found:
            case Loaded():
                header = self._pack(found.header)
                number = self.headers.setdefault(header, len(self.headers))
                turn = None if found.turn is None else int(found.turn)
                self.rows.append((number, start, len(found.data), found.seconds, turn))
            case Pixels():
                height, width, _ = found.levels.shape
                times = found.seconds, found.decode_seconds
                self.rows.append((self._number(found.kind), found.why, start, height, width, *times))
            case Refused():
                self.rows.append((self._number(found.kind), found.why))

    def unpack(
        self, memory: memoryview, why_not: Callable[[JpegKind], str], known: dict[JpegKind, JpegKind]
    ) -> list[Found]:
        """Return what became of each picture.

        Parameters
        ----------
        memory : memoryview
            Where the worker put it.
        why_not : callable
            Says of a kind why the card does not decode it; empty if it does.
        known : dict
            Kinds that came before, to which new ones are added: of each there shall be but one.
        """
        kinds = [known.setdefault(kind, kind) for kind in self.kinds]
        whys = [*map(why_not, kinds), ""]  # the last is that of no kind
        headers = [(JpegHeader(kinds[each[0]], *each[1:]), whys[each[0]]) for each in self.headers]
        found: list[Found] = []
        for row in self.rows:
            if len(row) == 2:
                number, why = row
                found.append(whys[number] or why)
            elif len(row) == 5:
                number, start, size, seconds, turn = row
                header, why = headers[number]
                upright = None if turn is None else Transpose(turn)
                found.append(why or Loaded(memory[start : start + size], header, upright, seconds))
            else:
                number, why, start, height, width, *times = row
                kind = None if number == _NO_KIND else kinds[number]
                levels = _levels(memory, start, height, width)
                found.append(Pixels(levels, whys[number] or why, kind, *times))
        return found

    def _pack(self, header: JpegHeader) -> Header:
        size, has = (header.width, header.height), (header.has_exif, header.has_xmp, header.has_icc)
        return (self._number(header.kind), *size, header.restart_interval, *has, header.scan)

    def _number(self, kind: JpegKind | None) -> int:
        return _NO_KIND if kind is None else self.kinds.setdefault(kind, len(self.kinds))


def _levels(memory: memoryview, start: int, height: int, width: int) -> NDArray[np.uint8]:
    return np.frombuffer(memory, np.uint8, 3 * height * width, start).reshape(height, width, 3)
