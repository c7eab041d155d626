"""Pictures prepared on a GPU, many together: what the engine takes is decoded, turned and resized there."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Transpose

from featcache.encoders.vision import ImageSpec
from featcache.extraction.preparing.card_loading import Loaded, load_picture
from featcache.extraction.preparing.card_trust import Trust
from featcache.extraction.preparing.recipe import STEPS, Prepared, Reading, Recipe
from featcache.pictures.checked_decoder import Doubt, Way
from featcache.pictures.jpeg_kind import JpegHeader, JpegKind

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BatchDecoder", "Card", "Resizer"]

_MOST_FAILURES = 3
_PIXELS_AT_ONCE = 1 << 29

_Made = tuple[Mapping[int, NDArray[np.uint8]], tuple[float, ...]]
"""The products of a picture, and its times by step."""


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

    def resize(self, pictures: Sequence[Tensor]) -> NDArray[np.uint8]:
        """Return (n, height, width, 3)."""
        ...


class Card:
    """What a GPU does, and how far it is trusted; for one thread, but for what is asked before a picture is decoded.

    Parameters
    ----------
    recipe : Recipe
        What the products are.
    decoder : BatchDecoder
    resizers : mapping of product to Resizer
        Of the products that can be made on the device.

    Attributes
    ----------
    trust : Trust
        In what the decoder and the resizers make.
    is_given_up : bool
        Whether it failed too often to be asked again.
    doubts : deque of Doubt
        What is to be told with the next picture.
    """

    def __init__(self, recipe: Recipe, decoder: BatchDecoder, resizers: Mapping[int, Resizer]) -> None:
        self.recipe = recipe
        self.decoder = decoder
        self.resizers = resizers
        self.trust = Trust(decoder.name)
        self.is_given_up = False
        self.doubts: deque[Doubt] = deque()
        self._ways: dict[JpegKind, Way] = {}
        self._n_failures = 0

    def takes(self, reading: Reading) -> bool:
        """Tell whether all that a reading asks for can be made on the device."""
        return not self.is_given_up and all(product in self.resizers for product in reading.products)

    def why_not(self, kind: JpegKind) -> str:
        """Return why the CPU decodes pictures of a kind, as a `Way` says it; empty if it does not."""
        if self.is_given_up or kind in self.trust.distrusted:
            return "not trusted"
        return "" if self.decoder.takes(kind) else str(kind)

    def load(self, reading: Reading) -> Loaded | str:
        """Read a picture; why it is for the CPU if it is, as a `Way` says it."""
        found = load_picture(reading.image, reading.key, lambda kind: bool(self.why_not(kind)))
        if isinstance(found, Loaded):
            return found
        return (found.kind and self.why_not(found.kind)) or found.why

    def prepare(self, work: Sequence[tuple[Reading, Loaded]]) -> list[Prepared | None]:
        """Make the products of pictures; None of one that is for the CPU.

        As many at a time as have 0.5 gigapixels; half of these, and half of those, where the device fails.
        """
        return [prepared for part in _parts(work) for prepared in self._try(part)]

    def fetch(self, made: Prepared) -> dict[int, NDArray[np.uint8]]:
        """Return what the device made of a picture, in the memory of the host."""
        return dict(made.inputs)

    def _try(self, work: Sequence[tuple[Reading, Loaded]]) -> list[Prepared | None]:
        if self.is_given_up:
            return [None] * len(work)
        made: list[_Made | None] = []
        try:
            made = self._make(work)
        except Exception as error:  # out of memory, or whatever a driver raises
            failure = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        if made:
            return [
                each and Prepared(reading, each[0], {}, each[1], self._way(loaded.header.kind))
                for (reading, loaded), each in zip(work, made, strict=True)
            ]
        # Behind the block: its traceback would keep what the device has in memory.
        if len(work) > 1:
            middle = len(work) // 2
            return [*self._try(work[:middle]), *self._try(work[middle:])]
        self._n_failures += 1
        if self._n_failures == _MOST_FAILURES:
            self.is_given_up = True
            self.doubts.append(Doubt(self.decoder.name, f"failed {_MOST_FAILURES} times, at last with {failure}", None))
        return [None]

    def _make(self, work: Sequence[tuple[Reading, Loaded]]) -> list[_Made | None]:
        """Decode, turn and resize pictures together; return the products of each and its times."""
        clock = [time.perf_counter()]
        files = [loaded.data for _, loaded in work]
        pictures = self.decoder.decode(files, [loaded.header for _, loaded in work])
        upright = [
            _upright(picture, loaded) if picture is not None and _is_of(picture, loaded.header) else None
            for picture, (_, loaded) in zip(pictures, work, strict=True)
        ]
        clock.append(time.perf_counter())
        made: list[dict[int, NDArray[np.uint8]]] = [{} for _ in work]
        for product, resizer in self.resizers.items():
            chosen = [i for i, each in enumerate(upright) if each is not None and product in work[i][0].products]
            if chosen:
                pixels = resizer.resize([each for i in chosen if (each := upright[i]) is not None])
                for i, own in zip(chosen, pixels, strict=True):
                    made[i][product] = own
        clock.append(time.perf_counter())
        decode, resize = ((later - earlier) / len(work) for earlier, later in pairwise(clock))
        return [
            None if picture is None else (inputs, _seconds(read=loaded.seconds, decode=decode, resize=resize))
            for (_, loaded), picture, inputs in zip(work, upright, made, strict=True)
        ]

    def _way(self, kind: JpegKind) -> Way:
        """Return the way of pictures of a kind: the same one for all."""
        way = self._ways.get(kind)
        if way is None:
            way = self._ways[kind] = Way(self.decoder.name, kind=kind)
        return way

    @staticmethod
    def products_of(recipe: Recipe) -> dict[int, ImageSpec]:
        """Return the products that a device could make: of the picture itself, at its full size, resized."""
        if recipe.at_least is not None:
            return {}
        products = enumerate(recipe.products)
        return {i: spec for i, (view, spec) in products if view.is_clean and isinstance(spec, ImageSpec)}


def _parts(work: Sequence[tuple[Reading, Loaded]]) -> Iterator[Sequence[tuple[Reading, Loaded]]]:
    """Divide pictures into runs that have so many pixels together as may be on the device at once."""
    start = n_pixels = 0
    for i, (_, loaded) in enumerate(work):
        own = loaded.header.width * loaded.header.height
        if n_pixels + own > _PIXELS_AT_ONCE and i > start:
            yield work[start:i]
            start, n_pixels = i, 0
        n_pixels += own
    if start < len(work):
        yield work[start:]


def _seconds(**spent: float) -> tuple[float, ...]:
    return tuple(spent.get(step, 0.0) for step in STEPS)


def _is_of(picture: Tensor, header: JpegHeader) -> bool:
    """Tell whether a decoder made a picture of the size that the header states."""
    return tuple(picture.shape) == (header.height, header.width, 3)


def _upright(picture: Tensor, loaded: Loaded) -> Tensor:
    """Turn a picture as `PIL.Image.Image.transpose` does."""
    match loaded.turn:
        case None:
            return picture
        case Transpose.FLIP_LEFT_RIGHT:
            turned = picture.flip(1)
        case Transpose.ROTATE_180:
            turned = picture.flip(0, 1)
        case Transpose.FLIP_TOP_BOTTOM:
            turned = picture.flip(0)
        case Transpose.TRANSPOSE:
            turned = picture.transpose(0, 1)
        case Transpose.ROTATE_270:
            turned = picture.transpose(0, 1).flip(1)
        case Transpose.TRANSVERSE:
            turned = picture.transpose(0, 1).flip(0, 1)
        case Transpose.ROTATE_90:
            turned = picture.transpose(0, 1).flip(0)
    return turned.contiguous()
