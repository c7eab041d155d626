"""A GPU that prepares pictures: its pixels against Pillow's, and how fast pictures come to it and through it."""

from __future__ import annotations

import logging
import tempfile
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from unittest import mock

import numpy as np
import torch

from benchmarks.card_equality import compare_drawn, compare_real
from benchmarks.extraction_data import write_data, write_models
from benchmarks.extraction_gpu import Utilisation
from benchmarks.limit import at_most
from benchmarks.record import Measure, steady_rate
from featcache.cache.folder import Cache, Defaults
from featcache.dataset.manifest import Manifest
from featcache.dataset.sample import ImageSource
from featcache.encoders.base import EncoderSpec
from featcache.encoders.model_folder import resolve_model
from featcache.encoders.text import TextSpec
from featcache.encoders.vision import ImageSpec
from featcache.extraction.encoding.loaded import LoadedEncoders
from featcache.extraction.heap import keep_heap
from featcache.extraction.options import ExtractOptions, available_cores
from featcache.extraction.preloaded import Preloaded
from featcache.extraction.preparing import find_card
from featcache.extraction.preparing.card_loading import Loaded, PixelSpace
from featcache.extraction.preparing.reader import Reader, open_reader
from featcache.extraction.preparing.recipe import STEPS, Reading
from featcache.extraction.rates import example_of, measure_forward
from featcache.extraction.results import Progress
from featcache.extraction.run import extract
from featcache.extraction.work import Work
from featcache.pictures.card.decoding import CardDecoder
from featcache.pictures.card.nvjpeg import Nvjpeg
from featcache.pictures.decode_rules import DECODE_RULES
from featcache.pictures.decoders import SimpleJpeg
from featcache.pictures.nvjpeg_library import find_nvjpeg

__all__ = ["bench_card"]

_MOST_SECONDS = 120  # a part
_WINDOW = 256
_Part = Callable[["_Bench"], list[Measure]]


def bench_card(folder: Path, *, is_quick: bool) -> Iterator[Measure]:
    """Yield each measure as soon as it is there; a part that fails, or hangs, is one too, and the others go on.

    Parameters
    ----------
    folder : Path
        For data and models: 6 GB.
    is_quick : bool
        Whether to try it with few pictures and tiny models.
    """
    if not torch.cuda.is_available():
        raise SystemExit("--rows card: torch sees no CUDA device here")
    keep_heap()
    logging.basicConfig()
    logging.getLogger("featcache.extraction.preparing").setLevel(logging.DEBUG)  # where a card failed
    bench = _Bench(folder, is_quick)
    for name, part in _PARTS.items():
        started = time.perf_counter()
        try:
            with at_most(_MOST_SECONDS):
                measures = part(bench)
        except Exception as error:
            traceback.print_exc()
            measures = [Measure(f"{name}: failed", "", (1,), at_most=0, note=f"{type(error).__name__}: {error}"[:500])]
        print(
            f"{name}: {time.perf_counter() - started:.1f} s; " + "; ".join(_line(each) for each in measures), flush=True
        )
        yield from measures


def _line(measure: Measure) -> str:
    return f"{measure.name} {measure.median:,.6g} {measure.unit} ({measure.note})"


@dataclass
class _Bench:
    """What the parts share, made where the first one needs it."""

    folder: Path
    is_quick: bool

    device = torch.device("cuda")

    @cached_property
    def decoder(self) -> CardDecoder:
        library = find_nvjpeg()
        if library is None:
            raise RuntimeError("nvJPEG is not installed, or cannot be loaded")
        return CardDecoder(Nvjpeg(library), self.device)

    @cached_property
    def models(self) -> tuple[Path, Path]:
        return write_models(self.folder / "card-models", small=self.is_quick)

    @cached_property
    def manifest(self) -> Manifest:
        n, shrink = (40, 8) if self.is_quick else (8000, 1)
        return Manifest.from_source(write_data(self.folder / "card-data", n, n_drawn=32, shrink=shrink))

    @cached_property
    def few(self) -> Manifest:
        return replace(self.manifest, samples=self.manifest.samples[: 120 if self.is_quick else 2400])

    @cached_property
    def readings(self) -> list[Reading]:
        """All pictures, hashed: every 64th is compared with Pillow, as in an extraction."""
        images = [sample.image for sample in self.manifest.samples if sample.image]
        with ThreadPoolExecutor(available_cores()) as pool:
            return list(pool.map(_reading, range(len(images)), images))

    @cached_property
    def specs(self) -> list[EncoderSpec]:
        text, image = (resolve_model(str(each)) for each in self.models)
        dtype = "float32" if self.is_quick else "bfloat16"
        return [TextSpec(text, compute_dtype=dtype), ImageSpec(image, compute_dtype=dtype)]

    @cached_property
    def loaded(self) -> tuple[list[EncoderSpec], int, float]:
        """Return encoders that are loaded and compiled, pictures a batch, and pictures a second of the forward."""
        encoders, found, n_rows, rate = LoadedEncoders(self.options("auto")), [], 64, 0.0
        captions = [sample.caption for sample in self.manifest.samples if sample.caption][:4096]
        for spec in self.specs:
            encoder = encoders.of(spec, example_of(spec))
            n_rows, seconds = encoder.n_rows, 0.1 if self.is_quick else 3.0
            measured = measure_forward(
                spec, encoder.encoder, captions, n_contents=len(self.readings), n_rows=n_rows, seconds=seconds
            )
            rate = measured.rate
            found.append(Preloaded(spec, encoder.encoder))
        return list(found), n_rows, rate

    def options(self, decoder: Literal["auto", "pillow", "card"]) -> ExtractOptions:
        own = "card" if self.is_quick and decoder == "auto" else decoder  # who is not asked for it opens it for many
        return ExtractOptions(device="cuda", decoder=own, compile=not self.is_quick)

    def open_reader(self, decoder: Literal["pillow", "simplejpeg", "card"]) -> Reader:
        """Open who prepares pictures for the encoder of pictures, as an extraction does."""
        recipe = Work.of(self.specs).recipe()
        if decoder == "simplejpeg":
            recipe = replace(recipe, decoder=SimpleJpeg())
        own = self.options("card" if decoder == "card" else "pillow")
        return open_reader(recipe, own, len(self.readings))


def _reading(row: int, image: ImageSource) -> Reading:
    data = image.read_bytes()
    n = len(data)
    return Reading(0, row, image, sha256(data).digest(), (0,), n, is_sample=row % 64 == 0, file_bytes=n)


def _alone(bench: _Bench) -> list[Measure]:
    """Have the card prepare pictures whose files are in memory, with nothing beside it."""
    card = find_card.find_card(Work.of(bench.specs).recipe(), bench.options("card"))
    assert card.decoder is not None
    decoder, nowhere = card.decoder, PixelSpace(np.empty(0, np.uint8), DECODE_RULES)
    found = [(each, card.load(each, nowhere, 0)) for each in bench.readings[:4096]]
    work = [(reading, loaded) for reading, loaded in found if isinstance(loaded, Loaded)]

    def decode(window: Sequence[tuple[Reading, Loaded]]) -> None:
        with card.lanes[0].working():
            decoder.decode([loaded.data for _, loaded in window], [loaded.header for _, loaded in window])
        torch.cuda.synchronize()

    idle: deque[int] = deque()

    def prepare(window: Sequence[tuple[Reading, Loaded]]) -> None:
        lane = idle.popleft()
        card.prepare(window, lane)
        idle.append(lane)

    measures = []
    windows = [work[i : i + _WINDOW] for i in range(0, len(work), _WINDOW)]
    calls: dict[tuple[str, int], Callable[..., object]] = {("decoding", 1): decode}
    calls |= {("decoding and resizing", n_lanes): prepare for n_lanes in range(1, len(card.lanes) + 1)}
    for (name, n_lanes), call in calls.items():
        idle.clear()
        idle.extend(range(n_lanes))
        with ThreadPoolExecutor(n_lanes) as lanes:
            list(lanes.map(call, [windows[0]] * 2 * n_lanes))
            started, of_process = time.perf_counter(), time.process_time()
            list(lanes.map(call, windows))
            spent, rate = time.process_time() - of_process, len(work) / (time.perf_counter() - started)
        note = f"windows of {_WINDOW}; the process took {1e6 * spent / len(work):.1f} µs of processor time a picture"
        lane = f"in {n_lanes} lane{'s' if n_lanes > 1 else ''}"
        measures.append(Measure(f"the card alone, {name} {lane}", "pictures/s", (rate,), note=note))
    return measures


def _read(bench: _Bench, decoder: Literal["pillow", "simplejpeg", "card"]) -> list[Measure]:
    """Read, decode and resize all pictures as an extraction does, and throw them away."""
    if decoder == "simplejpeg" and not find_spec("simplejpeg"):
        return [Measure("reading alone, simplejpeg: it is not installed", "", (0,))]
    times, ways, spent = [], Counter[str](), np.zeros(len(STEPS))
    n, started = len(bench.readings), time.perf_counter()
    with bench.open_reader(decoder) as reader:
        opened = time.perf_counter()
        for prepared in reader.prepare(iter(bench.readings)):
            times.append(time.perf_counter())
            ways[str(prepared.way)] += 1
            spent += prepared.seconds
        who = str(reader)
    note = f"{n:,} pictures by {who}, ready after {opened - started:.1f} s, then {times[-1] - opened:.1f} s; "
    note += ", ".join(f"{name} {count:,}" for name, count in ways.items()) + "; µs a picture: "
    note += ", ".join(f"{step} {1e6 * each:.0f}" for step, each in zip(STEPS, spent / n, strict=True))
    return [
        Measure(f"reading alone, {decoder}, steady", "pictures/s", (steady_rate(times, range(1, n + 1)),), note=note)
    ]


def _forward(bench: _Bench) -> list[Measure]:
    return [
        Measure("forward of pictures alone", "pictures/s", (bench.loaded[2],), note=f"batches of {bench.loaded[1]}")
    ]


def _extract(bench: _Bench, decoder: Literal["pillow", "auto"], *, is_aside: bool = False) -> list[Measure]:
    """Extract everything, once; ``is_aside``: forwards are not on CUDA's default stream, for which others may wait."""
    goals = (10_000, 6000) if decoder == "auto" and not is_aside else (None, None)
    name = f"extraction, --decoder {decoder}" + (", forwards on a stream of their own" if is_aside else "")
    with torch.cuda.stream(torch.cuda.Stream()) if is_aside else nullcontext():  # type: ignore[no-untyped-call]
        return _measure(bench, bench.manifest, decoder, name=name, goals=goals)


def _extract_views(bench: _Bench, decoder: Literal["pillow", "auto"]) -> list[Measure]:
    """Extract some pictures under the views that heads are trained on: one of the eight is left to the CPU."""
    return _measure(bench, bench.few, decoder, "train", name=f"extraction, --decoder {decoder}, views train")


def _measure(
    bench: _Bench,
    manifest: Manifest,
    decoder: Literal["pillow", "auto"],
    views: str = "clean",
    *,
    name: str,
    goals: tuple[float | None, float | None] = (None, None),
    maker: str = "nvjpeg",
) -> list[Measure]:
    """Extract into an empty cache, and look at the GPU while pictures are encoded."""
    specs, n_rows, forward = bench.loaded
    n = sum(sample.image is not None for sample in manifest.samples)
    seen: list[tuple[float, int]] = []
    engine = mock.patch.object(find_card, "find_nvjpeg", find_nvjpeg if maker == "nvjpeg" else lambda: None)
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder, Utilisation() as busy, engine:

        def look(progress: Progress) -> None:
            if progress.stage == "image":
                if not seen:
                    busy.begin("image")
                seen.append((time.perf_counter(), progress.done))

        dtype = str(specs[0].fingerprint.identity["compute_dtype"])
        cache = Cache.open_or_create(Path(folder) / "cache", Defaults(dtype, "float16"))
        options = replace(bench.options(decoder), batch_size=n_rows)
        started = time.perf_counter()
        done = extract(manifest, cache, specs, views=views, options=options, progress=look)
        seconds = time.perf_counter() - started
    (pictures,) = (each for each in done.passes if each.content == "image")
    steps = ", ".join(f"{name} {spent:.1f}" for name, spent in pictures.seconds.items() if spent >= 0.05)
    ways = ", ".join(f"{name} {count:,}" for name, count in pictures.ways.items())
    told = (pictures.workers, ways, f"GPU busy {busy.mean:.0f} %", f"pictures took, s: {steps}")
    note = "; ".join(filter(None, (*told, *pictures.doubts, pictures.hint)))
    steady, whole = steady_rate(*zip(*seen, strict=True)), n / seconds
    by_card = Measure(f"{name}, pictures by the card", "", (pictures.ways.get(maker, 0),), at_least=0.9 * n)
    return [
        *([by_card] if decoder == "auto" else []),
        Measure(f"{name}, steady over the middle 80 %", "pictures/s", (steady,), goals[0], note=note),
        Measure(f"{name}, the whole run", "pictures/s", (whole,), goals[1], note=f"{n:,} in {seconds:.1f} s"),
        Measure(f"{name}, steady / forward alone", "ratio", (steady / forward,)),
    ]


_PARTS: dict[str, _Part] = {
    "drawn JPEGs": lambda bench: compare_drawn(100 if bench.is_quick else 10_000, bench.decoder, bench.device),
    "data": lambda bench: [Measure("pictures to be read", "", (len(bench.readings),))],
    "the card alone": _alone,
    "reading by the card": lambda bench: _read(bench, "card"),
    "forward": _forward,
    "extraction by the card": lambda bench: _extract(bench, "auto"),
    "extraction by the card, engine off": lambda bench: _measure(
        bench, bench.manifest, "auto", name="extraction, engine off", maker="pillow+triton"
    ),
    "real JPEGs": lambda bench: compare_real(bench.decoder, bench.device),
    "extraction of views by the card": lambda bench: _extract_views(bench, "auto"),
    "extraction by Pillow": lambda bench: _extract(bench, "pillow"),
    "extraction by the card, forwards aside": lambda bench: _extract(bench, "auto", is_aside=True),
    "extraction of views by Pillow": lambda bench: _extract_views(bench, "pillow"),
    "reading by Pillow": lambda bench: _read(bench, "pillow"),
    "reading by simplejpeg": lambda bench: _read(bench, "simplejpeg"),
}
"""In the order of what is least known."""
