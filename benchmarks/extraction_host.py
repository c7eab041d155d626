"""What an extraction takes of its own process where a GPU does the rest: decoder, resizer and forward are stand-ins.

Reading, hashing and samples are the work of other processes, as in reality. What is left is Python under one lock: its
time a picture is a bound of the rate, whatever the GPU.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.extraction_data import write_data, write_models
from benchmarks.record import Measure
from featcache.cache.folder import Cache, Defaults
from featcache.dataset.manifest import Manifest
from featcache.encoders.model_folder import resolve_model
from featcache.encoders.vision import ImageSpec
from featcache.extraction.options import ExtractOptions
from featcache.extraction.preloaded import Preloaded
from featcache.extraction.preparing.card import Card
from featcache.extraction.preparing.card_lane import CardLane
from featcache.extraction.preparing.recipe import Prepared, Recipe
from featcache.extraction.results import Progress
from featcache.extraction.run import extract
from featcache.pictures.decoders import is_plain
from featcache.pictures.jpeg_kind import JpegHeader, JpegKind

__all__ = ["bench_host"]

_STEADY = (0.1, 0.9)
_WIDTH = 768


@dataclass(frozen=True)
class _Decoder:
    """Makes tensors of the right sizes, of whatever is in memory, at the rate of an engine."""

    seconds: float = 1 / 20_000
    name: str = "stand-in"
    version: str = "1"

    def takes(self, kind: JpegKind) -> bool:
        return is_plain(kind)

    def decode(self, files: Sequence[bytes | memoryview], headers: Sequence[JpegHeader]) -> list[Tensor | None]:
        time.sleep(self.seconds * len(files))
        sizes = [(header.height, header.width, 3) for header in headers]
        memory = torch.empty(max(height * width * 3 for height, width, _ in sizes), dtype=torch.uint8)
        return [memory.as_strided(size, (3 * size[1], 3, 1)) for size in sizes]


class _Resizer:
    """Makes small black pictures."""

    name, version = "stand-in resizer", "1"

    def resize(self, pictures: Sequence[Tensor]) -> Tensor:
        return torch.zeros((len(pictures), 8, 8, 3), dtype=torch.uint8)


class _Encoder:
    """Has its vectors at once."""

    device = "cuda"

    def start(self, inputs: Sequence[object]) -> Callable[[], Mapping[str, NDArray[np.float32]]]:
        vectors = np.zeros((len(inputs), _WIDTH), np.float32)
        return lambda: {"pooled": vectors}

    def encode(self, inputs: Sequence[object]) -> Mapping[str, NDArray[np.float32]]:
        return self.start(inputs)()


def bench_host(folder: Path, *, rounds: int, is_quick: bool) -> list[Measure]:
    """Extract pictures into an empty cache, some times.

    Parameters
    ----------
    folder : Path
        For the data: 1.4 GB.
    rounds : int
        How often, after one that is not counted.
    is_quick : bool
        Whether to try it with few pictures.
    """
    manifest = Manifest.from_source(write_data(folder / "host-data", 100 if is_quick else 2000, n_drawn=8))
    _, image = write_models(folder / "host-models", small=True)
    spec = ImageSpec(resolve_model(str(image)))
    with _card_made_up():
        found = [_extract(manifest, Preloaded(spec, _Encoder()), folder) for _ in range(rounds + 1)][1:]
    microseconds, rates = (tuple(each) for each in zip(*found, strict=True))
    rate = statistics.median(rates)
    note = f"{len(manifest.samples):,} pictures of ~500 px, {rate:,.0f} a second here, read by other processes"
    return [Measure("the process of an extraction on a GPU, a picture", "µs", microseconds, at_most=100, note=note)]


@contextmanager
def _card_made_up() -> Iterator[None]:
    """Have an extraction find a card here."""
    stack = ExitStack()

    def find(recipe: Recipe, _: ExtractOptions) -> Card:
        card = Card(recipe, *[CardLane(_Decoder(), {0: _Resizer()})] * 2)
        compare = card.trust.compare

        def agree(made: Prepared, _: object, expected: Prepared, lane: int) -> Prepared:
            return compare(made, {key: np.asarray(each) for key, each in expected.inputs.items()}, expected, lane)

        stack.enter_context(mock.patch.object(card.trust, "compare", agree))
        return card

    preparing, planning = "featcache.extraction.preparing.reader", "featcache.extraction.planning.checks"
    instead = {
        f"{preparing}.find_card": find,
        f"{preparing}.is_cuda": lambda _: True,
        f"{planning}.check_card": lambda *_: None,
        f"{planning}.find_decoder": lambda _: None,
        "featcache.extraction.work.find_decoder": lambda _: None,
    }
    for name, each in instead.items():
        stack.enter_context(mock.patch(name, each))
    with stack:
        yield


def _extract(manifest: Manifest, spec: Preloaded, folder: Path) -> tuple[float, float]:
    """Return microseconds of the process, all threads, and pictures a second, over the middle of the pictures."""
    seen: list[tuple[int, float, float]] = []

    def look(progress: Progress) -> None:
        if progress.stage == "image":
            seen.append((progress.done, time.process_time(), time.perf_counter()))

    options = ExtractOptions(device="cpu", decoder="card", batch_size=256, processes=True)
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        place = Cache.open_or_create(Path(cache) / "cache", Defaults("float32", "float16"))
        extract(manifest, place, [spec], options=options, progress=look)
    first, last = (next(each for each in seen if each[0] >= share * seen[-1][0]) for share in _STEADY)
    n, spent, passed = (later - earlier for earlier, later in zip(first, last, strict=True))
    return 1e6 * spent / n, n / passed
