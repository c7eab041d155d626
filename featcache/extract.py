"""Running encoders over what a cache lacks: plan, encode work unit by work unit, publish. The only writer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from featcache.audit import write_orphans
from featcache.cache import CLEAN, Cache
from featcache.claims import sweep_claims
from featcache.encoders.base import EncoderSpec
from featcache.errors import FeatcacheError, ShardError
from featcache.failure_list import scan_folder
from featcache.failures import read_failure_file, write_failures
from featcache.index import update_index
from featcache.manifest import Manifest
from featcache.options import ExtractOptions, FailureLimit
from featcache.plan import Plan, build_plan
from featcache.publish import remove_leftovers
from featcache.results import ExtractResult, Progress, SideResult
from featcache.samples import write_samples
from featcache.scan import Scan, scan
from featcache.side import Side

__all__ = [
    "ExtractOptions",
    "ExtractResult",
    "FailureLimit",
    "Progress",
    "SideResult",
    "extract",
    "memo_path",
    "samples_to_retry",
]

_UNREADABLE = "read"


def extract(
    manifest: Manifest,
    cache: Cache,
    specs: Sequence[EncoderSpec],
    *,
    options: ExtractOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
    announce: Callable[[Plan], None] | None = None,
) -> ExtractResult:
    """Run encoders over what a cache lacks of a data set.

    Safe to interrupt anywhere and to start again: what is published stays, the rest is planned anew. Several
    processes may do this to one cache at once.

    Parameters
    ----------
    manifest : Manifest
        The samples.
    cache : Cache
        Where to store.
    specs : sequence of EncoderSpec
        The encoders, at most one a modality.
    options : ExtractOptions
        How to run.
    progress : callable
        Called after every batch, from the calling thread.
    announce : callable
        Called with the plan of each side before it is carried out.

    Raises
    ------
    FeatcacheError
        If more contents fail than the options allow, or all of one side.
    """
    options = options or ExtractOptions()
    report = progress or (lambda _: None)
    remove_leftovers(cache.path)
    sweep_claims(cache.path / "claims")
    for spec in specs:
        cache.add_producer(spec.fingerprint)
    scanned = scan(
        manifest,
        memo=memo_path(cache, manifest),
        rehash=options.rehash,
        workers=options.workers,
        seed=options.seed,
        progress=lambda done, total: report(Progress("scan", done, total)),
    )
    table = scanned.table
    _check_readable(scanned, specs, options)
    retry = samples_to_retry(cache, manifest, options)
    write_samples(cache.sample_path(manifest.name), table)
    write_failures(scan_folder(cache, manifest.name), _UNREADABLE, scanned.unreadable)
    write_orphans(scan_folder(cache, manifest.name) / "orphans.json", manifest.orphans)
    sides: list[SideResult] = []
    failed_sides: list[str] = []
    for spec in specs:
        plan = build_plan(cache, spec, table, view=CLEAN, unit_rows=options.unit_rows, retry=retry)
        if announce:
            announce(plan)
        n_failed = len(scanned.unreadable) + sum(len(side.failures) for side in sides)
        side = Side(manifest, table, plan, cache=cache, options=options, report=report)
        sides.append(side.run(n_failed_before=n_failed))
        failed_sides += _tell_failed(sides[-1], plan)
    update_index(cache)
    if failed_sides:
        raise FeatcacheError("; ".join(failed_sides))
    missing: dict[str, int] = {spec.modality: int((~table.has(spec.modality)).sum()) for spec in specs}
    return ExtractResult(
        manifest.name,
        len(table),
        len(manifest.orphans),
        missing,
        scanned.unreadable,
        tuple(sides),
        manifest.broken,
    )


def memo_path(cache: Cache, manifest: Manifest) -> Path:
    """Return where the digests of a data set's picture files are remembered."""
    return cache.path / "memo" / f"{manifest.name}.h5"


def samples_to_retry(cache: Cache, manifest: Manifest, options: ExtractOptions) -> frozenset[str] | None:
    """Return which samples had an unreadable picture at the last extraction, or None unless failures are retried."""
    if not options.retry_failed:
        return None
    path = scan_folder(cache, manifest.name) / f"{_UNREADABLE}.json"
    try:
        return frozenset(failure.sample_id for failure in read_failure_file(path))
    except ShardError:
        return frozenset()


def _check_readable(scanned: Scan, specs: Sequence[EncoderSpec], options: ExtractOptions) -> None:
    """Raise before anything is written if so few pictures can be read that the fault is not in the pictures."""
    if not scanned.unreadable:
        return
    n_failed, n_readable = len(scanned.unreadable), int(scanned.table.has("image").sum())
    first = scanned.unreadable[0]
    limit = options.max_failures
    if limit is not None and limit.is_exceeded(n_failed, n_failed + n_readable):
        what = f"stopped: {n_failed} of {n_failed + n_readable} pictures cannot be read, more than the limit of {limit}"
    elif not n_readable and any(spec.modality == "image" for spec in specs):
        what = f"none of the {n_failed} pictures can be read"
    else:
        return
    raise FeatcacheError(
        f"{what}, the first of sample {first.sample_id!r}: {first.message}; the sample table stays as it was"
    )


def _tell_failed(side: SideResult, plan: Plan) -> list[str]:
    """Say so if every content of a side failed: a fault of the encoder or of the data set, not of some contents."""
    if not side.n_contents or side.n_failed < side.n_contents:
        return []
    first = next(iter([*side.failures, *plan.earlier]), None)
    why = f", the first of sample {first.sample_id!r}: {first.message}" if first else ""
    again = "" if side.failures else "; --retry-failed tries them again"
    return [f"all {side.n_contents} {side.modality} contents failed with {side.model}{why}{again}"]
