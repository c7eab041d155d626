"""Looking at the pictures of a manifest: the memo knows those that look as they did, the others are read and hashed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.decode import probe_image
from featcache.errors import FeatcacheError
from featcache.facts import FileFacts
from featcache.failures import Failure
from featcache.keyindex import keys_of
from featcache.memo import RACY_NS, Memo, place_of, stamp_file
from featcache.sample_list import SampleList
from featcache.samples import ABSENT, PRESENT, UNREADABLE
from featcache.shard import KEY_BYTES

__all__ = ["Pictures"]

_NO_KEY = bytes(KEY_BYTES)
_FILES_A_TASK = 256
_TASKS_AHEAD = 1024
_SLOW_SECONDS = 100e-6
"""For one look at a file: where the answer takes longer than that, threads that wait for it together save time; where
it comes at once, they only wait for each other."""


@dataclass(frozen=True)
class Pictures:
    """Columns of the picture side while they are filled: many threads, each row by one of them."""

    samples: SampleList
    known: Memo
    before_ns: int
    key: NDArray[np.uint8]
    stamp: NDArray[np.uint8]
    status: NDArray[np.uint8]
    width: NDArray[np.uint32]
    height: NDArray[np.uint32]
    files: FileFacts
    is_stamped: NDArray[np.bool_]
    was_read: NDArray[np.bool_]
    errors: dict[int, OSError] = field(default_factory=dict)

    @classmethod
    def of(cls, samples: SampleList, known: Memo) -> Pictures:
        """Begin, with what an earlier scan knew."""
        n = len(samples)
        return cls(
            samples,
            known,
            time.time_ns() - RACY_NS,
            key=np.zeros((n, KEY_BYTES), np.uint8),
            stamp=np.zeros((n, KEY_BYTES), np.uint8),
            status=np.full(n, ABSENT, np.uint8),
            width=np.zeros(n, np.uint32),
            height=np.zeros(n, np.uint32),
            files=FileFacts.unknown(n),
            is_stamped=np.zeros(n, bool),
            was_read=np.zeros(n, bool),
        )

    def look(self, workers: int, progress: Callable[[int, int], None]) -> None:
        """Fill all rows, in the order of the manifest."""
        self.known.find(self.stamp[:0])  # builds its index here, once, and not in every thread
        done = int((~self.samples.has_image).sum())
        progress(done, len(self.samples))
        placed = self._placed()
        for task in placed:
            started = time.perf_counter()
            done += self._look_up(task)
            progress(done, len(self.samples))
            if time.perf_counter() - started > _SLOW_SECONDS * len(task):
                break
        with ThreadPoolExecutor(workers, thread_name_prefix="scan") as pool:
            try:
                for work, tasks in ((self._look_up, placed), (self._read_all, self._unknown(workers))):
                    while ahead := list(islice(tasks, _TASKS_AHEAD)):
                        for n_known in pool.map(work, ahead):
                            done += n_known
                            progress(done, len(self.samples))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _placed(self) -> Iterator[NDArray[np.int64]]:
        """Cut the rows that have a picture into tasks."""
        rows = np.flatnonzero(self.samples.has_image)
        return (rows[start : start + _FILES_A_TASK] for start in range(0, len(rows), _FILES_A_TASK))

    def _unknown(self, workers: int) -> Iterator[list[int]]:
        """Cut the rows to read into tasks: many files each, yet enough for all threads; others one by one, in order."""
        has_file = self.samples.has_file
        unknown = np.flatnonzero((self.status != PRESENT) & self.samples.has_image)
        size = max(1, min(_FILES_A_TASK, int(has_file[unknown].sum()) // (8 * workers)))
        task: list[int] = []
        for row in unknown.tolist():
            if has_file[row]:
                task.append(row)
            else:
                yield [row]
            if len(task) == size:
                yield task
                task = []
        if task:
            yield task

    def _stamp(self, row: int) -> bytes | None:
        place = place_of(self.samples.image(row))
        return None if place is None else stamp_file(place[0], self.before_ns, place[1])

    def _look_up(self, rows: NDArray[np.int64]) -> int:
        """Stamp files and fill the rows that the memo knows; returns how many."""
        paths = self.samples.path.encoded(rows)
        stamps = [
            stamp_file(path, self.before_ns) if path else self._stamp(row)
            for row, path in zip(rows.tolist(), paths, strict=True)
        ]
        looked = rows[[stamp is not None for stamp in stamps]]
        if not len(looked):
            return 0
        self.stamp[looked] = keys_of([stamp for stamp in stamps if stamp])
        self.is_stamped[looked] = True
        entry = self.known.find(self.stamp[looked])
        hit, entry = looked[entry >= 0], entry[entry >= 0]
        self.key[hit] = self.known.key[entry]
        self.width[hit], self.height[hit] = self.known.width[entry], self.known.height[entry]
        self.files.put(hit, self.known.files[entry])
        self.status[hit] = PRESENT
        return len(hit)

    def _read_all(self, rows: list[int]) -> int:
        for row in rows:
            self._read(row)
        return len(rows)

    def _read(self, row: int) -> None:
        image = self.samples.image(row)
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
            self.is_stamped[row] = self._stamp(row) == self.stamp[row].tobytes()
        self.key[row] = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
        self.status[row] = PRESENT
        info = probe_image(data)
        self.files.note(row, len(data), info)
        if info is not None:
            self.width[row], self.height[row] = info.width, info.height

    def remember(self, path: Path) -> None:
        """Write the memo for the next scan, unless it would be the same; one that cannot be written is done without."""
        new = self.is_stamped
        if self.was_read[new].any() or int(new.sum()) != len(self.known):
            with suppress(FeatcacheError, OSError):
                Memo(self.stamp[new], self.key[new], self.width[new], self.height[new], self.files[new]).save(path)

    def failures(self) -> tuple[Failure, ...]:
        """Return the pictures that could not be read, in the order of the manifest."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return tuple(
            Failure(_NO_KEY.hex(), self.samples.sample_id[row], "read", type(error).__name__, str(error), 1, now)
            for row, error in sorted(self.errors.items())
        )
