"""What a process does that reads pictures for a GPU, and decodes those that the GPU only resizes.

Their bytes, or their pixels, go into shared memory, few words through a pipe. It imports no framework, and knows
nothing of the card.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np

from featcache.dataset.sample import ImageFile, ImageSource
from featcache.extraction.preparing.card_loading import Loaded, Pixels, PixelSpace, Refused, load_picture
from featcache.extraction.preparing.crew import answer
from featcache.extraction.preparing.load_answer import LoadAnswer
from featcache.extraction.preparing.slabs import Slab
from featcache.pictures.jpeg_kind import JpegKind

__all__ = ["LoadTask", "serve"]


class LoadTask(NamedTuple):
    """Some pictures to read.

    Attributes
    ----------
    slab, start, middle, end : int
        Where their bytes go, one after another, and behind these the pixels of those that are decoded here.
    files : sequence of (str or ImageSource, bytes, int)
        Path, or where else it is, and sha256 of each; how many bytes its pixels have, 0 if it is not to be decoded.
    out : frozenset of JpegKind, or None
        What the card is known not to decode; None: it decodes nothing.
    rules : int
        By which rules pictures become RGB.
    """

    slab: int
    start: int
    middle: int
    end: int
    files: Sequence[tuple[str | ImageSource, bytes, int]]
    out: frozenset[JpegKind] | None
    rules: int


def serve(pipe_descriptor: int, *slab_descriptors: int) -> None:
    """Read pictures until the pipe ends."""
    pipe = Connection(pipe_descriptor)
    slabs = [Slab(descriptor) for descriptor in slab_descriptors]
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        answer(pipe, lambda task: _carry_out(task, slabs[task.slab].up_to(task.end)))


def _carry_out(task: LoadTask, memory: memoryview) -> LoadAnswer:
    space = PixelSpace(np.frombuffer(memory, np.uint8)[task.middle : task.end], task.rules)
    is_out = None if task.out is None else task.out.__contains__
    told, at = LoadAnswer(), task.start
    for source, key, n_bytes in task.files:
        image, pixels_at = ImageFile(source) if isinstance(source, str) else source, task.middle + space.n_taken
        found = load_picture(image, key, is_out, space=space, n_bytes=n_bytes)
        if isinstance(found, Loaded):
            end = at + len(found.data)
            if end > task.middle:  # it is larger than it was said to be
                told.add(Refused(""))
                continue
            memory[at:end] = found.data
            told.add(found, at)
            at = end
        else:
            told.add(found, pixels_at if isinstance(found, Pixels) else 0)
    return told
