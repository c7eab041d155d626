"""The rows of the extraction benchmark that need an NVIDIA GPU."""

from __future__ import annotations

import statistics
import subprocess
import threading
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Literal, Self

import torch

from benchmarks.extraction_data import write_data, write_models
from benchmarks.record import Measure
from featcache.cache.folder import Defaults
from featcache.dataset.manifest import Manifest
from featcache.encoders.base import EncoderSpec
from featcache.encoders.model_folder import resolve_model
from featcache.encoders.text import TextSpec
from featcache.encoders.vision import ImageSpec
from featcache.extraction.bench import bench
from featcache.extraction.heap import keep_heap
from featcache.extraction.options import ExtractOptions
from featcache.extraction.preparing.reader import open_reader
from featcache.extraction.preparing.recipe import Reading
from featcache.extraction.work import Work

__all__ = ["Utilisation", "bench_gpu"]


def bench_gpu(folder: Path, *, resize: Literal["pillow", "torch"], is_quick: bool) -> list[Measure]:
    """Compare an extraction on one GPU, from files to shards, with the slower of its stages alone."""
    if not torch.cuda.is_available():
        raise SystemExit("--rows gpu: torch sees no CUDA device here")
    keep_heap()
    text, image = write_models(folder / "gpu-models", small=is_quick)
    manifest = Manifest.from_source(write_data(folder / "gpu-data", 2 if is_quick else 8000, n_drawn=32))
    options = ExtractOptions(device="cuda", compile=True)
    pictures = ImageSpec(resolve_model(str(image)), resize=resize, compute_dtype="bfloat16")
    specs: list[EncoderSpec] = [TextSpec(resolve_model(str(text)), compute_dtype="bfloat16"), pictures]
    with Utilisation() as utilisation:
        found = bench(manifest, specs, Defaults("bfloat16", "float16"), options=options, progress=utilisation.begin)
    read = read_alone(manifest, specs, options)
    rates = ", ".join(f"{f.modality} {f.rate:,.0f}/s" for f in found.forwards)
    note = f"{found.n_pictures:,} pictures in {found.end_to_end:.1f} s, {found.n_pictures / found.end_to_end:,.0f}"
    note += f"/s ({', '.join(f'{name} {spent:.1f} s' for name, spent in found.stages.items())})"
    note += f"; forward alone {found.forward_seconds:.1f} s, {rates}; reading alone {read:.1f} s, "
    note += f"{found.n_pictures / read:,.0f}/s with {found.workers} workers, {found.reading.rate:.1f}/s on one "
    note += f"core by itself; GPU busy {utilisation.mean:.0f} %"
    name = f"end-to-end / min(forward, decode), GPU, bfloat16, compiled, resize {resize}"
    value = max(found.forward_seconds, read) / found.end_to_end
    return [Measure(name, "ratio", (value,), 0.95, note=note)]


def read_alone(manifest: Manifest, specs: Sequence[EncoderSpec], options: ExtractOptions) -> float:
    """Read, decode and resize all pictures as an extraction does, and throw them away; returns seconds."""
    recipe = Work.of(specs).recipe()
    images = [sample.image for sample in manifest.samples if sample.image]
    keys = [sha256(image.read_bytes()).digest() for image in images]
    readings = (Reading(0, row, image, keys[row], (0,), n_bytes=0) for row, image in enumerate(images))
    started = time.perf_counter()
    with open_reader(recipe, options, len(images)) as reader:
        assert all(prepared.inputs for prepared in reader.prepare(readings))
        return time.perf_counter() - started


class Utilisation:
    """Looks at how busy the GPU is, four times a second, from the last time that a stage began."""

    def __enter__(self) -> Self:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "250"]
        self._seen: list[float] = []
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._seen.append(float(line.split()[0]))

    def begin(self, _stage: str) -> None:
        """Forget what was seen before."""
        self._seen.clear()

    @property
    def mean(self) -> float:
        """Mean of what was seen in per cent; NaN if that is nothing."""
        return statistics.mean(self._seen) if self._seen else float("nan")
