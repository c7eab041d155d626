"""From a manifest to content keys: every picture's bytes and every caption are hashed, and the sample table is made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.cache.failures import Failure
from featcache.cache.memo import Memo
from featcache.cache.samples import ABSENT, PRESENT, SampleTable
from featcache.dataset.manifest import Manifest
from featcache.dataset.splits import assign_splits
from featcache.errors import ManifestError
from featcache.extraction.survey.hashing import Pictures
from featcache.identity.key_index import keys_of
from featcache.identity.terms import KEY_BYTES, UNKNOWN
from featcache.store.file_names import draw_names, has_file_names
from featcache.store.groups import link_groups

__all__ = ["Scan", "scan"]

_NO_KEY = bytes(KEY_BYTES)
_CAPTIONS_AT_ONCE = 4096


@dataclass(frozen=True)
class Scan:
    """What a manifest's contents are now.

    Attributes
    ----------
    table : SampleTable
        One row a sample.
    unreadable : tuple of Failure
        Pictures that exist but could not be read.
    n_read : int
        Pictures whose bytes were read; of the others the memo knew the digest.
    known : frozenset of str
        Samples of which it was on record before that their picture cannot be read.
    """

    table: SampleTable
    unreadable: tuple[Failure, ...]
    n_read: int
    known: frozenset[str] = frozenset()

    @property
    def news(self) -> tuple[Failure, ...]:
        """Those of the unreadable pictures that were not on record before: they count towards a limit of failures."""
        return tuple(failure for failure in self.unreadable if failure.sample_id not in self.known)


def scan(
    manifest: Manifest,
    *,
    memo: Path | None = None,
    rehash: bool = False,
    workers: int = 4,
    processes: Callable[[int], int] = lambda _: 0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Scan:
    """Hash every content of a manifest and build its sample table.

    Parameters
    ----------
    manifest : Manifest
        The samples. Where none has a split and heads may be fitted on them, they are split here (seeded; whole groups,
        captions and duplicate pictures together).
    memo : Path
        File with the digests of earlier scans: pictures in files, tars and Parquet files that look as they did then
        (path, size, time of change, inode) are not read again. Made, and brought up to date. None: read everything.
    rehash : bool
        Do not believe the memo, only renew it. Finds a change that kept the size and put the old time back.
    workers : int
        Threads that read and hash.
    processes : callable
        How many worker processes do so in their place, for a number of pictures in files of their own; 0: none.
    seed : int
        Of the split.
    progress : callable
        Called with (samples looked at, samples).
    """
    samples = manifest.samples
    known = Memo.empty() if memo is None or rehash else Memo.load(memo)
    pictures = Pictures.of(samples, known)
    pictures.look(workers, progress or (lambda _done, _total: None), processes=processes)
    if memo is not None:
        pictures.remember(memo)
    table = SampleTable(
        dataset=manifest.name,
        origin=manifest.origin,
        class_names=("real", *manifest.generators),
        sample_id=samples.sample_id,
        group=samples.group,
        source=samples.source,
        split=samples.split,
        label_a=samples.label_a,
        label_b=_label_b(manifest),
        image_key=pictures.key,
        text_key=_text_keys(manifest),
        image_status=pictures.status,
        text_status=np.where(samples.caption.is_filled, PRESENT, ABSENT).astype(np.uint8),
        width=pictures.width,
        height=pictures.height,
        files=pictures.files,
        rules=manifest.reading.rules,
        labels=manifest.reading.labels,
        columns=manifest.reading.columns,
        root=manifest.reading.root,
        splits=manifest.reading.splits,
        row_origin=samples.origin if samples.origin.is_filled.any() else None,
    )
    if not (manifest.is_loose or samples.split_code.any()):
        names = draw_names(samples.sample_id) if has_file_names(table) else list(samples.sample_id)
        split = assign_splits([link_groups(table)], sample_id=names, seed=seed)
        table = replace(table, split=np.asarray(split, dtype="U5"), split_seed=seed)
    return Scan(table, pictures.failures(), int(pictures.was_read.sum()))


def _text_keys(manifest: Manifest) -> NDArray[np.uint8]:
    keys = np.zeros((len(manifest.samples), KEY_BYTES), np.uint8)
    try:
        for start in range(0, len(keys), _CAPTIONS_AT_ONCE):
            rows = np.arange(start, min(start + _CAPTIONS_AT_ONCE, len(keys)))
            captions = manifest.samples.caption.encoded(rows)
            digest = {caption: _digest(caption) for caption in set(captions)}
            keys[rows] = keys_of([digest[caption] for caption in captions])
    except UnicodeDecodeError as error:
        raise ManifestError(f"{manifest.name}: a caption is no valid Unicode text: {error}") from None
    return keys


def _digest(caption: bytes) -> bytes:
    caption.decode("utf-8")
    return hashlib.sha256(caption).digest() if caption else _NO_KEY


def _label_b(manifest: Manifest) -> NDArray[np.int16]:
    names = ("real", *manifest.generators)
    codes = [names.index(name) for name in manifest.samples.class_names]
    return np.array([*codes, UNKNOWN], np.int16)[manifest.samples.label_b]
