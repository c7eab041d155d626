"""One look at a picture: its bytes are read and hashed, its header is read. In a thread, or in a worker process."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from featcache.dataset.sample import ImageSource
from featcache.extraction.preparing.crew import answer
from featcache.extraction.survey.stamps import place_of, stamp_file
from featcache.pictures.decode import ImageInfo, probe_image

__all__ = ["Look", "look_at", "serve", "stamp_of"]


@dataclass(frozen=True)
class Look:
    """What was seen.

    Attributes
    ----------
    key : bytes
        Sha256 of the bytes.
    n_bytes : int
        How many there are.
    info : ImageInfo or None
        What the header says; None: it cannot be read.
    stamp : bytes or None
        `stamp_file` of the picture's file after it was read; None where it has none.
    """

    key: bytes
    n_bytes: int
    info: ImageInfo | None
    stamp: bytes | None


def look_at(image: ImageSource, before_ns: int) -> Look | OSError:
    """Look at a picture; returns the error if it cannot be read."""
    try:
        data = image.read_bytes()
    except OSError as error:
        return error
    return Look(hashlib.sha256(data).digest(), len(data), probe_image(data), stamp_of(image, before_ns))


def stamp_of(image: ImageSource, before_ns: int) -> bytes | None:
    """Return the stamp of the file that holds a picture, as it looks now."""
    place = place_of(image)
    return None if place is None else stamp_file(place[0], before_ns, place[1])


def serve(pipe_descriptor: int) -> None:
    """Look at pictures until the pipe ends: what a worker process does. Answers carry the rows of their tasks."""
    pipe = Connection(pipe_descriptor)

    def work(task: tuple[list[int], Sequence[ImageSource], int]) -> tuple[list[int], list[Look | OSError]]:
        rows, images, before_ns = task
        return rows, [look_at(image, before_ns) for image in images]

    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        answer(pipe, work)
