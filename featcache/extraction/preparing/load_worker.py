"""What a process does that reads pictures for a GPU: their bytes go into shared memory, few words through a pipe.

Here is also what is said to it and by it. It imports no framework, and knows nothing of the card.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import NamedTuple, TypeAlias

from featcache.dataset.sample import ImageFile, ImageSource
from featcache.extraction.preparing.card_loading import Loaded, load_picture
from featcache.extraction.preparing.crew import answer
from featcache.extraction.preparing.slabs import Slab
from featcache.pictures.jpeg_kind import JpegHeader, JpegKind

__all__ = ["LoadAnswer", "LoadTask", "serve"]


class LoadTask(NamedTuple):
    """Some files to read.

    Attributes
    ----------
    slab, start, end : int
        Where their bytes go, one after another.
    files : sequence of (str or ImageSource, bytes)
        Path, or where else it is, and sha256 of each.
    out : frozenset of JpegKind
        What the card is known not to do.
    """

    slab: int
    start: int
    end: int
    files: Sequence[tuple[str | ImageSource, bytes]]
    out: frozenset[JpegKind]


Header: TypeAlias = tuple[int, int, int, int, bool, bool, bool, int]
"""What a header says in the order of `JpegHeader`, with the number of its kind in the place of that."""

Row: TypeAlias = str | tuple[int, str] | tuple[int, int, int, float, int | None]
"""Of a file that is none for the card, why, behind the number of its kind if it has one. Of one that is: number of its
header, start and size in the slab, seconds, and its turn."""


class LoadAnswer(NamedTuple):
    """What became of a task: kinds and headers that its rows have the numbers of, and a row a file."""

    kinds: tuple[JpegKind, ...]
    headers: tuple[Header, ...]
    rows: list[Row]


def serve(pipe_descriptor: int, *slab_descriptors: int) -> None:
    """Read pictures until the pipe ends."""
    pipe = Connection(pipe_descriptor)
    slabs = [Slab(descriptor) for descriptor in slab_descriptors]
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        answer(pipe, lambda task: _carry_out(task, slabs[task.slab].up_to(task.end)))


def _carry_out(task: LoadTask, memory: memoryview) -> LoadAnswer:
    kinds: dict[JpegKind, int] = {}
    headers: dict[Header, int] = {}
    rows: list[Row] = []
    at = task.start
    for source, key in task.files:
        image = ImageFile(source) if isinstance(source, str) else source
        found = load_picture(image, key, task.out.__contains__)
        if not isinstance(found, Loaded):
            rows.append(found.why if found.kind is None else (kinds.setdefault(found.kind, len(kinds)), found.why))
            continue
        end = at + len(found.data)
        if end > task.end:  # it is larger than it was said to be
            rows.append("")
            continue
        memory[at:end] = found.data
        header = _pack(found.header, kinds)
        turn = None if found.turn is None else int(found.turn)
        rows.append((headers.setdefault(header, len(headers)), at, end - at, found.seconds, turn))
        at = end
    return LoadAnswer(tuple(kinds), tuple(headers), rows)


def _pack(header: JpegHeader, kinds: dict[JpegKind, int]) -> Header:
    """Return a header as it travels: without the names of its fields, many times as fast."""
    number = kinds.setdefault(header.kind, len(kinds))
    size, has = (header.width, header.height), (header.has_exif, header.has_xmp, header.has_icc)
    return (number, *size, header.restart_interval, *has, header.scan)
