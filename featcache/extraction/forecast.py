"""What an extraction would do, and what it would cost in disk and time: found out without writing anything."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from featcache.cache.folder import Cache
from featcache.cache.samples import SampleTable
from featcache.dataset.manifest import Manifest
from featcache.encoders.base import Encoder, EncoderSpec
from featcache.errors import ShardError
from featcache.extraction.encoding.forwards import CPU_ROWS
from featcache.extraction.options import ExtractOptions
from featcache.extraction.planning.freeze import freeze_plan
from featcache.extraction.planning.plan import Plan
from featcache.extraction.planning.work import Work
from featcache.extraction.preparing.thread_reader import ThreadReader
from featcache.extraction.results import Progress
from featcache.extraction.survey.survey import samples_to_retry, survey
from featcache.identity.terms import CLEAN, CONTENT_OF, KEY_BYTES
from featcache.store.near_misses import NearMiss
from featcache.store.shard_set import ShardSet

__all__ = ["Forecast", "SideForecast", "forecast_extraction", "sum_known"]

_Number = TypeVar("_Number", int, float)

_BYTES_A_SHARD = 4400
_BYTES_AN_OUTPUT = 830
_BYTES_A_NORM = 4


@dataclass(frozen=True)
class SideForecast:
    """What one encoder would do under one view.

    Attributes
    ----------
    modality, view, fingerprint, model : str
        The producer, and the view.
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
    view: str
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
    unit_rows : int
        Contents a work unit, that is rows a shard.
    sides : tuple of SideForecast
        One per encoder and view.
    """

    dataset: str
    n_samples: int
    n_orphans: int
    n_unreadable: int
    n_missing: Mapping[str, int]
    free_bytes: int
    unit_rows: int
    sides: tuple[SideForecast, ...]

    @property
    def n_bytes(self) -> int | None:
        """Disk that all new shards will take, or None if it is not known."""
        return sum_known(side.n_bytes for side in self.sides)

    @property
    def seconds(self) -> float | None:
        """About how long all encoders will take, or None if it was not timed."""
        return sum_known(side.seconds for side in self.sides)

    def to_dict(self) -> dict[str, Any]:
        """Return what ``featcache extract --dry-run --json`` prints."""
        return asdict(self) | {"n_bytes": self.n_bytes, "seconds": self.seconds}


def sum_known(parts: Iterable[_Number | None]) -> _Number | None:
    """Return the sum, or None if a part is not known."""
    total: Any = 0
    for part in parts:
        if part is None:
            return None
        total += part
    return cast("_Number", total)


def forecast_extraction(
    manifest: Manifest,
    cache: Cache,
    specs: Sequence[EncoderSpec],
    *,
    views: str | Sequence[str] = (CLEAN,),
    options: ExtractOptions | None = None,
    timed: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Forecast:
    """Find out what an extraction would do, without writing anything into the cache, which need not exist.

    Parameters
    ----------
    manifest, cache, specs, views, options
        As `featcache.extraction.run.extract` takes them.
    timed : bool
        Load the encoders, prepare and encode one batch of contents from all over the data set, and estimate the
        time.
    progress : callable
        Called while contents are hashed.

    Raises
    ------
    FeatcacheError
        If the extraction would be refused or given up before anything is encoded.
    """
    options = options or ExtractOptions()
    work = Work.of(specs, views)
    work.check(manifest, cache, options)
    scanned = survey(manifest, cache, work, options=options, report=progress or (lambda _: None), is_dry=True)
    unit_rows = work.unit_rows(scanned.table, options)
    if options.partition is not None:
        freeze_plan(
            cache, scanned.table, work.items,
            partition=options.partition, unit_rows=unit_rows, refreeze=options.refreeze, is_dry=True,
        )  # fmt: skip
    plans = work.plans(cache, scanned.table, options=options, retry=samples_to_retry(cache, manifest, options))
    timing = _time_batches(manifest, scanned.table, plans, work, options) if timed else _Timing({}, {})
    sides = tuple(_side(cache, plan, timing, number, timed=timed) for number, plan in enumerate(plans))
    missing: dict[str, int] = {
        spec.modality: int((~scanned.table.has(CONTENT_OF[spec.modality])).sum()) for spec, _ in work.items
    }
    return Forecast(
        manifest.name,
        n_samples=len(scanned.table),
        n_orphans=len(manifest.orphans),
        n_unreadable=len(scanned.unreadable),
        n_missing=missing,
        free_bytes=_free_bytes(cache.path),
        unit_rows=unit_rows,
        sides=sides,
    )


def _side(cache: Cache, plan: Plan, timing: _Timing, number: int, *, timed: bool) -> SideForecast:
    fingerprint = plan.spec.fingerprint
    widths = {**_known_widths(cache, plan), **timing.widths.get(number, {})}
    seconds = timing.seconds.get(number, 0.0 if timed and not plan.n_todo else None)
    return SideForecast(
        modality=plan.spec.modality,
        view=plan.view,
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
        total += _BYTES_A_SHARD + len(unit.outputs) * _BYTES_AN_OUTPUT + len(unit.contents) * row
    return total


def _known_widths(cache: Cache, plan: Plan) -> Mapping[str, int]:
    """Return the columns of each output, as far as stored shards or the encoder tell before it is loaded."""
    try:
        stored = ShardSet.open(cache, plan.spec.fingerprint, plan.view).widths
    except ShardError:
        stored = {}
    return {**plan.spec.widths, **stored}


@dataclass(frozen=True)
class _Timing:
    """What a batch of each plan, by its number, has shown: columns of each output, and seconds for the whole plan."""

    widths: Mapping[int, Mapping[str, int]]
    seconds: Mapping[int, float]


def _time_batches(
    manifest: Manifest, table: SampleTable, plans: Sequence[Plan], work: Work, options: ExtractOptions
) -> _Timing:
    """Encode a batch of every plan, from all over the data set; the first forward of each only warms up."""
    widths: dict[int, Mapping[str, int]] = {}
    seconds: dict[int, float] = {}
    encoders: dict[int, Encoder] = {}
    n_rows = options.batch_size or CPU_ROWS
    pictures = _prepare_pictures(manifest, table, plans, work, options)
    for number, plan in enumerate(plans):
        if number in pictures:
            inputs, spent = pictures[number]
        else:
            chosen = _spread([plan], n_rows) if CONTENT_OF[plan.spec.modality] == "text" else []
            inputs, spent = [plan.spec.prepare(manifest.samples.caption[row]) for row in chosen], 0.0
        if not inputs:
            continue
        if id(plan.spec) not in encoders:
            encoders[id(plan.spec)] = plan.spec.load(options.device)
        vectors = encoders[id(plan.spec)].encode(inputs)
        started = time.perf_counter()
        encoders[id(plan.spec)].encode(inputs)
        forward = (time.perf_counter() - started) / len(inputs)
        widths[number] = {name: int(vector.shape[1]) for name, vector in vectors.items()}
        seconds[number] = spent + forward * plan.n_todo
    return _Timing(widths, seconds)


def _prepare_pictures(
    manifest: Manifest, table: SampleTable, plans: Sequence[Plan], work: Work, options: ExtractOptions
) -> dict[int, tuple[list[Any], float]]:
    """Prepare some pictures for every plan that needs them: inputs, and its share of the seconds for all pictures."""
    numbers = [i for i, plan in enumerate(plans) if CONTENT_OF[plan.spec.modality] == "image"]
    mine = [plans[i] for i in numbers]
    rows = _spread(mine, options.batch_size or CPU_ROWS)
    if not rows:
        return {}
    products = tuple(number for number, plan in enumerate(mine) if plan.n_todo)
    recipe = work.recipe()
    readings = (
        recipe.reading(table, row, image, products=products)
        for row in rows
        if (image := manifest.samples.image(row)) is not None
    )
    inputs: dict[int, list[Any]] = {product: [] for product in products}
    memory, started = options.picture_bytes, time.perf_counter()
    with ThreadReader(recipe, n_threads=options.threads, n_ahead=len(rows), memory=memory) as reader:
        for prepared in reader.prepare(readings):
            for product, pixels in prepared.inputs.items():
                inputs[product].append(pixels)
    seconds = (time.perf_counter() - started) / len(rows) * max(plan.n_todo for plan in mine)
    total = sum(plan.n_todo for plan in mine)
    return {numbers[p]: (inputs[p], seconds * mine[p].n_todo / total) for p in products}


def _spread(plans: Sequence[Plan], n_rows: int) -> list[int]:
    """Choose contents to do from all over the data set."""
    rows = np.unique(np.concatenate([np.empty(0, np.int64), *(u.contents for plan in plans for u in plan.units)]))
    if not len(rows):
        return []
    chosen: list[int] = rows[np.unique(np.linspace(0, len(rows) - 1, n_rows).astype(np.int64))].tolist()
    return chosen


def _free_bytes(folder: Path) -> int:
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free
