"""How fast an extraction can go on this machine: its steps alone, then all of it, on a sample of the data."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from featcache.cache.folder import Cache, Defaults
from featcache.dataset.manifest import Manifest
from featcache.dataset.sample import ImageSource
from featcache.encoders.base import EncoderSpec
from featcache.encoders.loading import resolve_device
from featcache.errors import FeatcacheError
from featcache.extraction.encoding.loaded import CPU_ROWS, LoadedEncoders
from featcache.extraction.options import ExtractOptions, available_cores
from featcache.extraction.preloaded import Preloaded
from featcache.extraction.rates import ForwardRate, ReadingCost, example_of, measure_forward, measure_reading
from featcache.extraction.results import Progress
from featcache.extraction.run import ExtractResult, extract
from featcache.extraction.work import Work
from featcache.identity.terms import CLEAN, CONTENT_OF, Content
from featcache.pictures.decoders import find_decoder

__all__ = ["BenchResult", "bench", "thin", "time_extraction"]

_NEIGHBOURS = 48


@dataclass(frozen=True)
class BenchResult:
    """What was measured; times are those of the sample.

    Attributes
    ----------
    dataset, device : str
        What was read, and where the encoders ran.
    cores, workers : int
        Cores that this process may use, and workers that prepared the input.
    n_samples, n_captions, n_pictures : int
        Samples, and the different captions and pictures of them that were encoded.
    forwards : tuple of ForwardRate
        One per encoder, alone.
    reading : ReadingCost
        What one core needs for the input.
    end_to_end : float
        Seconds of the whole extraction of the sample into an empty cache, the loading of the encoders left out.
    stages : mapping of str to float
        The same by what was being done: ``scan`` (hashing), ``text``, ``image``.
    n_failed : int
        Captions and pictures that could not be read or encoded.
    """

    dataset: str
    device: str
    cores: int
    workers: int
    n_samples: int
    n_captions: int
    n_pictures: int
    forwards: tuple[ForwardRate, ...]
    reading: ReadingCost
    end_to_end: float
    stages: Mapping[str, float]
    n_failed: int = 0

    @property
    def forward_seconds(self) -> float:
        """All forwards, one after the other."""
        return sum(forward.seconds for forward in self.forwards)

    @property
    def reading_seconds(self) -> float:
        """All input, on as many cores as there are workers."""
        return self.n_pictures / self.reading.rate / max(1, min(self.workers, self.cores))

    @property
    def bound(self) -> float:
        """Least seconds of the whole: on a CPU forwards and input share the cores, else the slower one decides."""
        both = self.forward_seconds, self.reading_seconds
        return sum(both) if self.device == "cpu" else max(both)

    @property
    def binds(self) -> str:
        """Which step takes longer: ``forward`` or ``reading``."""
        return "reading" if self.reading_seconds > self.forward_seconds else "forward"

    @property
    def workers_needed(self) -> int:
        """Workers, each with a core of its own, that keep up with the forwards."""
        seconds = self.n_pictures / self.reading.rate
        return max(1, math.ceil(seconds / self.forward_seconds - 1e-9)) if self.forward_seconds else 1

    @property
    def reading_share(self) -> float:
        """Share of reading in the time of all cores, 0 to 1, on a CPU, whose cores it shares with the forwards."""
        seconds = self.n_pictures / self.reading.rate
        total = seconds + self.forward_seconds * self.cores
        return seconds / total if total else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return what ``featcache bench --json`` prints."""
        derived = ("forward_seconds", "reading_seconds", "bound", "binds", "workers_needed")
        return asdict(self) | {name: getattr(self, name) for name in derived}


def bench(
    manifest: Manifest,
    specs: Sequence[EncoderSpec],
    defaults: Defaults,
    *,
    views: str | Sequence[str] = (CLEAN,),
    options: ExtractOptions | None = None,
    seconds: float = 5.0,
    progress: Callable[[str], None] | None = None,
) -> BenchResult:
    """Measure the steps of an extraction alone, and then the whole.

    Parameters
    ----------
    manifest : Manifest
        The data, or better a sample of them (`thin`): all of it is extracted once.
    specs : sequence of EncoderSpec
        The encoders.
    defaults : Defaults
        Of the temporary cache.
    views : str or sequence of str
        Perturbations of the pictures, as `extract` takes them.
    options : ExtractOptions
        How to run.
    seconds : float
        About how long each step is measured.
    progress : callable
        Called with what is measured next.

    Raises
    ------
    FeatcacheError
        If none of the contents can be used.
    """
    options, tell = options or ExtractOptions(), progress or (lambda _: None)
    captions, pictures = _captions(manifest), _pictures(manifest)
    work = Work.of(specs, views)
    of_pictures = [spec for spec in specs if CONTENT_OF[spec.modality] == "image"]
    tell("reading")
    recipe = replace(work.recipe(), decoder=find_decoder(options.decoder))
    reading = measure_reading(pictures if of_pictures else (), recipe, seconds=seconds)
    if of_pictures and reading.n_failed >= reading.n_pictures:
        raise FeatcacheError(f"none of the {reading.n_failed} pictures tried of {manifest.name!r} can be read")
    forwards, loaded, n_rows = _measure_forwards(work, options, captions, len(pictures), seconds=seconds, tell=tell)
    tell("extraction")
    # Batches are tried out once, above.
    rows = replace(options, batch_size=n_rows)
    device, stages = resolve_device(options.device), _Stages()
    whole, done = _extract_timed(manifest, loaded, defaults, views=views, options=rows, progress=stages)
    n_encoded: dict[str, int] = {}
    for side in done.sides:
        n_encoded[side.fingerprint] = max(side.n_encoded, n_encoded.get(side.fingerprint, 0))
    forwards = [replace(forward, n_contents=n_encoded[forward.fingerprint]) for forward in forwards]
    return BenchResult(
        manifest.name,
        device=device,
        cores=available_cores(),
        workers=options.threads if device == "cpu" else options.workers or available_cores(),
        n_samples=len(manifest.samples),
        n_captions=_most(forwards, "text"),
        n_pictures=_most(forwards, "image"),
        forwards=tuple(forwards),
        reading=reading,
        end_to_end=whole,
        stages=stages.seconds,
        n_failed=_count_failed(done),
    )


def _measure_forwards(
    work: Work,
    options: ExtractOptions,
    captions: Sequence[str],
    n_pictures: int,
    *,
    seconds: float,
    tell: Callable[[str], None],
) -> tuple[list[ForwardRate], list[EncoderSpec], int]:
    """Measure each encoder alone; returns how fast they are, them as loaded ones, and rows a forward of the last."""
    rates: list[ForwardRate] = []
    loaded: list[EncoderSpec] = []
    encoders, n_rows = LoadedEncoders(options), CPU_ROWS
    for spec, views in work.items:
        tell(f"{spec.modality} forward")
        encoder = encoders.of(spec, example_of(spec))
        n_rows = encoder.n_rows
        loaded.append(cast("EncoderSpec", Preloaded(spec, encoder.encoder)))
        n_contents = n_pictures if CONTENT_OF[spec.modality] == "image" else len(captions)
        rate = measure_forward(
            spec, encoder.encoder, captions,
            n_contents=n_contents, n_views=len(views), n_rows=n_rows, seconds=seconds,
        )  # fmt: skip
        rates.append(rate)
    return rates, loaded, n_rows


def _most(forwards: Sequence[ForwardRate], content: Content) -> int:
    own = [f.n_contents for f in forwards if CONTENT_OF[f.modality] == content]
    return max(own, default=0)


def _count_failed(done: ExtractResult) -> int:
    """Count contents that failed, each once, under however many encoders and views."""
    failed = {(CONTENT_OF[side.modality], f.sample_id) for side in done.sides for f in side.failures}
    return len(failed | {("image", failure.sample_id) for failure in done.unreadable})


class _Stages:
    """How long each stage took: hashing all that was before the passes, and these, which may take turns, their own."""

    def __init__(self) -> None:
        self._since = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def __call__(self, progress: Progress) -> None:
        if self.seconds.keys() <= {"scan"}:
            self.seconds["scan"] = time.perf_counter() - self._since
        if progress.stage != "scan":
            self.seconds[progress.stage] = sum(progress.seconds.values())


def time_extraction(
    manifest: Manifest,
    specs: Sequence[EncoderSpec],
    defaults: Defaults,
    *,
    views: str | Sequence[str] = (CLEAN,),
    options: ExtractOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> float:
    """Return how many seconds it takes to extract everything into an empty cache that is removed afterwards."""
    return _extract_timed(manifest, specs, defaults, views=views, options=options, progress=progress)[0]


def _extract_timed(
    manifest: Manifest,
    specs: Sequence[EncoderSpec],
    defaults: Defaults,
    *,
    views: str | Sequence[str],
    options: ExtractOptions | None,
    progress: Callable[[Progress], None] | None,
) -> tuple[float, ExtractResult]:
    with tempfile.TemporaryDirectory(prefix="featcache-bench-") as folder:
        cache = Cache.open_or_create(Path(folder) / "cache", defaults)
        started = time.perf_counter()
        done = extract(manifest, cache, specs, views=views, options=options, progress=progress)
        return time.perf_counter() - started, done


def thin(manifest: Manifest, n_samples: int) -> Manifest:
    """Return about so many samples from all over a data set, neighbours together: they share captions."""
    n = len(manifest.samples)
    if n <= n_samples:
        return manifest
    size = min(_NEIGHBOURS, n_samples)
    starts = np.linspace(0, n - size, max(1, n_samples // size)).astype(np.int64)
    rows = np.unique(starts[:, None] + np.arange(size))
    return replace(manifest, samples=manifest.samples.select(rows.tolist()))


def _captions(manifest: Manifest) -> list[str]:
    return list(dict.fromkeys(sample.caption for sample in manifest.samples if sample.caption))


def _pictures(manifest: Manifest) -> list[ImageSource]:
    return list({sample.image.name: sample.image for sample in manifest.samples if sample.image}.values())
