"""One look at a picture: its bytes are read and hashed, its header is read. In a thread, or in a worker process."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from featcache.dataset.sample import ImageFile, ImageSource
from featcache.extraction.preparing.crew import answer
from featcache.extraction.survey.stamps import place_of, stamp_file
from featcache.pictures.decode import probe_image

__all__ = ["Look", "Task", "look_at", "serve", "stamp_of"]

Task = tuple[list[int], list[str], int]
"""What a worker process is told: rows, the paths of their pictures, and ``before_ns`` of `look_at`."""


@dataclass(frozen=True)
class Look:
    """What was seen; flat, as it comes from another process by the thousand.

    Attributes
    ----------
    key : bytes
        Sha256 of the bytes.
    n_bytes : int
        How many there are.
    width, height, format, has_exif
        What the header says, as `ImageInfo` has it; 0, ``""`` and None: it cannot be read.
    stamp : bytes or None
        `stamp_file` of the picture's file after it was read; None where it has none.
    """

    key: bytes
    n_bytes: int
    width: int
    height: int
    format: str
    has_exif: bool | None
    stamp: bytes | None


def look_at(image: ImageSource, before_ns: int) -> Look | OSError:
    """Look at a picture; returns the error if it cannot be read."""
    try:
        data = image.read_bytes()
    except OSError as error:
        return error
    key, info, stamp = hashlib.sha256(data).digest(), probe_image(data), stamp_of(image, before_ns)
    if info is None:
        return Look(key, len(data), 0, 0, "", None, stamp)
    return Look(key, len(data), info.width, info.height, info.format, info.has_exif, stamp)


def stamp_of(image: ImageSource, before_ns: int) -> bytes | None:
    """Return the stamp of the file that holds a picture, as it looks now."""
    place = place_of(image)
    return None if place is None else stamp_file(place[0], before_ns, place[1])


def serve(pipe_descriptor: int) -> None:
    """Look at pictures in files until the pipe ends: what a worker process does. Answers carry the rows of tasks."""
    pipe = Connection(pipe_descriptor)

    def work(task: Task) -> tuple[list[int], list[Look | OSError]]:
        rows, paths, before_ns = task
        return rows, [look_at(ImageFile(path), before_ns) for path in paths]

    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        answer(pipe, work)
