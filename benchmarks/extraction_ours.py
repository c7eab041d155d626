"""Our side of the extraction benchmark: the whole, its parts alone, and what views cost."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from featcache.cache.folder import Defaults
from featcache.dataset.manifest import Manifest
from featcache.dataset.sample import ImageSource
from featcache.dataset.sample_list import SampleList
from featcache.encoders.base import Encoder, EncoderSpec, Vectors
from featcache.encoders.model_folder import resolve_model
from featcache.encoders.text import TextSpec
from featcache.encoders.vision import ImageSpec
from featcache.extraction.bench import time_extraction
from featcache.extraction.heap import keep_heap
from featcache.extraction.options import ExtractOptions, available_cores
from featcache.extraction.preloaded import Preloaded
from featcache.extraction.preparing.recipe import Reading
from featcache.extraction.preparing.thread_reader import ThreadReader
from featcache.extraction.rates import measure_forward
from featcache.extraction.work import Work
from featcache.pictures.decode import decode_rgb
from featcache.pictures.views import parse_view

__all__ = ["Ours"]


class Ours:
    """Extractions with encoders that are loaded already, each into an empty cache on disk.

    Parameters
    ----------
    text, image : str
        Folders of the models.
    manifest : str
        The data.
    threads : int
        Of torch.
    """

    def __init__(self, text: str, image: str, manifest: str, threads: int) -> None:
        keep_heap()
        import torch

        torch.set_num_threads(threads)
        self._folders = resolve_model(text), resolve_model(image)
        self._manifest = Manifest.from_source(manifest)
        self._encoders: dict[str, list[Any]] = {}

    def load(self, dtype: str) -> None:
        """Load the encoders and bring everything into caches."""
        text, image = self._folders
        specs: list[EncoderSpec] = [TextSpec(text, compute_dtype=dtype), ImageSpec(image, compute_dtype=dtype)]
        loaded = [spec.load("cpu") for spec in specs]
        loaded[1] = _Counting(loaded[1])
        self._encoders[dtype] = [Preloaded(*pair) for pair in zip(specs, loaded, strict=True)]
        self.extract(dtype, n=2)

    def extract(self, dtype: str, views: Sequence[str] = ("clean",), n: int | None = None) -> float:
        """Extract everything; returns seconds."""
        return time_extraction(
            replace(self._manifest, samples=self._manifest.samples[:n]),
            self._encoders[dtype],
            Defaults(dtype, "float16"),
            views=views,
            options=ExtractOptions(device="cpu"),
        )

    def forward(self, dtype: str, seconds: float) -> float:
        """Run the encoders on input that is ready, about so long each; returns seconds that everything would take."""
        captions = list(dict.fromkeys(s.caption for s in self._manifest.samples if s.caption))
        numbers = len(captions), len(self._manifest.samples)
        rates = [
            measure_forward(spec, spec.load("cpu"), captions, n_contents=n, seconds=seconds)
            for spec, n in zip(self._encoders[dtype], numbers, strict=True)
        ]
        return sum(rate.seconds for rate in rates)

    def multiply(self, dtype: str, seconds: float) -> float:
        """Return the seconds of the multiplications of `extract` alone, at the rate of a product like its largest."""
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            self.extract(dtype)
        m, n, k = 3200, 3072, 768  # 64 pictures of 50 tokens, the widest layer of a base encoder
        kind = getattr(torch, dtype)
        a, b = torch.randn(m, k).to(kind), torch.randn(n, k).to(kind)
        times: list[float] = []
        until = time.perf_counter() + seconds
        while len(times) < 3 or time.perf_counter() < until:
            started = time.perf_counter()
            torch.nn.functional.linear(a, b)
            times.append(time.perf_counter() - started)
        return float(counter.get_total_flops() / (2 * m * n * k) * statistics.median(times))

    def read(self, dtype: str) -> float:
        """Read, decode and resize everything on all cores; returns seconds."""
        recipe = Work.of(self._encoders[dtype]).recipe()
        pictures = [s.image for s in self._manifest.samples if s.image]
        readings = [
            Reading(0, row, image, sha256(image.read_bytes()).digest(), (0,), n_bytes=0)
            for row, image in enumerate(pictures)
        ]
        cores = available_cores()
        with ThreadReader(recipe, n_threads=cores, n_ahead=4 * cores, memory=10**9) as reader:
            started = time.perf_counter()
            assert all(prepared.inputs for prepared in reader.prepare(iter(readings)))
            return time.perf_counter() - started

    def views(self, dtype: str, views: Sequence[str], n: int, log: str) -> dict[str, float]:
        """Extract ``n`` samples under some views; returns seconds, forwards a picture and readings a picture."""
        image = self._encoders[dtype][1]
        samples = [
            replace(sample, image=_Logged(sample.image, log)) if sample.image else sample
            for sample in self._manifest.samples[:n]
        ]
        image.load().n_rows = 0
        Path(log).write_bytes(b"")
        options = ExtractOptions(device="cpu")
        manifest = replace(self._manifest, samples=SampleList.of(samples))
        seconds = time_extraction(manifest, [image], Defaults(dtype, "float16"), views=views, options=options)
        return {"seconds": seconds, "forwards": image.load().n_rows / n, "readings": Path(log).stat().st_size / n}

    def view_milliseconds(self, views: Sequence[str], n: int) -> dict[str, float]:
        """Return what each view costs, per picture on one core."""
        pictures = [decode_rgb(s.image.read_bytes()) for s in self._manifest.samples[:n] if s.image]
        found = {}
        for name in views:
            view = parse_view(name)
            view.apply(pictures[0], bytes(32))
            started = time.perf_counter()
            for number, picture in enumerate(pictures):
                view.apply(picture, number.to_bytes(32))
            found[name] = 1e3 * (time.perf_counter() - started) / len(pictures)
        return found


@dataclass
class _Counting:
    """An encoder of pictures that counts what goes through it."""

    encoder: Encoder
    n_rows: int = 0

    @property
    def device(self) -> str:
        """Where it is."""
        return str(getattr(self.encoder, "device", "cpu"))

    def encode(self, batch: Sequence[Any]) -> Vectors:
        """Encode."""
        self.n_rows += len(batch)
        return self.encoder.encode(batch)

    def start(self, batch: Sequence[Any]) -> Callable[[], Vectors]:
        """Begin to encode."""
        self.n_rows += len(batch)
        return self.encoder.start(batch)


@dataclass(frozen=True)
class _Logged:
    """A picture that leaves a byte in a file whenever it is read, in whatever process."""

    image: ImageSource
    log: str

    @property
    def name(self) -> str:
        """Name of the picture."""
        return self.image.name

    def read_bytes(self) -> bytes:
        """Read it."""
        with Path(self.log).open("ab") as file:
            file.write(b".")
        return self.image.read_bytes()
