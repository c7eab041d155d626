"""JPEGs decoded on a GPU, many together: an engine makes their planes, a kernel libjpeg's pixels of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcache.pictures.card.kernels import COLOUR_BLOCK, COLOUR_FIELDS, make_colours
from featcache.pictures.card.launching import launch
from featcache.pictures.card.memory import alike, allocate, allocate_pictures
from featcache.pictures.card.taps import send
from featcache.pictures.decoders import is_plain
from featcache.pictures.jpeg_kind import JpegHeader, JpegKind

__all__ = ["CardDecoder", "PlaneEngine"]

_FACTORS = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:4:0": (2, 1), "4:2:0": (2, 2), "": (0, 0)}
"""How many pixels a value of chroma stands for, down and across; 0: there is no chroma."""


class PlaneEngine(Protocol):
    """Makes planes of JPEGs; see `featcache.pictures.card.nvjpeg.Nvjpeg`."""

    @property
    def version(self) -> str:
        """Of its library."""
        ...

    def decode(
        self, files: Sequence[bytes | memoryview], sizes: NDArray[np.int64], addresses: NDArray[np.int64]
    ) -> list[bool]:
        """Write planes of (n, 3, 2) sizes to (n, 3) addresses; False of a file that is for Pillow."""
        ...


class CardDecoder:
    """Decodes batches of JPEGs into the memory of a device.

    Parameters
    ----------
    engine : PlaneEngine
        Of the device.
    device : torch.device
        A GPU; a CPU, if Triton interprets (``TRITON_INTERPRET=1``) and the engine is one that writes there.
    """

    def __init__(self, engine: PlaneEngine, device: torch.device) -> None:
        self._engine, self._device = engine, device
        self.version = engine.version

    @property
    def name(self) -> str:
        """What it is called in the ``versions`` of a shard."""
        return "nvjpeg"

    def takes(self, kind: JpegKind) -> bool:
        """Whether files of this kind were proved to be equal, in every bit."""
        return is_plain(kind) and kind.sampling in _FACTORS

    def decode(self, files: Sequence[bytes | memoryview], headers: Sequence[JpegHeader]) -> list[Tensor | None]:
        """Decode JPEGs of kinds that it takes, on the current stream of the device.

        Parameters
        ----------
        files : sequence of bytes or memoryview
            They are to stay until the stream is done.
        headers : sequence of JpegHeader
            Theirs.

        Returns
        -------
        list of uint8 Tensor (height, width, 3) or None
            On the device, RGB as stored, not turned by EXIF; None: Pillow is to look at this file.
        """
        if not files:
            return []
        factors = np.array([_FACTORS[header.kind.sampling] for header in headers], np.int64)
        full = np.array([(header.height, header.width) for header in headers], np.int64)
        chroma = np.where(factors, -(-full // np.maximum(factors, 1)), 0)
        sizes = np.stack([full, chroma, chroma], axis=1)
        planes, starts = allocate(sizes.prod(2).reshape(-1), self._device)
        planes.zero_()  # an engine may leave out what is damaged: then not to be what was there before
        starts = np.where(sizes.all(2), planes.data_ptr() + starts.reshape(-1, 3), 0)
        is_done = self._engine.decode(files, sizes, starts)
        pictures, addresses = allocate_pictures(full, self._device)
        orders = np.empty((len(files), COLOUR_FIELDS), np.int64)
        orders[:, :3], orders[:, 3], orders[:, 4:6] = starts, addresses, full
        orders[:, 6:8], orders[:, 8:] = chroma, factors
        done = np.flatnonzero(is_done)
        for own in alike(*full[done].T) if len(done) else ():
            height, width = full[done[own]].max(0)
            grid = (len(own), int(height), -(-int(width) // COLOUR_BLOCK))
            launch(make_colours, grid, send(orders[done[own]], self._device))
        return [picture if each else None for picture, each in zip(pictures, is_done, strict=True)]
