"""What an extraction would do, and what it would cost in disk and time: found out without writing anything."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache import CLEAN, Cache
from featcache.encoders.base import EncoderSpec
from featcache.encoding import Contents
from featcache.errors import ImageError, ShardError
from featcache.extract import memo_path, samples_to_retry
from featcache.manifest import Manifest
from featcache.misses import NearMiss
from featcache.models import ModelFolder
from featcache.options import ExtractOptions
from featcache.plan import Plan, build_plan
from featcache.results import Progress
from featcache.samples import SampleTable
from featcache.scan import Scan, scan
from featcache.shard import KEY_BYTES
from featcache.shardset import ShardSet

__all__ = ["Forecast", "SideForecast", "forecast_extraction"]

_WIDTH_FIELDS = ("hidden_size", "dim", "d_model")
_BYTES_A_SHARD = 8192
_BYTES_A_NORM = 4


@dataclass(frozen=True)
class SideForecast:
    """What one encoder would do.

    Attributes
    ----------
    modality, fingerprint, model : str
        The producer.
    n_contents, n_cached, n_failed, n_new, n_todo, n_units : int
        Unique contents; those that are there; those that failed before and are left alone; those left alone because
        only failures are tried again; those to encode, and in how many work units.
    n_bytes : int or None
        Disk that the new shards will take; None if the width of an output is not known before it is encoded.
    seconds : float or None
        About how long it will take after loading the encoder; None unless one batch was timed.
    misses : tuple of NearMiss
        Other producers that hold contents which are to be encoded.
    """

    modality: str
    fingerprint: str
    model: str
    n_contents: int
    n_cached: int
    n_failed: int
    n_new: int
    n_todo: int
    n_units: int
    n_bytes: int | None
    seconds: float | None
    misses: tuple[NearMiss, ...]


@dataclass(frozen=True)
class Forecast:
    """What an extraction would do.

    Attributes
    ----------
    dataset : str
        Name of the data set in the cache.
    n_samples, n_orphans, n_unreadable : int
        Samples, manifest entries skipped because a file was not there, and pictures that cannot be read.
    n_missing : mapping of modality to int
        Samples that have no content on that side.
    free_bytes : int
        Free disk where the cache is, or would be.
    sides : tuple of SideForecast
        One per encoder.
    """

    dataset: str
    n_samples: int
    n_orphans: int
    n_unreadable: int
    n_missing: Mapping[str, int]
    free_bytes: int
    sides: tuple[SideForecast, ...]

    @property
    def n_bytes(self) -> int | None:
        """Disk that all new shards will take, or None if it is not known."""
        parts = [side.n_bytes for side in self.sides]
        return None if None in parts else sum(part for part in parts if part is not None)

    @property
    def seconds(self) -> float | None:
        """About how long all encoders will take, or None if it was not timed."""
        parts = [side.seconds for side in self.sides]
        return None if None in parts else sum(part for part in parts if part is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return what ``featcache extract --dry-run --json`` prints."""
        return asdict(self) | {"n_bytes": self.n_bytes, "seconds": self.seconds}


def forecast_extraction(
    manifest: Manifest,
    cache: Cache,
    specs: Sequence[EncoderSpec],
    *,
    options: ExtractOptions | None = None,
    timed: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Forecast:
    """Find out what `extract` would do with the same arguments; nothing is written.

    Parameters
    ----------
    manifest : Manifest
        The samples.
    cache : Cache
        Where it would store; the folder need not exist.
    specs : sequence of EncoderSpec
        The encoders.
    options : ExtractOptions
        How it would run.
    timed : bool
        Load each encoder that has something to do, encode one batch of contents from all over the data set, and
        estimate the time.
    progress : callable
        Called while contents are hashed.
    """
    options = options or ExtractOptions()
    report = progress or (lambda _: None)
    scanned = _scan(manifest, cache, options, report)
    retry = samples_to_retry(cache, manifest, options)
    sides = []
    for spec in specs:
        plan = build_plan(cache, spec, scanned.table, view=CLEAN, unit_rows=options.unit_rows, retry=retry)
        widths = _known_widths(cache, spec)
        seconds: float | None = None if plan.n_todo else 0.0
        if timed and plan.n_todo:
            seconds, found = _time_batch(manifest, scanned.table, plan, options)
            widths = {**widths, **found}
        sides.append(_side(plan, widths, seconds if timed else None))
    missing: dict[str, int] = {spec.modality: int((~scanned.table.has(spec.modality)).sum()) for spec in specs}
    return Forecast(
        manifest.name,
        n_samples=len(scanned.table),
        n_orphans=len(manifest.orphans),
        n_unreadable=len(scanned.unreadable),
        n_missing=missing,
        free_bytes=_free_bytes(cache.path),
        sides=tuple(sides),
    )


def _scan(manifest: Manifest, cache: Cache, options: ExtractOptions, report: Callable[[Progress], None]) -> Scan:
    with tempfile.TemporaryDirectory(prefix="featcache-") as folder:
        # A scan brings its memo up to date: it gets a copy of the cache's.
        memo = Path(folder, "memo.h5")
        with suppress(OSError):
            shutil.copyfile(memo_path(cache, manifest), memo)
        return scan(
            manifest,
            memo=memo,
            rehash=options.rehash,
            workers=options.workers,
            seed=options.seed,
            progress=lambda done, total: report(Progress("scan", done, total)),
        )


def _side(plan: Plan, widths: Mapping[str, int], seconds: float | None) -> SideForecast:
    fingerprint = plan.spec.fingerprint
    return SideForecast(
        modality=plan.spec.modality,
        fingerprint=fingerprint.digest,
        model=fingerprint.model_name,
        n_contents=plan.n_contents,
        n_cached=plan.n_cached,
        n_failed=plan.n_failed,
        n_new=plan.n_new,
        n_todo=plan.n_todo,
        n_units=len(plan.units),
        n_bytes=_disk_bytes(plan, widths),
        seconds=seconds,
        misses=plan.misses,
    )


def _disk_bytes(plan: Plan, widths: Mapping[str, int]) -> int | None:
    itemsize = np.dtype(str(plan.spec.fingerprint.identity["storage_dtype"])).itemsize
    total = 0
    for unit in plan.units:
        if any(name not in widths for name in unit.outputs):
            return None
        row = KEY_BYTES + sum(widths[name] * itemsize + _BYTES_A_NORM for name in unit.outputs)
        total += _BYTES_A_SHARD + len(unit.contents) * row
    return total


def _known_widths(cache: Cache, spec: EncoderSpec) -> Mapping[str, int]:
    """Return the columns of each output, as far as stored shards or the model's configuration tell."""
    try:
        stored = ShardSet.open(cache, spec.fingerprint, CLEAN).widths
    except ShardError:
        stored = {}
    folder = getattr(spec, "folder", None)
    if not isinstance(folder, ModelFolder):
        return stored
    config = folder.config
    nested = config.get("vision_config")
    if spec.modality == "image" and isinstance(nested, dict):
        config = nested
    width = next((config[name] for name in _WIDTH_FIELDS if type(config.get(name)) is int), None)
    return {**(dict.fromkeys(spec.outputs, width) if width else {}), **stored}


def _time_batch(
    manifest: Manifest, table: SampleTable, plan: Plan, options: ExtractOptions
) -> tuple[float | None, Mapping[str, int]]:
    """Encode one batch; returns the estimated seconds for the whole plan, and the width of each output.

    The batch is taken from all over the data set, and goes through the encoder twice: the first time warms it up.
    """
    contents = Contents(manifest, table.keys(plan.spec.modality), plan.spec)
    rows = np.concatenate([unit.contents for unit in plan.units])
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, options.batch_size).astype(np.int64))]
    encoder = plan.spec.load(options.device)
    started = time.perf_counter()
    with ThreadPoolExecutor(options.workers, thread_name_prefix="prepare") as pool:
        futures = [pool.submit(contents.prepare, int(row)) for row in chosen]
        prepared = []
        for future in futures:
            with suppress(ImageError, OSError):
                prepared.append(future.result())
    seconds = time.perf_counter() - started
    if not prepared:
        return None, {}
    vectors = encoder.encode(prepared)
    started = time.perf_counter()
    encoder.encode(prepared)
    seconds += time.perf_counter() - started
    widths = {name: int(vector.shape[1]) for name, vector in vectors.items()}
    return seconds / len(chosen) * plan.n_todo, widths


def _free_bytes(folder: Path) -> int:
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free
