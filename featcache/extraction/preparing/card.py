"""Pictures prepared on a GPU, many together: what its engine takes is decoded there, all are resized there."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featcache.encoders.base import device_preprocessor
from featcache.extraction.preparing.card_loading import (
    Found,
    Loaded,
    Pixels,
    PixelSpace,
    divide_by_pixels,
    load_picture,
)
from featcache.extraction.preparing.card_tools import BatchDecoder, Perturber, Resizer
from featcache.extraction.preparing.card_trust import Trust
from featcache.extraction.preparing.recipe import STEPS, Prepared, Reading, Recipe
from featcache.pictures.card.turning import turn_picture
from featcache.pictures.checked_decoder import DECODED, Doubt, Way
from featcache.pictures.jpeg_kind import JpegKind

if TYPE_CHECKING:
    from torch import Tensor
    from torch.cuda import Stream

    from featcache.pictures.preprocess import Preprocessor
    from featcache.pictures.views import View

__all__ = ["Card"]

_LOGGER = logging.getLogger(__name__)
_MOST_FAILURES = 3
_PIXELS_AT_ONCE = 1 << 29

_Work: TypeAlias = tuple[Reading, Loaded | Pixels]
_Made: TypeAlias = "tuple[Mapping[int, Tensor], tuple[float, ...]]"
"""The products of a picture, and its times by step."""


class Card:
    """What a GPU does, and how far it is trusted; for one thread, but for what is asked before a picture is decoded.

    Parameters
    ----------
    recipe : Recipe
        What the products are.
    decoder : BatchDecoder or None
        None: the CPU decodes everything.
    resizers : mapping of product to Resizer
        Of the products that can be made on the device, by the same library; their encoders take tensors of it.
    perturber : Perturber, optional
        Needed for products of other views than the clean one.
    stream : torch.cuda.Stream, optional
        Where the device does it; None where the device is a CPU, which has none.
    hint : str
        What to tell of a decoder that is missing.

    Attributes
    ----------
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
    Work on a GPU waits for what was queued before it on the same stream, and for nothing else: on one of its own a
    window is prepared while the forward of the one before runs on the main thread's. Two things keep that sound. All
    that `prepare` queued is done when it returns (it waits without the interpreter's lock): any stream may read the
    tensors. And who does tells torch (``record_stream``), as `featcache.encoders.transfer.send_stacked`: else their
    memory, once the host lets go of them, would be the next window's, although the forward may not have read it yet.
    """

    def __init__(
        self,
        recipe: Recipe,
        decoder: BatchDecoder | None,
        resizers: Mapping[int, Resizer],
        *,
        perturber: Perturber | None = None,
        stream: Stream | None = None,
        hint: str = "",
    ) -> None:
        self.recipe = recipe
        self._perturber = perturber
        self._stream = stream
        self.decoder = decoder
        self.resizers = resizers
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

    def working(self) -> AbstractContextManager[Any]:
        """Return a context whose work on the device is queued on the card's stream; of the thread that enters it."""
        import torch

        return torch.cuda.stream(self._stream)

    def prepare(self, work: Sequence[_Work]) -> list[Prepared | None]:
        """Make the products of pictures: tensors of the device, for any stream; None of one that is for the CPU.

        As many at a time as have 0.5 gigapixels; half of these, and half of those, where the device fails.
        """
        with self.working():
            parts = divide_by_pixels([loaded for _, loaded in work], _PIXELS_AT_ONCE)
            return [prepared for part in parts for prepared in self._try(work[part])]

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

    def _try(self, work: Sequence[_Work]) -> list[Prepared | None]:
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
                each and Prepared(reading, each[0], {}, each[1], self._way(loaded))
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
            reason = f"failed {_MOST_FAILURES} times, at last with {failure}"
            self.doubts.append(Doubt(next(iter(self.makers)), reason, None, is_resizer=self.decoder is None))
        return [None]

    def _make_room(self) -> None:
        """Give back what torch keeps for itself: decoders take memory beside it."""
        if self._stream is not None:
            import torch

            torch.cuda.empty_cache()

    def _make(self, work: Sequence[_Work]) -> list[_Made | None]:
        """Bring pictures to the device, perturb and resize them together; return the products of each and its times."""
        clock = [time.perf_counter()]
        upright: list[Tensor | None] = [None] * len(work)
        files = [(i, loaded) for i, (_, loaded) in enumerate(work) if isinstance(loaded, Loaded)]
        decoded = {i: loaded.levels for i, (_, loaded) in enumerate(work) if isinstance(loaded, Pixels)}
        try:
            for i, picture in self._decode(files) if files else ():
                upright[i] = picture
            clock.append(time.perf_counter())
            for i, sent in zip(decoded, self.upload(list(decoded.values())), strict=True):
                upright[i] = sent
            made = self._products(work, upright)
        finally:  # also where it fails: until then the device reads the files
            if self._stream is not None:
                self._stream.synchronize()
        clock.append(time.perf_counter())
        decode, resize = (b - a for a, b in pairwise(clock))
        times = decode / max(1, len(files)), resize / len(work)
        return [(made[i], _seconds(loaded, *times)) if i in made else None for i, (_, loaded) in enumerate(work)]

    def _decode(self, files: Sequence[tuple[int, Loaded]]) -> Iterator[tuple[int, Tensor | None]]:
        """Decode and turn pictures, each with its place in the work."""
        assert self.decoder is not None
        pictures = self.decoder.decode([each.data for _, each in files], [each.header for _, each in files])
        for picture, (i, loaded) in zip(pictures, files, strict=True):
            yield i, None if picture is None else turn_picture(picture, loaded.turn)

    def upload(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Tensor]:
        """Begin to copy (height, width, 3) pictures to the device, on the current stream."""
        import torch

        from featcache.pictures.card.uploading import upload_pictures

        device = torch.device("cpu") if self._stream is None else self._stream.device
        return upload_pictures(pictures, device)

    def _products(self, work: Sequence[_Work], upright: Sequence[Tensor | None]) -> dict[int, dict[int, Tensor]]:
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

    def _way(self, loaded: Loaded | Pixels) -> Way:
        """Return the way of a picture: the same one for all of a kind, or for all that the CPU decoded for a reason."""
        known = loaded.header.kind if isinstance(loaded, Loaded) else loaded.why
        if known not in self._ways:
            *decoder, resizer = self.makers
            if isinstance(known, str):
                self._ways[known] = Way(why=known, kind=DECODED, resizer=resizer)
            else:
                self._ways[known] = Way(decoder[0], kind=known)
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


def _seconds(loaded: Loaded | Pixels, decode: float, resize: float) -> tuple[float, ...]:
    """Return the times of a picture by step: what the CPU decoded has its own."""
    decode = loaded.decode_seconds if isinstance(loaded, Pixels) else decode
    spent = {"read": loaded.seconds, "decode": decode, "resize": resize}
    return tuple(spent.get(step, 0.0) for step in STEPS)
