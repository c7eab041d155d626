"""How fast the steps of an extraction are, each alone: the forward of an encoder, and the reading of pictures."""

from __future__ import annotations

import hashlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import numpy as np
from PIL import Image

from featcache.dataset.sample import ImageSource
from featcache.encoders.base import Encoder, EncoderSpec, TokenEncoder, Vectors
from featcache.errors import FeatcacheError
from featcache.extraction.encoding.batching import token_batches
from featcache.extraction.encoding.loaded import CPU_ROWS
from featcache.extraction.preparing.recipe import STEPS, Reading, Recipe, prepare
from featcache.identity.terms import CONTENT_OF, Modality
from featcache.pictures.checked_decoder import CheckedDecoder

__all__ = ["ForwardRate", "ReadingCost", "example_of", "measure_forward", "measure_reading"]


@dataclass(frozen=True)
class ForwardRate:
    """How fast one encoder is when its input is always ready.

    Attributes
    ----------
    modality, fingerprint, model, compute_dtype : str
        The producer.
    n_rows : int
        Most contents a forward had; texts are cut by their tokens.
    n_contents, n_views : int
        Contents of the sample that can be encoded, and how often each of them goes through the encoder.
    rate : float
        Contents a second.
    """

    modality: Modality
    fingerprint: str
    model: str
    compute_dtype: str
    n_rows: int
    n_contents: int
    n_views: int
    rate: float

    @property
    def seconds(self) -> float:
        """Time for the sample under all views."""
        return self.n_contents * self.n_views / self.rate


@dataclass(frozen=True)
class ReadingCost:
    """What it takes one core to bring a picture from its file to all encoders under all views.

    Attributes
    ----------
    n_pictures, n_failed : int
        How many were measured, and how many of them could not be used.
    seconds : mapping
        Of one picture that can be used, by step, as `STEPS` names them: ``read`` with the check of its digest.
    ways : mapping of str to int
        Pictures by who decoded them, as in `featcache.extraction.results.PassResult`.
    """

    n_pictures: int
    n_failed: int
    seconds: Mapping[str, float]
    ways: Mapping[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Pictures a second and core; infinite if there were none to measure."""
        total = sum(self.seconds.values())
        return 1 / total if total else math.inf


def measure_reading(pictures: Iterable[ImageSource], recipe: Recipe, *, seconds: float) -> ReadingCost:
    """Prepare pictures on one core.

    Parameters
    ----------
    pictures : iterable of ImageSource
        What to read; from the cache of the operating system, for each is read twice.
    recipe : Recipe
        What is made of each.
    seconds : float
        About how long it may take; at least one good picture is read.
    """
    spent, decoder = np.zeros(len(STEPS)), CheckedDecoder(recipe.decoder)
    ways: Counter[str] = Counter()
    n_read = n_failed = 0
    everything = tuple(range(len(recipe.products)))
    with _one_thread():
        for row, image in enumerate(pictures):
            n_read += 1
            try:
                key = hashlib.sha256(image.read_bytes()).digest()
            except OSError:
                n_failed += 1
                continue
            prepared = prepare(recipe, Reading(0, row, image, key, everything, n_bytes=0), decoder=decoder)
            if prepared.faults:
                n_failed += 1
                continue
            spent += prepared.seconds
            ways[str(prepared.way)] += 1
            if spent.sum() >= seconds:
                break
    spent /= max(1, n_read - n_failed)
    return ReadingCost(n_read, n_failed, dict(zip(STEPS, spent.tolist(), strict=True)), dict(ways))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread, as every worker does."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def example_of(spec: EncoderSpec) -> Any:
    """Return an input as an encoder takes it, of no content."""
    return spec.prepare("" if CONTENT_OF[spec.modality] == "text" else Image.new("RGB", (512, 512)))


def measure_forward(
    spec: EncoderSpec,
    encoder: Encoder,
    captions: Sequence[str],
    *,
    n_contents: int,
    n_views: int = 1,
    n_rows: int = CPU_ROWS,
    seconds: float = 5.0,
) -> ForwardRate:
    """Run an encoder on input that is ready: random pixels, or real captions.

    Parameters
    ----------
    spec : EncoderSpec
        Says what its input looks like.
    encoder : Encoder
        The same, loaded.
    captions : sequence of str
        What an encoder of texts gets; others need none.
    n_contents, n_views : int
        Copied into the result.
    n_rows : int
        Pictures a forward, as `LoadedEncoders` finds it out.
    seconds : float
        About how long it may take; at least one batch is encoded twice.

    Raises
    ------
    FeatcacheError
        If an encoder of texts gets no captions.
    """
    if CONTENT_OF[spec.modality] == "text":
        if not captions:
            raise FeatcacheError("the sample has no captions, expected some for the text encoder: --text-model none")
        batches = _text_batches(encoder, [spec.prepare(caption) for caption in captions], n_rows)
    else:
        example = np.asarray(example_of(spec))
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (min(n_rows, n_contents or 1), *example.shape), dtype=np.uint8)
        batches = [list(pixels)]
    n, spent = _encode(encoder, batches, seconds)
    fingerprint = spec.fingerprint
    return ForwardRate(
        modality=spec.modality,
        fingerprint=fingerprint.digest,
        model=fingerprint.model_name,
        compute_dtype=str(fingerprint.identity["compute_dtype"]),
        n_rows=max(map(len, batches)),
        n_contents=n_contents,
        n_views=n_views,
        rate=n / spent,
    )


def _text_batches(encoder: Encoder, texts: Sequence[str], n_rows: int) -> list[list[Any]]:
    """Cut texts as an extraction does; in a seeded order, so that a few of the batches stand for all."""
    inputs: Sequence[Any] = encoder.tokenise(texts) if isinstance(encoder, TokenEncoder) else texts
    batches = token_batches([len(tokens) for tokens in inputs], n_rows)
    order = np.random.default_rng(0).permutation(len(batches))
    return [[inputs[int(i)] for i in batches[int(b)]] for b in order]


def _encode(encoder: Encoder, batches: Sequence[list[Any]], seconds: float) -> tuple[int, float]:
    """Encode batch after batch with one in flight; returns (contents, seconds)."""
    encoder.encode(batches[0])
    n = 0
    waits: list[Callable[[], Vectors]] = []
    started = time.perf_counter()
    for batch in cycle(batches):
        waits.append(encoder.start(batch))
        n += len(batch)
        if len(waits) > 1:
            waits.pop(0)()
        if time.perf_counter() - started >= seconds:
            break
    for wait in waits:
        wait()
    return n, time.perf_counter() - started
