"""Pictures prepared on a GPU, many together: what the engine takes is decoded, turned and resized there."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featcache.encoders.base import device_preprocessor
from featcache.extraction.preparing.card_loading import Loaded, load_picture
from featcache.extraction.preparing.card_trust import Trust
from featcache.extraction.preparing.recipe import STEPS, Prepared, Reading, Recipe
from featcache.pictures.card.turning import turn_picture
from featcache.pictures.checked_decoder import Doubt, Way
from featcache.pictures.jpeg_kind import JpegHeader, JpegKind

if TYPE_CHECKING:
    from torch import Tensor
    from torch.cuda import Stream

    from featcache.pictures.preprocess import Preprocessor
    from featcache.pictures.views import View

__all__ = ["BatchDecoder", "Card", "Resizer"]

_LOGGER = logging.getLogger(__name__)
_MOST_FAILURES = 3
_PIXELS_AT_ONCE = 1 << 29

_Made: TypeAlias = "tuple[Mapping[int, Tensor], tuple[float, ...]]"
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

    def resize(self, pictures: Sequence[Tensor]) -> Tensor:
        """Begin, on the current stream, to make (n, height, width, 3) uint8 on the device."""
        ...


class Perturber(Protocol):
    """Makes views of pictures on a device; see `featcache.pictures.card.views.CardViews`."""

    def apply(self, view: View, pictures: Sequence[Tensor], keys: Sequence[bytes]) -> list[Tensor | None]:
        """Begin, on the current stream, to make what `View.apply` does; None where the CPU is to say why not."""
        ...


class Card:
    """What a GPU does, and how far it is trusted; for one thread, but for what is asked before a picture is decoded.

    Parameters
    ----------
    recipe : Recipe
        What the products are.
    decoder : BatchDecoder
    resizers : mapping of product to Resizer
        Of the products that can be made on the device; their encoders take tensors of it.
    perturber : Perturber, optional
        Needed for products of other views than the clean one.
    stream : torch.cuda.Stream, optional
        Where the device does it; None where the device is a CPU, which has none.

    Attributes
    ----------
    trust : Trust
        In what the decoder and the resizers make.
    is_given_up : bool
        Whether it failed too often to be asked again.
    doubts : deque of Doubt
        What is to be told with the next picture.

    Notes
    -----
    Work on a GPU waits for what was queued before it on the same stream, and for nothing else: on one of its own a
    window is prepared while the forward of the one before runs on the main thread's. Two things keep that sound. All
    that `prepare` queued is done when it returns (it waits without the interpreter's lock): any stream may read the
    tensors. And who does tells torch (``record_stream``), as `featcache.encoders.transfer.send_stacked`: else their
    memory, once the host lets go of them, would be the next window's, although the forward may not have read it yet.
    """

    def __init__(
        self,
        recipe: Recipe,
        decoder: BatchDecoder,
        resizers: Mapping[int, Resizer],
        *,
        perturber: Perturber | None = None,
        stream: Stream | None = None,
    ) -> None:
        self.recipe = recipe
        self._perturber = perturber
        self._stream = stream
        self.decoder = decoder
        self.resizers = resizers
        self._by_view: dict[View, set[int]] = {}
        for product in resizers:
            self._by_view.setdefault(recipe.products[product][0], set()).add(product)
        self.trust = Trust(decoder.name)
        self.is_given_up = False
        self.doubts: deque[Doubt] = deque()
        self._ways: dict[JpegKind, Way] = {}
        self._n_failures = 0

    def takes(self, reading: Reading) -> bool:
        """Tell whether all that a reading asks for can be made on the device."""
        return not self.is_given_up and all(product in self.resizers for product in reading.products)

    def divide(self, products: tuple[int, ...]) -> Sequence[tuple[int, ...]]:
        """Return the products that can be made on the device, and the others; what there is none of is left out."""
        mine = () if self.is_given_up else tuple(each for each in products if each in self.resizers)
        return [part for part in (mine, tuple(each for each in products if each not in mine)) if part]

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

    def working(self) -> AbstractContextManager[Any]:
        """Return a context whose work on the device is queued on the card's stream; of the thread that enters it."""
        import torch

        return torch.cuda.stream(self._stream)

    def prepare(self, work: Sequence[tuple[Reading, Loaded]]) -> list[Prepared | None]:
        """Make the products of pictures: tensors of the device, for any stream; None of one that is for the CPU.

        As many at a time as have 0.5 gigapixels; half of these, and half of those, where the device fails.
        """
        with self.working():
            return [prepared for part in _parts(work) for prepared in self._try(part)]

    def fetch(self, made: Prepared) -> dict[int, NDArray[np.uint8]]:
        """Return what the device made of a picture, in the memory of the host; nothing if it fails."""
        try:
            with self.working():  # on another stream it would wait for the forwards there
                return {
                    product: own if isinstance(own, np.ndarray) else own.cpu().numpy()
                    for product, own in made.inputs.items()
                }
        except Exception:  # whatever a driver raises
            return {}

    def _try(self, work: Sequence[tuple[Reading, Loaded]]) -> list[Prepared | None]:
        if self.is_given_up:
            return [None] * len(work)
        made: list[_Made | None] = []
        try:
            made = self._make(work)
        except Exception as error:  # out of memory, or whatever a driver raises
            _LOGGER.debug("the GPU failed with %d pictures", len(work), exc_info=True)
            failure = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        if made:
            return [
                each and Prepared(reading, each[0], {}, each[1], self._way(loaded.header.kind))
                for (reading, loaded), each in zip(work, made, strict=True)
            ]
        # Behind the block: its traceback would keep what the device has in memory.
        self._make_room()
        if len(work) > 1:
            middle = len(work) // 2
            return [*self._try(work[:middle]), *self._try(work[middle:])]
        self._n_failures += 1
        if self._n_failures == _MOST_FAILURES:
            self.is_given_up = True
            self.doubts.append(Doubt(self.decoder.name, f"failed {_MOST_FAILURES} times, at last with {failure}", None))
        return [None]

    def _make_room(self) -> None:
        """Give back what torch keeps for itself: decoders take memory beside it."""
        if self._stream is not None:
            import torch

            torch.cuda.empty_cache()

    def _make(self, work: Sequence[tuple[Reading, Loaded]]) -> list[_Made | None]:
        """Decode, turn and resize pictures together; return the products of each and its times."""
        clock = [time.perf_counter()]
        try:
            pictures = self.decoder.decode([loaded.data for _, loaded in work], [loaded.header for _, loaded in work])
            upright = [_upright(picture, loaded) for picture, (_, loaded) in zip(pictures, work, strict=True)]
            clock.append(time.perf_counter())
            made = self._products(work, upright)
        finally:  # also where it fails: until then the device reads the files
            if self._stream is not None:
                self._stream.synchronize()
        clock.append(time.perf_counter())
        spent = dict(zip(("decode", "resize"), ((b - a) / len(work) for a, b in pairwise(clock)), strict=True))
        others = [spent.get(step, 0.0) for step in STEPS[1:]]
        return [(made[i], (loaded.seconds, *others)) if i in made else None for i, (_, loaded) in enumerate(work)]

    def _products(
        self, work: Sequence[tuple[Reading, Loaded]], upright: Sequence[Tensor | None]
    ) -> dict[int, dict[int, Tensor]]:
        """Make the products of pictures, one view after the other; those that are for the CPU are left out."""
        made: dict[int, dict[int, Tensor]] = {i: {} for i, picture in enumerate(upright) if picture is not None}
        for view, products in self._by_view.items():
            wanted = [i for i in made if not products.isdisjoint(work[i][0].products)]
            pictures = [each for i in wanted if (each := upright[i]) is not None]
            seen = dict(zip(wanted, self.under(view, pictures, [work[i][0].key for i in wanted]), strict=True))
            for i in [i for i, each in seen.items() if each is None]:
                del made[i]
            for product in products:
                chosen = {i: each for i, each in seen.items() if each is not None and product in work[i][0].products}
                rows = self.resizers[product].resize(list(chosen.values())).unbind() if chosen else ()
                for i, own in zip(chosen, rows, strict=True):
                    made[i][product] = own
        return made

    def under(self, view: View, pictures: Sequence[Tensor], keys: Sequence[bytes]) -> Sequence[Tensor | None]:
        """Return pictures, of which these are the hashes, under a view; None of one that is for the CPU."""
        if view.is_clean:
            return pictures
        assert self._perturber is not None
        return self._perturber.apply(view, pictures, keys)

    def _way(self, kind: JpegKind) -> Way:
        """Return the way of pictures of a kind: the same one for all."""
        way = self._ways.get(kind)
        if way is None:
            way = self._ways[kind] = Way(self.decoder.name, kind=kind)
        return way

    @staticmethod
    def products_of(recipe: Recipe) -> dict[int, Preprocessor]:
        """Return the products that a device could make: of pictures at full size, resized, under views but JPEG."""
        if recipe.at_least is not None:
            return {}
        found = {i: device_preprocessor(spec) for i, (view, spec) in enumerate(recipe.products) if _is_made(view)}
        return {i: preprocessor for i, preprocessor in found.items() if preprocessor is not None}


def _is_made(view: View) -> bool:
    return all(part.kind != "jpeg" for part in view.parts)


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


def _upright(picture: Tensor | None, loaded: Loaded) -> Tensor | None:
    return None if picture is None else turn_picture(picture, loaded.turn)
