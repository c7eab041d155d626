"""What an extraction would do, and what it would cost in disk and time: found out without writing anything."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from featcache.cache.folder import Cache
from featcache.dataset.manifest import Manifest
from featcache.encoders.base import EncoderSpec
from featcache.errors import ShardError
from featcache.extraction.options import ExtractOptions
from featcache.extraction.planning.checks import check_extraction
from featcache.extraction.planning.extraction_plan import plan_extraction
from featcache.extraction.planning.plan import Plan
from featcache.extraction.results import Progress
from featcache.extraction.timing import Timing, time_batches
from featcache.extraction.work import Extraction, Work
from featcache.identity.terms import CLEAN, KEY_BYTES, Modality
from featcache.store.near_misses import NearMiss
from featcache.store.shard_set import ShardSet

__all__ = ["Forecast", "SideForecast", "disk_bytes", "forecast_extraction", "free_bytes", "sum_known"]

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

    modality: Modality
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
    broken : tuple of str
        One line for each part of the source that is damaged or refused.
    """

    dataset: str
    n_samples: int
    n_orphans: int
    n_unreadable: int
    n_missing: Mapping[str, int]
    free_bytes: int
    unit_rows: int
    sides: tuple[SideForecast, ...]
    broken: tuple[str, ...] = ()

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


def sum_known(values: Iterable[_Number | None]) -> _Number | None:
    """Return the sum, or None if one is not known."""
    every = list(values)
    known = [value for value in every if value is not None]
    return sum(known) if len(known) == len(every) else None


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
    extraction = Extraction(Work.of(specs, views), manifest, cache, options or ExtractOptions())
    check_extraction(extraction)
    planned = plan_extraction(extraction, report=progress or _ignore, tell=_ignore, is_dry=True)
    timing = time_batches(planned) if timed else Timing({}, {})
    return Forecast(
        manifest.name,
        n_samples=len(planned.scanned.table),
        n_orphans=len(manifest.orphans),
        n_unreadable=len(planned.scanned.unreadable),
        n_missing=planned.n_missing,
        free_bytes=free_bytes(cache.path),
        unit_rows=planned.unit_rows,
        sides=tuple(_side(cache, plan, timing, number, timed=timed) for number, plan in enumerate(planned.plans)),
        broken=tuple(gap.message for gap in manifest.broken),
    )


def _ignore(_: object) -> None:
    pass


def _side(cache: Cache, plan: Plan, timing: Timing, number: int, *, timed: bool) -> SideForecast:
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
        n_bytes=disk_bytes(plan, widths),
        seconds=seconds,
        misses=plan.misses,
    )


def disk_bytes(plan: Plan, widths: Mapping[str, int]) -> int | None:
    """Return about how much the work of an encoder will take on disk; None where the columns of an output are open."""
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


def free_bytes(folder: Path) -> int:
    """Return how much is free where a folder is, or will be."""
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free
