"""Pictures prepared on a GPU, many together: what its engine takes is decoded there, all are resized there."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.encoders.base import device_preprocessor
from featcache.extraction.preparing.card_lane import CardLane, Made, Work
from featcache.extraction.preparing.card_loading import (
    Found,
    Loaded,
    Pixels,
    PixelSpace,
    divide_by_pixels,
    load_picture,
)
from featcache.extraction.preparing.card_trust import Trust
from featcache.extraction.preparing.recipe import Prepared, Reading, Recipe
from featcache.pictures.checked_decoder import DECODED, Doubt, Way
from featcache.pictures.jpeg_kind import JpegKind

if TYPE_CHECKING:
    from torch.cuda import Stream

    from featcache.pictures.preprocess import Preprocessor
    from featcache.pictures.views import View

__all__ = ["Card"]

_LOGGER = logging.getLogger(__name__)
_MOST_FAILURES = 3
_PIXELS_AT_ONCE = 1 << 29


class Card:
    """What a GPU does, and how far it is trusted.

    Parameters
    ----------
    recipe : Recipe
        What the products are.
    *lanes : CardLane
        At least one. They do the same: while the device works for one, a thread has another's work queued.
    hint : str
        What to tell of a decoder that is missing.

    Attributes
    ----------
    lanes : tuple of CardLane
        Each is for one thread at a time.
    decoder, resizers
        Of the first lane: those of all are alike.
    makers : dict of str to str
        Versions of who decodes and who resizes, by their names.
    trust : Trust
        In what the decoder and the resizers make.
    is_given_up : bool
        Whether it failed too often to be asked again.
    doubts : deque of Doubt
        What is to be told with the next picture.

    Notes
    -----
    Work on a GPU waits for what was queued before it on the same stream, and for nothing else: on those of the lanes
    windows are prepared while the forward of one before runs on the main thread's. Two things keep that sound. All
    that `prepare` queued is done when it returns (it waits without the interpreter's lock): any stream may read the
    tensors. And who does tells torch (``record_stream``), as `featcache.encoders.transfer.send_stacked`: else their
    memory, once the host lets go of them, would be the next window's, although the forward may not have read it yet.
    """

    def __init__(self, recipe: Recipe, *lanes: CardLane, hint: str = "") -> None:
        self.recipe = recipe
        self.lanes = lanes
        self.decoder, self.resizers = decoder, resizers = lanes[0].decoder, lanes[0].resizers
        self.hint = hint
        self.makers = {} if decoder is None else {decoder.name: decoder.version}
        self.makers |= {each.name: each.version for each in resizers.values()}
        self._by_view: dict[View, set[int]] = {}
        for product in resizers:
            self._by_view.setdefault(recipe.products[product][0], set()).add(product)
        self.trust = Trust(self.makers)
        self.is_given_up = False
        self.doubts: deque[Doubt] = deque()
        self._ways: dict[JpegKind | str, Way] = {}
        self._copies: Stream | None = None
        self._counting = Lock()
        self._n_failures = 0

    def takes(self, reading: Reading) -> bool:
        """Tell whether all that a reading asks for can be made on the device."""
        return self.is_trusted and all(product in self.resizers for product in reading.products)

    def divide(self, products: tuple[int, ...]) -> Sequence[tuple[int, ...]]:
        """Return the products that can be made on the device, and the others; what there is none of is left out."""
        mine = tuple(each for each in products if each in self.resizers) if self.is_trusted else ()
        return [part for part in (mine, tuple(each for each in products if each not in mine)) if part]

    @property
    def is_trusted(self) -> bool:
        """Whether there is something that it is trusted with: nothing is where what resizes all is not."""
        return not self.is_given_up and self.trust.is_left

    @property
    def untrusted(self) -> str:
        """Why nothing is for it, as a `Way` says it; empty while something is."""
        return "" if self.is_trusted else "not trusted"

    def why_not(self, kind: JpegKind) -> str:
        """Return why the CPU decodes pictures of a kind, as a `Way` says it; empty if it does not."""
        if not self.is_trusted or kind in self.trust.distrusted:
            return "not trusted"
        return "" if self.decoder is None or self.decoder.takes(kind) else str(kind)

    def load(self, reading: Reading, space: PixelSpace, n_bytes: int) -> Found:
        """Read a picture, and decode it as `load_picture` does; why it is for the CPU if it is, as a `Way` says it."""
        is_out = (lambda kind: bool(self.why_not(kind))) if self.decoder else None
        found = load_picture(reading.image, reading.key, is_out, space=space, n_bytes=n_bytes)
        if isinstance(found, Loaded):
            return found
        why = (found.kind and self.why_not(found.kind)) or found.why
        return replace(found, why=why) if isinstance(found, Pixels) else why

    def prepare(self, work: Sequence[Work], lane: int = 0) -> list[Prepared | None]:
        """Make the products of pictures: tensors of the device, for any stream; None of one that is for the CPU.

        As many at a time as have, in all lanes, 0.5 gigapixels; half of these, and half of those, where it fails. The
        lane, by its number, is to have no other work.
        """
        own = self.lanes[lane]
        with own.working():
            parts = divide_by_pixels([loaded for _, loaded in work], _PIXELS_AT_ONCE // len(self.lanes))
            return [prepared for part in parts for prepared in self._try(own, work[part])]

    def fetch(self, made: Prepared) -> dict[int, NDArray[np.uint8]]:
        """Return what the device made of a picture, in the memory of the host; nothing if it fails."""
        try:
            with self._copying():
                return {
                    product: own if isinstance(own, np.ndarray) else own.cpu().numpy()
                    for product, own in made.inputs.items()
                }
        except Exception:  # whatever a driver raises
            return {}

    def _copying(self) -> AbstractContextManager[Any]:
        """Return a context on a stream of its own: copies back are to wait for no forward, and for no lane."""
        import torch

        stream = self.lanes[0].stream
        if self._copies is None and stream is not None:
            with torch.cuda.device(stream.device):
                self._copies = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        return torch.cuda.stream(self._copies)

    def _try(self, lane: CardLane, work: Sequence[Work]) -> list[Prepared | None]:
        if self.is_given_up:
            return [None] * len(work)
        made: list[Made | None] = []
        try:
            made = lane.make(work, self._by_view)
        except Exception as error:  # out of memory, or whatever a driver raises
            _LOGGER.debug("the GPU failed with %d pictures", len(work), exc_info=True)
            failure = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        if made:
            return [
                each and Prepared(reading, each[0], {}, each[1], self._way(loaded))
                for (reading, loaded), each in zip(work, made, strict=True)
            ]
        # Behind the block: its traceback would keep what the device has in memory.
        lane.make_room()
        if len(work) > 1:
            middle = len(work) // 2
            return [*self._try(lane, work[:middle]), *self._try(lane, work[middle:])]
        with self._counting:
            self._n_failures += 1
            if self._n_failures == _MOST_FAILURES:
                self.is_given_up = True
                reason = f"failed {_MOST_FAILURES} times, at last with {failure}"
                self.doubts.append(Doubt(next(iter(self.makers)), reason, None, is_resizer=self.decoder is None))
        return [None]

    def _way(self, loaded: Loaded | Pixels) -> Way:
        """Return the way of a picture: the same one for all of a kind, or for all that the CPU decoded for a reason."""
        known = loaded.header.kind if isinstance(loaded, Loaded) else loaded.why
        if known not in self._ways:
            *decoder, resizer = self.makers
            if isinstance(known, str):
                way = Way(why=known, kind=DECODED, resizer=resizer)
            else:
                way = Way(decoder[0], kind=known)
            self._ways.setdefault(known, way)
        return self._ways[known]

    @staticmethod
    def products_of(recipe: Recipe) -> dict[int, Preprocessor]:
        """Return the products that a device could make: of pictures at full size, resized, under views but JPEG."""
        if recipe.at_least is not None:
            return {}
        found = {i: device_preprocessor(spec) for i, (view, spec) in enumerate(recipe.products) if _is_made(view)}
        return {i: preprocessor for i, preprocessor in found.items() if preprocessor is not None}


def _is_made(view: View) -> bool:
    return all(part.kind != "jpeg" for part in view.parts)
