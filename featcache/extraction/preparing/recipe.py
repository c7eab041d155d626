"""One reading of a picture: its bytes are read, checked and decoded once, for every encoder and every view."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcache.cache.file_facts import FileFacts
from featcache.encoders.base import EncoderSpec, decode_rules, decode_size
from featcache.errors import FeatcacheError, ImageError
from featcache.extraction.fault import Fault
from featcache.identity.terms import KEY_BYTES
from featcache.pictures.checked_decoder import CheckedDecoder, Way
from featcache.pictures.decode_rules import DECODE_RULES
from featcache.pictures.decoders import Decoder
from featcache.pictures.footprint import Footprint
from featcache.pictures.views import View

if TYPE_CHECKING:
    from torch import Tensor

    from featcache.cache.samples import SampleTable
    from featcache.dataset.sample import ImageSource
    from featcache.dataset.sample_list import SampleList

__all__ = ["STEPS", "Prepared", "Reading", "Recipe", "prepare"]

STEPS = ("read", "decode", "check", "views", "resize", "spectral")
"""What preparing a picture consists of, in the order of the times that are told of it;
``check`` is decoding a sample again with Pillow."""


@dataclass(frozen=True)
class Recipe:
    """What can be made of a picture: inputs of encoders, each under a view.

    Attributes
    ----------
    products : tuple of (View, EncoderSpec)
        What a `Reading` asks for by number.
    at_least : (height, width) or None
        Down to which size a JPEG may be decoded; None: only at its full size.
    decode_rules : int
        By which rules pictures become RGB.
    decoder : Decoder or None
        Who decodes what JPEGs it takes; None: Pillow decodes everything. The pixels are the same.
    """

    products: tuple[tuple[View, EncoderSpec], ...]
    at_least: tuple[int, int] | None = None
    decode_rules: int = DECODE_RULES
    decoder: Decoder | None = None

    @classmethod
    def of(cls, products: Sequence[tuple[View, EncoderSpec]]) -> Self:
        """Make a recipe.

        Raises
        ------
        FeatcacheError
            If some encoders or views want pictures decoded fast and others exactly, or by other rules: they would share
            one decoding.
        """
        sizes = {decode_size(spec) for _, spec in products}
        size = next(iter(sizes), None)
        if len(sizes) > 1 or (size is not None and not all(view.is_clean for view, _ in products)):
            raise FeatcacheError(
                "fast decoding makes smaller pictures: it goes with the clean view and one image encoder alone, "
                "expected exact decoding for views and spectral features"
            )
        rules = {decode_rules(spec) for _, spec in products} or {DECODE_RULES}
        if len(rules) > 1:
            known = " and ".join(map(str, sorted(rules)))
            raise FeatcacheError(f"encoders want pictures decoded by the rules {known}: give all of them the same")
        return cls(tuple(products), size, next(iter(rules)))

    @property
    def decoders(self) -> Mapping[str, str]:
        """Version of the decoder beside Pillow, by its name; none if there is none."""
        return {} if self.decoder is None else {self.decoder.name: self.decoder.version}

    @cached_property
    def footprint(self) -> Footprint:
        """How much memory pictures take."""
        return Footprint.of({view for view, _ in self.products})

    def readings(
        self,
        table: SampleTable,
        samples: SampleList,
        wanted: Sequence[tuple[int, tuple[int, ...]]],
        *,
        group: int = 0,
        sampled: Container[int] = (),
    ) -> Iterator[Reading]:
        """Make the requests for some pictures.

        Parameters
        ----------
        table : SampleTable
            What is known of them.
        samples : SampleList
            Where they are.
        wanted : sequence of (int, tuple of int)
            Rows, and the products that are wanted of the picture of each, in this order; a row may come again.
        group : int
            Number of the units that it is for.
        sampled : container of int
            Rows that are decoded by Pillow too.
        """
        rows = np.array([row for row, _ in wanted], np.int64)
        facts = FileFacts.unknown(len(rows)) if table.files is None else table.files[rows]
        n_pixels = table.width[rows].astype(np.int64) * table.height[rows]
        # Whole columns at once: numpy's scalars, one by one, take longer than all else here.
        keys = table.image_key[rows].view(f"V{KEY_BYTES}")[:, 0]
        columns = [column.tolist() for column in (keys, n_pixels, facts.names, facts.n_bytes)]
        for (row, products), key, n, format, file_bytes in zip(wanted, *columns, strict=True):
            image = samples.image(row)
            assert image is not None
            n_bytes = self.footprint.n_bytes(n, format, file_bytes)
            yield Reading(group, row, image, key, products, n_bytes, row in sampled, file_bytes, n, format)

    def shapes(self) -> list[tuple[int, ...]]:
        """Return the shape of each product, found out with a blank picture."""
        blank = Image.new("RGB", (64, 64))
        return [spec.prepare(blank).shape for _, spec in self.products]


@dataclass(frozen=True)
class Reading:
    """A request: read one picture and make some products of it.

    Attributes
    ----------
    group : int
        Number of the units that it is for.
    row : int
        Of the sample table.
    image : ImageSource
        Where it is.
    key : bytes
        Its sha256 when it was hashed.
    products : tuple of int
        Numbers of the recipe's products.
    n_bytes : int
        Memory that it takes at most.
    is_sample : bool
        Whether it is decoded by Pillow too, where another decoder takes it.
    file_bytes : int
        Size of its file; 0 if unknown.
    n_pixels : int
        Width × height, as its header says; 0 if unknown.
    format : str
        Pillow's name of its format; empty if unknown.
    by_pillow : bool
        Whether Pillow alone decodes it: what it makes is compared with what another decoder made elsewhere.
    """

    group: int
    row: int
    image: ImageSource
    key: bytes
    products: tuple[int, ...]
    n_bytes: int
    is_sample: bool = False
    file_bytes: int = 0
    n_pixels: int = 0
    format: str = ""
    by_pillow: bool = False


@dataclass(frozen=True)
class Prepared:
    """What came of a reading.

    Attributes
    ----------
    reading : Reading
        The request.
    inputs : mapping of product to (…) uint8
        What could be made: arrays, or tensors where a GPU made them.
    faults : mapping of product to Fault
        What could not.
    seconds : tuple of float
        Time by step, as `STEPS` names them.
    way : Way or None
        Who decoded it; None if nobody came to that.
    """

    reading: Reading
    inputs: Mapping[int, NDArray[np.uint8] | Tensor]
    faults: Mapping[int, Fault]
    seconds: tuple[float, ...]
    way: Way | None = None


def prepare(
    recipe: Recipe, reading: Reading, data: bytes | None = None, *, decoder: CheckedDecoder | None = None
) -> Prepared:
    """Carry out a reading.

    Parameters
    ----------
    recipe : Recipe
        What the products are.
    reading : Reading
        Which of them to make.
    data : bytes, optional
        The picture's bytes, if they were read already.
    decoder : CheckedDecoder, optional
        The recipe's, as far as it is trusted by now; default: as far as this one picture shows.
    """
    clock, way = _Clock(), None
    inputs: dict[int, NDArray[np.uint8]] = {}
    faults: dict[int, Fault] = {}
    stage = "read"
    try:
        data = reading.image.read_bytes() if data is None else data
        if hashlib.sha256(data).digest() != reading.key:
            raise OSError("its bytes changed while the extraction ran: run it again")
        clock.stop("read")
        stage = "decode"
        if decoder is None or reading.by_pillow:
            decoder = CheckedDecoder(None if reading.by_pillow else recipe.decoder)
        decoded = decoder.decode(data, at_least=recipe.at_least, rules=recipe.decode_rules, is_sample=reading.is_sample)
        way = decoded.way
        picture = decoded.upright()
        clock.stop("decode", check=decoded.check_seconds)
    except (ImageError, OSError) as error:
        clock.stop(stage)
        faults = dict.fromkeys(reading.products, Fault.of(stage, error))
        return Prepared(reading, {}, faults, clock.seconds, way)
    by_view: dict[View, list[int]] = {}
    for product in reading.products:
        by_view.setdefault(recipe.products[product][0], []).append(product)
    for view, products in by_view.items():
        stage, seen = "view", None  # no view is kept while the next one is made
        try:
            seen = view.apply(picture, reading.key)
            clock.stop("views")
            stage = "decode"
            for product in products:
                spec = recipe.products[product][1]
                inputs[product] = spec.prepare(seen)
                clock.stop("spectral" if spec.modality == "spectral" else "resize")
        except ImageError as error:
            fault = Fault.of(stage, error)
            faults |= {product: fault for product in products if product not in inputs}
    return Prepared(reading, inputs, faults, clock.seconds, way)


class _Clock:
    """Divides the time that passes among the steps of a preparation."""

    def __init__(self) -> None:
        self._spent = dict.fromkeys(STEPS, 0.0)
        self._since = time.perf_counter()

    def stop(self, step: str, *, check: float = 0.0) -> None:
        now = time.perf_counter()
        self._spent[step] += now - self._since - check
        self._spent["check"] += check
        self._since = now

    @property
    def seconds(self) -> tuple[float, ...]:
        return tuple(self._spent.values())
