"""Pictures prepared on a GPU, many together: what the engine takes is decoded, turned and resized there.

What it made of samples is compared with what Pillow makes, as with every decoder beside Pillow.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from PIL import Image
from PIL.Image import Transpose

from featcache.encoders.vision import ImageSpec
from featcache.extraction.preparing.recipe import STEPS, Prepared, Reading, Recipe, prepare
from featcache.files.picture_formats import HEAD_BYTES, format_of_bytes
from featcache.pictures.card.turning import turn_picture
from featcache.pictures.checked_decoder import Doubt, Way
from featcache.pictures.decode import MAX_ASPECT, MAX_PIXELS
from featcache.pictures.jpeg_kind import JpegHeader, JpegKind, read_jpeg_header
from featcache.pictures.orientation import TURNS, orientation_of
from featcache.pictures.quiet import quietly

if TYPE_CHECKING:
    from torch import Tensor
    from torch.cuda import Stream

__all__ = ["BatchDecoder", "Card", "Loaded", "Resizer"]

_FIRST_OF_A_KIND = 2
_MOST_FAILURES = 3
_PIXELS_AT_ONCE = 1 << 29

_AFTER_SCAN = re.compile(rb"\xff+([^\xff\x00\xd0-\xd7])")
"""The first marker of a scan that is no restart: where the file is sound, its end."""
_END = b"\xd9"

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


@dataclass(frozen=True)
class Loaded:
    """The bytes of a picture that the card can do.

    Attributes
    ----------
    data : bytes
        They are those that were hashed.
    header : JpegHeader
    turn : Transpose or None
        How it is to be turned to stand upright.
    seconds : float
        That reading took.
    """

    data: bytes
    header: JpegHeader
    turn: Transpose | None
    seconds: float


class Card:
    """What a GPU does, and how far it is trusted; for one thread, but for `load`.

    Parameters
    ----------
    recipe : Recipe
        What the products are.
    decoder : BatchDecoder
    resizers : mapping of product to Resizer
        Of the products that can be made on the device; their encoders take tensors of it.
    stream : torch.cuda.Stream, optional
        Where the device does it; None where the device is a CPU, which has none.

    Notes
    -----
    Work on a GPU waits for what was queued before it on the same stream, and for nothing else: on one of its own a
    window is prepared while the forward of the one before runs on the main thread's. Two things keep that sound. All
    that `prepare` queued is done when it returns (it waits without the interpreter's lock): any stream may read the
    tensors. And who does tells torch (``record_stream``), as `featcache.encoders.transfer.send_stacked`: else their
    memory, once the host lets go of them, would be the next window's, although the forward may not have read it yet.
    """

    def __init__(
        self, recipe: Recipe, decoder: BatchDecoder, resizers: Mapping[int, Resizer], *, stream: Stream | None = None
    ) -> None:
        self.recipe = recipe
        self._stream = stream
        self._by_pillow_alone = replace(recipe, decoder=None)
        self.decoder = decoder
        self.resizers = resizers
        self._distrusted: frozenset[JpegKind] = frozenset()
        self._n_compared: Counter[JpegKind] = Counter()
        self._n_failures = 0
        self.is_given_up = False

    def takes(self, reading: Reading) -> bool:
        """Tell whether all that a reading asks for can be made on the device."""
        return not self.is_given_up and all(product in self.resizers for product in reading.products)

    def load(self, reading: Reading) -> Loaded | str:
        """Read a picture; why it is for the CPU if it is, as a `Way` says it. Any thread may ask."""
        started = time.perf_counter()
        try:
            data = reading.image.read_bytes()
        except OSError:
            return ""  # the CPU finds the same, and says so
        if self.is_given_up:
            return "not trusted"
        if (header := read_jpeg_header(data)) is None:
            return format_of_bytes(data[:HEAD_BYTES]) or "unknown"
        if header.kind in self._distrusted:
            return "not trusted"
        short, long = sorted((header.width, header.height))
        if not self.decoder.takes(header.kind) or short * long > MAX_PIXELS or long > MAX_ASPECT * short:
            return str(header.kind)
        if not _is_ended(data, header):
            return "refused"
        turn = _turn(data) if header.has_exif or header.has_xmp else None
        if not _is_same_file(data, reading.key):
            return ""
        return Loaded(data, header, turn, time.perf_counter() - started)

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

    def _try(self, work: Sequence[tuple[Reading, Loaded]]) -> list[Prepared | None]:
        if self.is_given_up:
            return [None] * len(work)
        made: list[_Made | None] = []
        try:
            made = self._make(work)
        except Exception as error:  # out of memory, or whatever a driver raises
            failure = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        if made:  # what Pillow does is no failure of the device, and its doubts stay
            return [each and self._checked(*own, *each) for own, each in zip(work, made, strict=True)]
        # Behind the block: its traceback would keep what the device has in memory.
        if len(work) > 1:
            middle = len(work) // 2
            return [*self._try(work[:middle]), *self._try(work[middle:])]
        self._n_failures += 1
        if self._n_failures < _MOST_FAILURES:
            return [None]
        self.is_given_up = True
        doubt = Doubt(self.decoder.name, f"failed {_MOST_FAILURES} times, at last with {failure}", None)
        return [self._by_pillow(*work[0], doubt)]

    def _make(self, work: Sequence[tuple[Reading, Loaded]]) -> list[_Made | None]:
        """Decode, turn and resize pictures together; return the products of each and its times."""
        clock = [time.perf_counter()]
        try:
            pictures = self.decoder.decode([loaded.data for _, loaded in work], [loaded.header for _, loaded in work])
            upright = [_upright(picture, loaded) for picture, (_, loaded) in zip(pictures, work, strict=True)]
            clock.append(time.perf_counter())
            made = self._resize(work, upright)
        finally:  # also where it fails: until then the device reads the files
            if self._stream is not None:
                self._stream.synchronize()
        clock.append(time.perf_counter())
        spent = dict(zip(("decode", "resize"), ((b - a) / len(work) for a, b in pairwise(clock)), strict=True))
        others = [spent.get(step, 0.0) for step in STEPS[1:]]
        return [
            None if picture is None else (inputs, (loaded.seconds, *others))
            for (_, loaded), picture, inputs in zip(work, upright, made, strict=True)
        ]

    def _resize(
        self, work: Sequence[tuple[Reading, Loaded]], upright: Sequence[Tensor | None]
    ) -> list[dict[int, Tensor]]:
        made: list[dict[int, Tensor]] = [{} for _ in work]
        for product, resizer in self.resizers.items():
            chosen = [i for i, each in enumerate(upright) if each is not None and product in work[i][0].products]
            if chosen:
                rows = resizer.resize([each for i in chosen if (each := upright[i]) is not None]).unbind()
                for i, own in zip(chosen, rows, strict=True):
                    made[i][product] = own
        return made

    def _checked(
        self, reading: Reading, loaded: Loaded, inputs: Mapping[int, Tensor], seconds: tuple[float, ...]
    ) -> Prepared:
        """Return what was made; of samples what Pillow makes, after a comparison."""
        kind = loaded.header.kind
        if kind in self._distrusted:
            return self._by_pillow(reading, loaded)
        way = Way(self.decoder.name, kind=kind)
        if not reading.is_sample and self._n_compared[kind] >= _FIRST_OF_A_KIND:
            return Prepared(reading, inputs, {}, seconds, way)
        expected = prepare(self._by_pillow_alone, reading, loaded.data)
        if expected.faults and not expected.inputs:  # a damaged file: there are no pixels to compare with
            return replace(expected, way=Way(why="refused"))
        self._n_compared[kind] += 1
        is_same = expected.inputs.keys() == inputs.keys() and all(
            np.array_equal(pixels, inputs[product].cpu().numpy()) for product, pixels in expected.inputs.items()
        )
        if not is_same:
            self._distrusted |= {kind}
            doubt = Doubt(self.decoder.name, f"makes other pixels than Pillow of {kind}", kind, is_wrong=True)
            way = Way(why="not trusted", doubt=doubt)
        return replace(expected, way=way)

    def _by_pillow(self, reading: Reading, loaded: Loaded, doubt: Doubt | None = None) -> Prepared:
        return replace(prepare(self._by_pillow_alone, reading, loaded.data), way=Way(why="not trusted", doubt=doubt))

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


def _is_same_file(data: bytes, key: bytes) -> bool:
    return hashlib.sha256(data).digest() == key


def _is_ended(data: bytes, header: JpegHeader) -> bool:
    """Tell whether a scan ends with its picture; engines take files with a stray marker that Pillow refuses."""
    marker = _AFTER_SCAN.search(data, header.scan)
    return marker is not None and marker[1] == _END


def _turn(data: bytes) -> Transpose | None:
    """Return how a JPEG is to be turned; Pillow reads its EXIF data."""
    try:
        with quietly(), Image.open(BytesIO(data), formats=("JPEG",)) as image:
            return TURNS.get(orientation_of(image))
    except Exception:  # the decoder will refuse it, or Pillow after it
        return None


def _upright(picture: Tensor | None, loaded: Loaded) -> Tensor | None:
    """Turn a picture to stand upright; None of one that is not of the size that the header states."""
    size = loaded.header.height, loaded.header.width, 3
    return turn_picture(picture, loaded.turn) if picture is not None and picture.shape == size else None
