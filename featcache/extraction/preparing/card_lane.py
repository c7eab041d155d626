"""What works on one stream of a GPU: pictures come to it, are perturbed and resized there, many together."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featcache.extraction.preparing.card_loading import Loaded, Pixels
from featcache.extraction.preparing.card_tools import BatchDecoder, Perturber, Resizer
from featcache.extraction.preparing.recipe import STEPS, Reading
from featcache.pictures.card.turning import turn_picture

if TYPE_CHECKING:
    from torch import Tensor
    from torch.cuda import Stream

    from featcache.pictures.views import View

__all__ = ["CardLane", "Made", "Work"]

Work: TypeAlias = tuple[Reading, Loaded | Pixels]
Made: TypeAlias = "tuple[Mapping[int, Tensor], tuple[float, ...]]"
"""The products of a picture, and its times by step."""


@dataclass(frozen=True, eq=False)
class CardLane:
    """A stream of a GPU and the tools that work on it; for one thread at a time.

    What a tool keeps on the device, such as weights, it put there on the lane's stream: no other lane may use it.

    Attributes
    ----------
    decoder : BatchDecoder or None
        None: the CPU decodes everything.
    resizers : mapping of product to Resizer
        Of the products that can be made on the device, by the same library; their encoders take tensors of it.
    perturber : Perturber, optional
        Needed for products of other views than the clean one.
    stream : torch.cuda.Stream, optional
        None where the device is a CPU, which has none.
    """

    decoder: BatchDecoder | None
    resizers: Mapping[int, Resizer] = field(default_factory=dict)
    perturber: Perturber | None = None
    stream: Stream | None = None

    def working(self) -> AbstractContextManager[Any]:
        """Return a context whose work on the device is queued on the stream; of the thread that enters it."""
        import torch

        return torch.cuda.stream(self.stream)

    def make_room(self) -> None:
        """Give back what torch keeps for itself: decoders take memory beside it."""
        if self.stream is not None:
            import torch

            torch.cuda.empty_cache()

    def make(self, work: Sequence[Work], by_view: Mapping[View, set[int]]) -> list[Made | None]:
        """Bring pictures to the device, perturb and resize them together; wait for it, without the interpreter's lock.

        Parameters
        ----------
        work : sequence of (Reading, Loaded or Pixels)
            The pictures.
        by_view : mapping of View to set of int
            The products that there are, by their views.

        Returns
        -------
        list of (dict of product to Tensor, tuple of float) or None
            The products of each and its times; None of one that is for the CPU.
        """
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
            made = self._products(work, upright, by_view)
        finally:  # also where it fails: until then the device reads the files
            if self.stream is not None:
                self.stream.synchronize()
        clock.append(time.perf_counter())
        decode, resize = (b - a for a, b in pairwise(clock))
        times = decode / max(1, len(files)), resize / len(work)
        return [(made[i], _seconds(loaded, *times)) if i in made else None for i, (_, loaded) in enumerate(work)]

    def upload(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Tensor]:
        """Begin to copy (height, width, 3) pictures to the device, on the current stream."""
        import torch

        from featcache.pictures.card.uploading import upload_pictures

        device = torch.device("cpu") if self.stream is None else self.stream.device
        return upload_pictures(pictures, device)

    def under(self, view: View, pictures: Sequence[Tensor], keys: Sequence[bytes]) -> Sequence[Tensor | None]:
        """Return pictures, of which these are the hashes, under a view; None of one that is for the CPU."""
        if view.is_clean:
            return pictures
        assert self.perturber is not None
        return self.perturber.apply(view, pictures, keys)

    def _decode(self, files: Sequence[tuple[int, Loaded]]) -> Iterator[tuple[int, Tensor | None]]:
        """Decode and turn pictures, each with its place in the work."""
        assert self.decoder is not None
        pictures = self.decoder.decode([each.data for _, each in files], [each.header for _, each in files])
        for picture, (i, loaded) in zip(pictures, files, strict=True):
            yield i, None if picture is None else turn_picture(picture, loaded.turn)

    def _products(
        self, work: Sequence[Work], upright: Sequence[Tensor | None], by_view: Mapping[View, set[int]]
    ) -> dict[int, dict[int, Tensor]]:
        """Make the products of pictures, one view after the other; those that are for the CPU are left out."""
        made: dict[int, dict[int, Tensor]] = {i: {} for i, picture in enumerate(upright) if picture is not None}
        for view, products in by_view.items():
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


def _seconds(loaded: Loaded | Pixels, decode: float, resize: float) -> tuple[float, ...]:
    """Return the times of a picture by step: what the CPU decoded has its own."""
    decode = loaded.decode_seconds if isinstance(loaded, Pixels) else decode
    spent = {"read": loaded.seconds, "decode": decode, "resize": resize}
    return tuple(spent.get(step, 0.0) for step in STEPS)
