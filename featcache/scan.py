"""From a manifest to content keys: every picture's bytes and every caption are hashed, and the sample table is made."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.audit import link_groups
from featcache.decode import probe_image
from featcache.errors import FeatcacheError, ManifestError
from featcache.failures import Failure
from featcache.keyindex import keys_of
from featcache.manifest import UNKNOWN, ImageFile, Manifest, Sample
from featcache.memo import RACY_NS, Memo, stamp_file
from featcache.samples import ABSENT, PRESENT, UNREADABLE, SampleTable, StringColumn
from featcache.shard import KEY_BYTES
from featcache.splits import assign_splits

__all__ = ["Scan", "content_bytes", "scan"]

_NO_KEY = bytes(KEY_BYTES)
_FILES_A_TASK = 256
_TASKS_AHEAD = 1024


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
    """

    table: SampleTable
    unreadable: tuple[Failure, ...]
    n_read: int


def content_bytes(sample: Sample, modality: str) -> bytes:
    """Return the content of one side of a sample: the file's bytes, or the caption's UTF-8."""
    if modality == "image":
        assert sample.image is not None
        return sample.image.read_bytes()
    assert sample.caption is not None
    return sample.caption.encode("utf-8")


def scan(
    manifest: Manifest,
    *,
    memo: Path | None = None,
    rehash: bool = False,
    workers: int = 4,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Scan:
    """Hash every content of a manifest and build its sample table.

    Parameters
    ----------
    manifest : Manifest
        The samples. Where none has a split, they are split here (seeded; whole groups, captions and duplicate
        pictures together).
    memo : Path
        File with the digests of earlier scans: picture files that look as they did then (path, size, time of change,
        inode) are not read again. Made, and brought up to date. None: read everything.
    rehash : bool
        Do not believe the memo, only renew it. Finds a change that kept the size and put the old time back.
    workers : int
        Threads that read and hash.
    seed : int
        Of the split.
    progress : callable
        Called with (samples looked at, samples).
    """
    samples = manifest.samples
    known = Memo.empty() if memo is None or rehash else Memo.load(memo)
    pictures = _Pictures.of(samples, known)
    pictures.look(workers, progress or (lambda _done, _total: None))
    if memo is not None:
        pictures.remember(memo)
    table = SampleTable(
        dataset=manifest.name,
        origin=manifest.origin,
        class_names=("real", *manifest.generators),
        sample_id=StringColumn.from_strings([s.sample_id for s in samples]),
        group=StringColumn.from_strings([s.group or "" for s in samples]),
        source=StringColumn.from_strings([s.image.name if s.image else "" for s in samples]),
        split=np.array([s.split or "" for s in samples], dtype="U5"),
        label_a=np.array([s.label_a for s in samples], np.int8),
        label_b=_label_b(manifest),
        image_key=pictures.key,
        text_key=_text_keys(manifest),
        image_status=pictures.status,
        text_status=np.array([PRESENT if s.caption else ABSENT for s in samples], np.uint8),
        width=pictures.width,
        height=pictures.height,
    )
    if not any(s.split for s in samples):
        split = assign_splits([link_groups(table)], sample_id=[s.sample_id for s in samples], seed=seed)
        table = replace(table, split=np.asarray(split, dtype="U5"))
    return Scan(table, pictures.failures(), int(pictures.was_read.sum()))


@dataclass(frozen=True)
class _Pictures:
    """Columns of the picture side while they are filled: many threads, each row by one of them."""

    samples: Sequence[Sample]
    paths: Sequence[str | None]
    known: Memo
    before_ns: int
    key: NDArray[np.uint8]
    stamp: NDArray[np.uint8]
    status: NDArray[np.uint8]
    width: NDArray[np.uint32]
    height: NDArray[np.uint32]
    is_stamped: NDArray[np.bool_]
    was_read: NDArray[np.bool_]
    errors: dict[int, OSError] = field(default_factory=dict)

    @classmethod
    def of(cls, samples: Sequence[Sample], known: Memo) -> _Pictures:
        n = len(samples)
        return cls(
            samples,
            [s.image.path if isinstance(s.image, ImageFile) else None for s in samples],
            known,
            time.time_ns() - RACY_NS,
            key=np.zeros((n, KEY_BYTES), np.uint8),
            stamp=np.zeros((n, KEY_BYTES), np.uint8),
            status=np.full(n, ABSENT, np.uint8),
            width=np.zeros(n, np.uint32),
            height=np.zeros(n, np.uint32),
            is_stamped=np.zeros(n, bool),
            was_read=np.zeros(n, bool),
        )

    def look(self, workers: int, progress: Callable[[int, int], None]) -> None:
        """Fill all rows, in the order of the manifest."""
        tasks = self._tasks(workers)
        self.known.find(self.stamp[:0])  # builds its index here, once, and not in every thread
        done = sum(s.image is None for s in self.samples)
        progress(done, len(self.samples))
        with ThreadPoolExecutor(workers, thread_name_prefix="scan") as pool:
            try:
                while ahead := list(islice(tasks, _TASKS_AHEAD)):
                    for n_rows in pool.map(self._look_at, ahead):
                        done += n_rows
                        progress(done, len(self.samples))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _tasks(self, workers: int) -> Iterator[list[int]]:
        """Cut rows into tasks: many files each, yet enough for all threads; other sources one by one, in order."""
        n_files = len(self.paths) - self.paths.count(None)
        size = max(1, min(_FILES_A_TASK, n_files // (8 * workers)))
        task: list[int] = []
        for row, path in enumerate(self.paths):
            if path is not None:
                task.append(row)
            elif self.samples[row].image is not None:
                yield [row]
            if len(task) == size:
                yield task
                task = []
        if task:
            yield task

    def _look_at(self, rows: list[int]) -> int:
        for row in rows if self.paths[rows[0]] is None else self._look_up(rows):
            self._read(row)
        return len(rows)

    def _look_up(self, rows: list[int]) -> list[int]:
        """Stamp files and fill the rows that the memo knows; returns the others."""
        stamps = [stamp_file(self.paths[row] or "", self.before_ns) for row in rows]
        looked = np.array([row for row, stamp in zip(rows, stamps, strict=True) if stamp], np.int64)
        if not len(looked):
            return rows
        self.stamp[looked] = keys_of([stamp for stamp in stamps if stamp])
        self.is_stamped[looked] = True
        entry = self.known.find(self.stamp[looked])
        hit, entry = looked[entry >= 0], entry[entry >= 0]
        self.key[hit] = self.known.key[entry]
        self.width[hit], self.height[hit] = self.known.width[entry], self.known.height[entry]
        self.status[hit] = PRESENT
        return rows if not len(hit) else [row for row in rows if self.status[row] != PRESENT]

    def _read(self, row: int) -> None:
        image = self.samples[row].image
        assert image is not None
        self.was_read[row] = True
        try:
            data = image.read_bytes()
        except OSError as error:
            self.status[row] = UNREADABLE
            self.is_stamped[row] = False
            self.errors[row] = error
            return
        # Exchanged while it was read: these bytes are not those that were stamped.
        if self.is_stamped[row]:
            self.is_stamped[row] = stamp_file(self.paths[row] or "", self.before_ns) == self.stamp[row].tobytes()
        self.key[row] = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
        self.status[row] = PRESENT
        if info := probe_image(data):
            self.width[row], self.height[row] = info.width, info.height

    def remember(self, path: Path) -> None:
        """Write the memo for the next scan, unless it would be the same; one that cannot be written is done without."""
        new = self.is_stamped
        if self.was_read[new].any() or int(new.sum()) != len(self.known):
            with suppress(FeatcacheError, OSError):
                Memo(self.stamp[new], self.key[new], self.width[new], self.height[new]).save(path)

    def failures(self) -> tuple[Failure, ...]:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return tuple(
            Failure(_NO_KEY.hex(), self.samples[row].sample_id, "read", type(error).__name__, str(error), 1, now)
            for row, error in sorted(self.errors.items())
        )


def _text_keys(manifest: Manifest) -> NDArray[np.uint8]:
    try:
        return keys_of(
            [hashlib.sha256(s.caption.encode("utf-8")).digest() if s.caption else _NO_KEY for s in manifest.samples]
        )
    except UnicodeEncodeError as error:
        raise ManifestError(f"{manifest.name}: a caption is no valid Unicode text: {error}") from None


def _label_b(manifest: Manifest) -> NDArray[np.int16]:
    codes: dict[str | None, int] = {name: code for code, name in enumerate(("real", *manifest.generators))}
    codes[None] = UNKNOWN
    return np.array([codes[s.label_b] for s in manifest.samples], np.int16)
