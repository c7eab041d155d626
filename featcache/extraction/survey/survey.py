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
from featcache.extraction.options import ExtractOptions
from featcache.extraction.partition import scanning
from featcache.extraction.planning.work import Work
from featcache.extraction.results import Progress
from featcache.extraction.survey.scan import Scan, scan
from featcache.files.regular import check_regular
from featcache.identity.terms import Content

__all__ = ["memo_path", "record_survey", "samples_to_retry", "survey"]

_UNREADABLE = "read"


def memo_path(cache: Cache, manifest: Manifest) -> Path:
    """Return where the digests of a data set's picture files are remembered."""
    return cache.path / "memo" / f"{manifest.name}.h5"


def survey(
    manifest: Manifest,
    cache: Cache,
    work: Work,
    *,
    options: ExtractOptions,
    report: Callable[[Progress], None],
    is_dry: bool = False,
) -> Scan:
    """Hash every content of a data set, and make sure that enough of its pictures can be read.

    Of several processes that divide an extraction one hashes, and the others find its memo.

    Parameters
    ----------
    manifest : Manifest
        The samples.
    cache : Cache
        Where the memo is.
    work : Work
        What is asked for.
    options : ExtractOptions
        How to run.
    report : callable
        Called while contents are hashed.
    is_dry : bool
        Write nothing into the cache.

    Raises
    ------
    FeatcacheError
        If so few pictures can be read that the fault is not in the pictures. What was asked for, and which could not
        be read, is on record then; the sample table is that of an earlier extraction, if there was any. Or if a folder
        of the cache is a link.
    """
    known = _known_unreadable(cache, manifest, options)
    scanned = replace(_hash(manifest, cache, options=options, report=report, is_dry=is_dry), known=known)
    if fault := _fault(scanned, work.contents, options):
        if is_dry:
            raise FeatcacheError(f"{fault}; the extraction would stop here")
        if not options.retry_failed:
            record_request(manifest, cache, scanned, work)
        # Alone: what the source lacked is only on record of a data set that has, or had, a sample table.
        write_failures(scan_folder(cache, manifest.name), _UNREADABLE, scanned.unreadable, root=cache.path)
        raise FeatcacheError(f"{fault}; no sample table was written, `featcache failures` lists what cannot be read")
    return scanned


def _hash(
    manifest: Manifest, cache: Cache, *, options: ExtractOptions, report: Callable[[Progress], None], is_dry: bool
) -> Scan:
    memo = memo_path(cache, manifest)
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
            seed=options.seed,
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


def record_request(manifest: Manifest, cache: Cache, scanned: Scan, work: Work) -> None:
    """Write what is asked for, and of which encoders."""
    for spec, _ in work.items:
        cache.add_producer(spec.fingerprint)
    write_requests(cache, work.requests(scanned.table, skips_orphans=bool(manifest.orphans)))


def record_survey(manifest: Manifest, cache: Cache, scanned: Scan) -> None:
    """Write the sample table, what could not be read, and what was not there or damaged."""
    folder = scan_folder(cache, manifest.name)
    write_samples(cache.sample_path(manifest.name), scanned.table, root=cache.path)
    write_failures(folder, _UNREADABLE, scanned.unreadable, root=cache.path)
    write_orphans(orphans_path(cache, manifest.name), manifest.orphans, manifest.broken, root=cache.path)


def samples_to_retry(cache: Cache, manifest: Manifest, options: ExtractOptions) -> frozenset[str] | None:
    """Return which samples had an unreadable picture at the last extraction, or None unless failures are retried."""
    if not options.retry_failed:
        return None
    # An extraction that was given up has put others on record than there are in the table of the one before it.
    return _on_record(cache, manifest) | _in_table(cache, manifest, UNREADABLE)


def _known_unreadable(cache: Cache, manifest: Manifest, options: ExtractOptions) -> frozenset[str]:
    """Return the samples of which it is on record that their picture cannot be read, so that it is no news.

    None of which an earlier table has a picture: that it is gone must not make the table forget it. And none to a part
    of a division: what another part has just put on record is the reason for all of them to give up.
    """
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


def _fault(scanned: Scan, contents: tuple[Content, ...], options: ExtractOptions) -> str | None:
    """Say why so few pictures can be read that the fault is not in the pictures; None if that is not so."""
    if not scanned.unreadable:
        return None
    n_failed, n_readable = len(scanned.news), int(scanned.table.has("image").sum())
    first, limit = next(iter(scanned.news), scanned.unreadable[0]), options.max_failures
    if limit is not None and limit.is_exceeded(n_failed, n_failed + n_readable):
        what = f"stopped: {n_failed} of {n_failed + n_readable} pictures cannot be read, more than the limit of {limit}"
    elif not n_readable and "image" in contents:
        what = f"none of the {len(scanned.unreadable)} pictures can be read"
    else:
        return None
    return f"{what}, the first of sample {first.sample_id!r}: {first.message}"
