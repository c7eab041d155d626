"""Before anything is encoded: a data set's contents are hashed, judged, and recorded in the cache."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from featcache.audit import write_orphans
from featcache.cache import Cache
from featcache.encoders.base import Content
from featcache.errors import FeatcacheError, ShardError
from featcache.failure_list import orphans_path, scan_folder
from featcache.failures import read_failure_file, write_failures
from featcache.layout import check_folders
from featcache.manifest import Manifest
from featcache.options import ExtractOptions
from featcache.pipeline.partition import scanning
from featcache.pipeline.results import Progress
from featcache.pipeline.scan import Scan, scan
from featcache.regular import check_regular
from featcache.samples import write_samples

__all__ = ["check_readable", "memo_path", "record_survey", "samples_to_retry", "survey"]

_UNREADABLE = "read"


def memo_path(cache: Cache, manifest: Manifest) -> Path:
    """Return where the digests of a data set's picture files are remembered."""
    return cache.path / "memo" / f"{manifest.name}.h5"


def survey(
    manifest: Manifest,
    cache: Cache,
    *,
    options: ExtractOptions,
    report: Callable[[Progress], None],
    is_dry: bool = False,
) -> Scan:
    """Hash every content of a data set.

    Of several processes that divide an extraction one hashes, and the others find its memo.

    Parameters
    ----------
    manifest : Manifest
        The samples.
    cache : Cache
        Where the memo is.
    options : ExtractOptions
        How to run.
    report : callable
        Called while contents are hashed.
    is_dry : bool
        Write nothing into the cache.

    Raises
    ------
    FeatcacheError
        If a folder of the cache is a link.
    """
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
    path = scan_folder(cache, manifest.name) / f"{_UNREADABLE}.json"
    try:
        return frozenset(failure.sample_id for failure in read_failure_file(path))
    except ShardError:
        return frozenset()


def check_readable(scanned: Scan, contents: tuple[Content, ...], options: ExtractOptions) -> None:
    """Raise before anything is written if so few pictures can be read that the fault is not in the pictures."""
    if not scanned.unreadable:
        return
    n_failed, n_readable = len(scanned.unreadable), int(scanned.table.has("image").sum())
    first = scanned.unreadable[0]
    limit = options.max_failures
    if limit is not None and limit.is_exceeded(n_failed, n_failed + n_readable):
        what = f"stopped: {n_failed} of {n_failed + n_readable} pictures cannot be read, more than the limit of {limit}"
    elif not n_readable and "image" in contents:
        what = f"none of the {n_failed} pictures can be read"
    else:
        return
    raise FeatcacheError(
        f"{what}, the first of sample {first.sample_id!r}: {first.message}; the sample table stays as it was"
    )
