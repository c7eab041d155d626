"""A GPU that prepares pictures: its pixels against Pillow's, and how fast pictures come to it and through it."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Literal
from unittest import mock

import torch

from benchmarks.card_equality import compare_all, drawn_jpegs, real_jpegs
from benchmarks.extraction_data import write_data, write_models
from benchmarks.extraction_gpu import Utilisation
from benchmarks.record import Measure
from featcache.cache.folder import Cache, Defaults
from featcache.dataset.manifest import Manifest
from featcache.dataset.sample import ImageSource
from featcache.encoders.base import EncoderSpec
from featcache.encoders.model_folder import resolve_model
from featcache.encoders.text import TextSpec
from featcache.encoders.vision import ImageSpec
from featcache.extraction.encoding.loaded import LoadedEncoders
from featcache.extraction.heap import keep_heap
from featcache.extraction.options import ExtractOptions
from featcache.extraction.preloaded import Preloaded
from featcache.extraction.preparing.reader import Reader, open_reader
from featcache.extraction.preparing.recipe import Reading
from featcache.extraction.rates import example_of, measure_forward
from featcache.extraction.results import Progress
from featcache.extraction.run import extract
from featcache.extraction.work import Work
from featcache.pictures.card.decoding import CardDecoder
from featcache.pictures.card.nvjpeg import Nvjpeg
from featcache.pictures.decoders import SimpleJpeg
from featcache.pictures.nvjpeg_library import find_nvjpeg

__all__ = ["bench_card"]

_STEADY = (0.1, 0.9)
_Part = Callable[["_Bench"], list[Measure]]


def bench_card(folder: Path, *, is_quick: bool) -> Iterator[Measure]:
    """Yield each measure as soon as it is there; a part that fails is one too, and the others go on.

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
    bench = _Bench(folder, is_quick)
    for name, part in _PARTS.items():
        started = time.perf_counter()
        try:
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
        folder = self.folder / "card-data"
        return Manifest.from_source(write_data(folder, 40 if self.is_quick else 8000, n_drawn=32))

    @cached_property
    def few(self) -> Manifest:
        folder = self.folder / "card-data-few"
        return Manifest.from_source(write_data(folder, 20 if self.is_quick else 400, n_drawn=32))

    @cached_property
    def readings(self) -> list[Reading]:
        """All pictures, hashed: every 64th is compared with Pillow, as in an extraction."""
        images = [sample.image for sample in self.manifest.samples if sample.image]
        return [_reading(row, image) for row, image in enumerate(images)]

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
            n_rows, seconds = encoder.n_rows, 0.1 if self.is_quick else 5.0
            measured = measure_forward(
                spec, encoder.encoder, captions, n_contents=len(self.readings), n_rows=n_rows, seconds=seconds
            )
            rate = measured.rate
            found.append(Preloaded(spec, encoder.encoder))
        return list(found), n_rows, rate

    def options(self, decoder: Literal["auto", "pillow", "card"]) -> ExtractOptions:
        if self.is_quick and decoder == "auto":
            decoder = "card"  # for so few pictures nobody else would open it
        return ExtractOptions(device="cuda", decoder=decoder, compile=not self.is_quick)

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


def _compare_drawn(bench: _Bench) -> list[Measure]:
    n = 100 if bench.is_quick else 10_000
    return _compared(f"of {n:,} JPEGs in all layouts", drawn_jpegs(n, most=512), bench, at_least=n // 2)


def _compare_real(bench: _Bench) -> list[Measure]:
    files = list(real_jpegs())
    if not files:
        return [Measure("real JPEGs: FEATCACHE_TEST_MATERIAL names no folder with some", "", (0,))]
    return _compared(f"of {len(files):,} real JPEGs", iter(files), bench, at_least=500)


def _compared(what: str, files: Iterator[bytes], bench: _Bench, *, at_least: int) -> list[Measure]:
    found = compare_all(files, bench.decoder, bench.device)
    n_others = found.n("decoded otherwise") + found.n("resized otherwise")
    return [
        Measure(f"{what}: other pixels than Pillow's", "", (n_others,), at_most=0, note=found.note),
        Measure(f"{what}: taken, and the same", "", (found.n("same"),), at_least=at_least),
    ]


def _read(bench: _Bench, decoder: Literal["pillow", "simplejpeg", "card"]) -> list[Measure]:
    """Read, decode and resize all pictures as an extraction does, and throw them away."""
    times, ways = [], Counter[str]()
    n, started = len(bench.readings), time.perf_counter()
    with bench.open_reader(decoder) as reader:
        opened = time.perf_counter()
        for prepared in reader.prepare(iter(bench.readings)):
            times.append(time.perf_counter())
            ways[str(prepared.way)] += 1
        who = str(reader)
    note = f"{n:,} pictures by {who}, ready after {opened - started:.1f} s, then {times[-1] - opened:.1f} s; "
    note += ", ".join(f"{name} {count:,}" for name, count in ways.items())
    return [Measure(f"reading alone, {decoder}, steady", "pictures/s", (_steady(times, range(1, n + 1)),), note=note)]


def _steady(times: Sequence[float], done: Sequence[int]) -> float:
    """Return the rate between a tenth and nine tenths of what was done."""
    first, last = (next(i for i, n in enumerate(done) if n >= share * done[-1]) for share in _STEADY)
    return (done[last] - done[first]) / (times[last] - times[first]) if last > first else float(done[-1])


def _forward(bench: _Bench) -> list[Measure]:
    _, n_rows, rate = bench.loaded
    return [Measure("forward of pictures alone", "pictures/s", (rate,), note=f"batches of {n_rows}")]


def _extract(bench: _Bench, decoder: Literal["pillow", "auto"]) -> list[Measure]:
    """Extract everything, once."""
    goals = (10_000, 6000) if decoder == "auto" else (None, None)
    return _measure(bench, bench.manifest, decoder, "clean", goals)


def _extract_without_engine(bench: _Bench) -> list[Measure]:
    """Extract some pictures that the CPU decodes, as on a GPU that has no engine."""
    with mock.patch("featcache.extraction.preparing.find_card.find_nvjpeg", lambda: None):
        return _measure(bench, bench.manifest, "auto", "clean", (None, None), maker="pillow+triton")


def _extract_views(bench: _Bench, decoder: Literal["pillow", "auto"]) -> list[Measure]:
    """Extract some pictures under the views that heads are trained on: one of the eight is left to the CPU."""
    return _measure(bench, bench.few, decoder, "train", (None, None))


def _measure(
    bench: _Bench,
    manifest: Manifest,
    decoder: Literal["pillow", "auto"],
    views: str,
    goals: tuple[float | None, float | None],
    maker: str = "nvjpeg",
) -> list[Measure]:
    """Extract into an empty cache, and look at the GPU while pictures are encoded."""
    specs, n_rows, forward = bench.loaded
    n = sum(sample.image is not None for sample in manifest.samples)
    seen: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder, Utilisation() as busy:

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
    steady, whole = _steady(*zip(*seen, strict=True)), n / seconds
    name = f"extraction, --decoder {decoder}" + ("" if views == "clean" else f", views {views}")
    name += "" if maker == "nvjpeg" else ", engine off"
    by_card = Measure(f"{name}, pictures by the card", "", (pictures.ways.get(maker, 0),), at_least=0.9 * n)
    return [
        *([by_card] if decoder == "auto" else []),
        Measure(f"{name}, steady over the middle 80 %", "pictures/s", (steady,), goals[0], note=note),
        Measure(f"{name}, the whole run", "pictures/s", (whole,), goals[1], note=f"{n:,} in {seconds:.1f} s"),
        Measure(f"{name}, steady / forward alone", "ratio", (steady / forward,)),
    ]


_PARTS: dict[str, _Part] = {
    "drawn JPEGs": _compare_drawn,
    "real JPEGs": _compare_real,
    "reading by the card": lambda bench: _read(bench, "card"),
    "forward": _forward,
    "extraction by the card": lambda bench: _extract(bench, "auto"),
    "extraction by the card, engine off": _extract_without_engine,
    "extraction of views by the card": lambda bench: _extract_views(bench, "auto"),
    "extraction of views by Pillow": lambda bench: _extract_views(bench, "pillow"),
    "extraction by Pillow": lambda bench: _extract(bench, "pillow"),
    "reading by Pillow": lambda bench: _read(bench, "pillow"),
    "reading by simplejpeg": lambda bench: _read(bench, "simplejpeg"),
}
"""In the order of what is least known."""
