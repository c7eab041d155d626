"""Before anything is encoded: a data set's contents are hashed, judged, and recorded in the cache."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from featcache.cache.failures import read_failure_file, write_failures
from featcache.cache.folder import Cache
from featcache.cache.layout import check_folders
from featcache.cache.orphans import orphans_path, scan_folder, write_orphans
from featcache.cache.requests import write_requests
from featcache.cache.samples import PRESENT, UNREADABLE, read_samples, write_samples
from featcache.dataset.manifest import Manifest
from featcache.errors import FeatcacheError, ShardError
from featcache.extraction.partition import scanning
from featcache.extraction.results import Progress
from featcache.extraction.survey.reading import check_reading, seed_before
from featcache.extraction.survey.scan import Scan, scan
from featcache.extraction.work import Extraction
from featcache.files.regular import check_regular

__all__ = ["record_survey", "samples_to_retry", "survey"]

_UNREADABLE = "read"


def survey(extraction: Extraction, *, report: Callable[[Progress], None], is_dry: bool = False) -> Scan:
    """Hash every content of a data set, and make sure that enough of its pictures can be read.

    Of several processes that divide an extraction one hashes, and the others find its memo.

    Parameters
    ----------
    extraction : Extraction
        What is asked for.
    report : callable
        Called while contents are hashed.
    is_dry : bool
        Write nothing into the cache.

    Raises
    ------
    FeatcacheError
        If so few pictures can be read that the fault is not in the pictures. What was asked for, and which could not
        be read, is on record then; the sample table is that of an earlier extraction, if there was any. Or if a folder
        of the cache is a link, or the data set was read by other rules before and labels would change.
    """
    cache = extraction.cache
    known = _known_unreadable(extraction)
    scanned = replace(_hash(extraction, report=report, is_dry=is_dry), known=known)
    check_reading(extraction.manifest, cache, scanned.table)
    if fault := _fault(scanned, extraction):
        if is_dry:
            raise FeatcacheError(f"{fault}; the extraction would stop here")
        _record_request(extraction, scanned)
        # Alone: what the source lacked is only on record of a data set that has, or had, a sample table.
        write_failures(scan_folder(cache, scanned.table.dataset), _UNREADABLE, scanned.unreadable, root=cache.path)
        raise FeatcacheError(f"{fault}; no sample table was written, `featcache failures` lists what cannot be read")
    return scanned


def _hash(extraction: Extraction, *, report: Callable[[Progress], None], is_dry: bool) -> Scan:
    manifest, cache, options = extraction.manifest, extraction.cache, extraction.options
    memo = cache.path / "memo" / f"{manifest.name}.h5"
    check_folders(cache.path)
    is_alone = is_dry or options.partition is None or options.partition.count == 1
    turns = nullcontext() if is_alone else scanning(cache, manifest.name, timeout=options.claim_timeout)
    with _copied(memo) if is_dry else nullcontext(memo) as path, turns as is_known:
        return scan(
            manifest,
            memo=path,
            rehash=options.rehash and not is_known,
            workers=options.threads,
            processes=options.processes_for,
            seed=seed_before(cache, manifest.name) or 0 if options.seed is None else options.seed,
            progress=lambda done, total: report(Progress("scan", done, total)),
        )


@contextmanager
def _copied(memo: Path) -> Iterator[Path]:
    """Give a copy: a scan brings its memo up to date."""
    with tempfile.TemporaryDirectory(prefix="featcache-") as folder:
        copy = Path(folder, "memo.h5")
        with suppress(OSError):
            check_regular(memo.stat(), memo)
            shutil.copyfile(memo, copy)
        yield copy


def _record_request(extraction: Extraction, scanned: Scan) -> None:
    """Write what is asked for, and of which encoders; nothing if only failures are tried again."""
    if extraction.options.retry_failed:
        return
    for spec, _ in extraction.work.items:
        extraction.cache.add_producer(spec.fingerprint)
    skips_orphans = bool(extraction.manifest.orphans)
    write_requests(extraction.cache, extraction.work.requests(scanned.table, skips_orphans=skips_orphans))


def record_survey(extraction: Extraction, scanned: Scan) -> None:
    """Write what is asked for, the sample table, what could not be read, and what was not there or damaged."""
    _record_request(extraction, scanned)
    manifest, cache = extraction.manifest, extraction.cache
    folder = scan_folder(cache, manifest.name)
    write_samples(cache.sample_path(manifest.name), scanned.table, root=cache.path)
    write_failures(folder, _UNREADABLE, scanned.unreadable, root=cache.path)
    lines = ([gap.message for gap in gaps] for gaps in (manifest.orphans, manifest.broken))
    write_orphans(orphans_path(cache, manifest.name), *lines, root=cache.path)


def samples_to_retry(extraction: Extraction) -> frozenset[str] | None:
    """Return which samples had an unreadable picture at the last extraction, or None unless failures are retried."""
    if not extraction.options.retry_failed:
        return None
    cache, manifest = extraction.cache, extraction.manifest
    # An extraction that was given up has put others on record than there are in the table of the one before it.
    return _on_record(cache, manifest) | _in_table(cache, manifest, UNREADABLE)


def _known_unreadable(extraction: Extraction) -> frozenset[str]:
    """Return the samples of which it is on record that their picture cannot be read, so that it is no news.

    None of which an earlier table has a picture: that it is gone must not make the table forget it. And none to a part
    of a division: what another part has just put on record is the reason for all of them to give up.
    """
    manifest, cache, options = extraction.manifest, extraction.cache, extraction.options
    is_part = options.partition is not None and options.partition.count > 1
    if options.max_failures is None or options.retry_failed or is_part:
        return frozenset()
    known = _on_record(cache, manifest)
    return known - _in_table(cache, manifest, PRESENT) if known else known


def _on_record(cache: Cache, manifest: Manifest) -> frozenset[str]:
    try:
        found = read_failure_file(scan_folder(cache, manifest.name) / f"{_UNREADABLE}.json")
    except ShardError:
        return frozenset()
    return frozenset(failure.sample_id for failure in found)


def _in_table(cache: Cache, manifest: Manifest, status: int) -> frozenset[str]:
    """Return the samples whose picture has this status in the table of an earlier extraction, if it can be read."""
    try:
        table = read_samples(cache.sample_path(manifest.name))
    except ShardError:
        return frozenset()
    return frozenset(table.sample_id[row] for row in np.flatnonzero(table.image_status == status).tolist())


def _fault(scanned: Scan, extraction: Extraction) -> str | None:
    """Say why so few pictures can be read that the fault is not in the pictures; None if that is not so."""
    if not scanned.unreadable:
        return None
    n_failed, n_readable = len(scanned.news), int(scanned.table.has("image").sum())
    first, limit = next(iter(scanned.news), scanned.unreadable[0]), extraction.options.max_failures
    if limit is not None and limit.is_exceeded(n_failed, n_failed + n_readable):
        what = f"stopped: {n_failed} of {n_failed + n_readable} pictures cannot be read, more than the limit of {limit}"
    elif not n_readable and "image" in extraction.work.contents:
        what = f"none of the {len(scanned.unreadable)} pictures can be read"
    else:
        return None
    return f"{what}, the first of sample {first.sample_id!r}: {first.message}"
