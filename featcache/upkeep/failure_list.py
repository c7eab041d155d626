"""All that failed and is still missing, whoever failed on it: one list for a whole cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from featcache.cache.failures import Failure, failed_keys, failure_views, read_failure_file, read_failures
from featcache.cache.folder import Cache
from featcache.cache.orphans import Orphans, orphans_path, read_orphans, scan_folder
from featcache.cache.requests import requested_datasets
from featcache.cache.samples import UNREADABLE, SampleTable, read_samples
from featcache.identity.fingerprint import Fingerprint
from featcache.identity.key_index import KeyIndex
from featcache.identity.terms import CONTENT_OF, Content, Modality
from featcache.store.shard_set import ShardSet

__all__ = [
    "FailedContent",
    "FailureCause",
    "count_contents",
    "list_broken",
    "list_failures",
    "merge_failures",
]


_UNKNOWN = Failure("", "", "read", "OSError", "it could not be read", 1, "")


@dataclass(frozen=True)
class FailedContent:
    """One content of a data set that has no vectors, or could not be read again, because something went wrong.

    Attributes
    ----------
    dataset, sample_id : str
        Where it is, and the first sample that had it when it failed.
    modality : {"text", "image", "spectral"}
        What the vectors would be that are missing; ``image`` where the picture could not be read.
    producer, model, view : str or None
        Short fingerprint and name of the encoder; None: the picture could not be read, so none has seen it.
    stage : str
        What failed: ``read``, ``decode`` or ``encode``.
    error, message : str
        Class of the error, and its text.
    attempts : int
        How many times it was tried.
    time : str
        When it was last tried: UTC, ISO 8601.
    key : str or None
        Content key, 64 hex digits; None: the content was never read.
    """

    dataset: str
    sample_id: str
    modality: Modality
    producer: str | None
    model: str | None
    view: str | None
    stage: str
    error: str
    message: str
    attempts: int
    time: str
    key: str | None

    @property
    def what(self) -> tuple[str, Content, str]:
        """What failed, whoever failed on it: data set, caption or picture, and the key or the sample."""
        return self.dataset, CONTENT_OF[self.modality], self.key or f"sample {self.sample_id}"


@dataclass(frozen=True)
class FailureCause:
    """What is wrong with one content, told once for all encoders and views that failed because of it.

    Attributes
    ----------
    dataset, sample_id, stage, error, message : str
        What they are in `FailedContent`.
    content : {"text", "image"}
        What failed: a caption or a picture.
    attempts : int
        The most that any of them made.
    time : str
        When any of them last tried: UTC, ISO 8601.
    places : frozenset of (producer, view)
        Encoders that failed, and under which views; empty: the picture could not even be read.
    """

    dataset: str
    content: Content
    sample_id: str
    stage: str
    error: str
    message: str
    attempts: int
    time: str
    places: frozenset[tuple[str, str]]


def count_contents(failures: Sequence[FailedContent]) -> int:
    """Count pictures and captions that failed, each once for all encoders and views."""
    return len({failure.what for failure in failures})


def merge_failures(failures: Sequence[FailedContent]) -> tuple[FailureCause, ...]:
    """Put together what says the same of the same content, in the order of first appearance."""
    merged: dict[tuple[object, ...], list[FailedContent]] = {}
    for failure in failures:
        merged.setdefault((failure.what, failure.stage, failure.error, failure.message), []).append(failure)
    return tuple(
        FailureCause(
            same[0].dataset,
            same[0].what[1],
            same[0].sample_id,
            same[0].stage,
            same[0].error,
            same[0].message,
            max(failure.attempts for failure in same),
            max(failure.time for failure in same),
            frozenset((f.producer, f.view) for f in same if f.producer is not None and f.view is not None),
        )
        for same in merged.values()
    )


def _datasets(cache: Cache) -> tuple[str, ...]:
    """Return the data sets that have a sample table, or of which something was asked for."""
    return tuple(sorted({*cache.datasets, *requested_datasets(cache)}))


def list_broken(cache: Cache) -> tuple[tuple[str, Orphans], ...]:
    """List the data sets of whose source something was damaged or refused when it was last read, and what."""
    found = ((name, read_orphans(orphans_path(cache, name))) for name in _datasets(cache))
    return tuple((name, orphans) for name, orphans in found if orphans.n_broken)


def list_failures(cache: Cache) -> tuple[FailedContent, ...]:
    """List what failed, is part of a data set now, and was not stored in the meantime.

    And the pictures that could not be read when a data set was last read, also where the extraction was given up
    because of them: then there is no sample table, or an earlier one.

    Raises
    ------
    ShardError
        If a file is damaged.
    """
    by_name = {name: read_samples(cache.sample_path(name)) for name in cache.datasets}
    tables = list(by_name.values())
    found = [failure for name in _datasets(cache) for failure in _unreadable(cache, name, by_name.get(name))]
    for fingerprint in cache.producers.values():
        for view in failure_views(cache, fingerprint):
            found += _not_encoded(cache, fingerprint, view, tables)
    return tuple(found)


def _unreadable(cache: Cache, dataset: str, table: SampleTable | None) -> Iterator[FailedContent]:
    found: dict[str, Failure] = {}
    if table is not None:
        found = {table.sample_id[row]: _UNKNOWN for row in np.flatnonzero(table.image_status == UNREADABLE).tolist()}
    path = scan_folder(cache, dataset) / "read.json"
    if path.is_file():
        found |= {failure.sample_id: failure for failure in read_failure_file(path)}
    for name, failure in found.items():
        yield _content(dataset, "image", replace(failure, sample_id=name), None, None)


def _not_encoded(cache: Cache, fingerprint: Fingerprint, view: str, tables: list[SampleTable]) -> list[FailedContent]:
    failures = read_failures(cache, fingerprint, view)
    if not failures:
        return []
    keys = failed_keys(failures)
    shards = ShardSet.open(cache, fingerprint, view)
    is_stored = np.full(len(keys), bool(shards.widths))
    for output in shards.widths:
        is_stored &= shards.contains(output, keys)
    owner = np.full(len(keys), -1)
    for number, table in enumerate(tables):
        own = table.keys(fingerprint.content)[table.has(fingerprint.content)]
        owner[(owner < 0) & KeyIndex.from_shards([own]).contains(keys)] = number
    return [
        _content(tables[owner[i]].dataset, fingerprint.modality, failures[i], fingerprint, view)
        for i in np.flatnonzero(~is_stored & (owner >= 0)).tolist()
    ]


def _content(
    dataset: str, modality: Modality, failure: Failure, fingerprint: Fingerprint | None, view: str | None
) -> FailedContent:
    return FailedContent(
        dataset,
        failure.sample_id,
        modality,
        fingerprint.short if fingerprint else None,
        fingerprint.model_name if fingerprint else None,
        view,
        failure.stage,
        failure.error,
        failure.message,
        failure.attempt,
        failure.time,
        failure.key if fingerprint else None,
    )
