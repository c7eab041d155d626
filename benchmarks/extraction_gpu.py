"""The rows of the extraction benchmark that need an NVIDIA GPU."""

from __future__ import annotations

import statistics
import subprocess
import threading
from pathlib import Path
from typing import Self

import torch

from benchmarks.extraction_data import write_data, write_models
from benchmarks.record import Measure
from featcache.bench import bench
from featcache.cache import Defaults
from featcache.encoders.text import TextSpec
from featcache.encoders.vision import ImageSpec
from featcache.manifest import Manifest
from featcache.models import resolve_model
from featcache.options import ExtractOptions

__all__ = ["bench_gpu"]


def bench_gpu(folder: Path, *, is_quick: bool) -> list[Measure]:
    """Compare an extraction on one GPU, from files to shards, with the slower of its stages alone."""
    if not torch.cuda.is_available():
        raise SystemExit("--rows gpu: torch sees no CUDA device here")
    text, image = write_models(folder / "gpu-models", small=is_quick)
    data = write_data(folder / "gpu-data", 2 if is_quick else 8000, n_drawn=64)
    precision = {"compute_dtype": "bfloat16"}
    measures = []
    for resize in ("pillow", "torch"):
        pictures = ImageSpec(resolve_model(str(image)), resize=resize, **precision)
        specs = [TextSpec(resolve_model(str(text)), **precision), pictures]
        with Utilisation() as utilisation:
            found = bench(
                Manifest.from_source(data),
                specs,
                Defaults("bfloat16", "float16"),
                options=ExtractOptions(device="cuda", compile=True),
                progress=utilisation.begin,
            )
        rates = ", ".join(f"{f.modality} {f.rate:,.0f}/s" for f in found.forwards)
        note = f"{found.n_pictures:,} pictures, {found.n_pictures / found.end_to_end:,.0f}/s; forward {rates}; "
        note += f"reading {found.reading.rate:.1f}/s a core, {found.workers} workers of {found.workers_needed} needed; "
        note += f"{found.binds} binds; GPU busy {utilisation.mean:.0f} %; {torch.cuda.get_device_name()}"
        name = f"end-to-end / min(forward, decode), GPU, bfloat16, compiled, resize {resize}"
        measures.append(Measure(name, "ratio", (found.bound / found.end_to_end,), 0.95, note=note))
    return measures


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
