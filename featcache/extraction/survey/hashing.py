"""Looking at the pictures of a manifest: the memo knows those that look as they did, the others are read and hashed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.failures import Failure
from featcache.cache.file_facts import FileFacts
from featcache.cache.memo import Memo
from featcache.cache.samples import ABSENT, PRESENT, UNREADABLE
from featcache.dataset.sample import ImageSource
from featcache.dataset.sample_list import SampleList
from featcache.errors import FeatcacheError
from featcache.extraction.fault import Fault
from featcache.extraction.preparing.crew import Crew
from featcache.extraction.survey.look import Look, Task, look_at, stamp_of
from featcache.extraction.survey.stamps import stamp_files
from featcache.files.file_state import RACY_NS
from featcache.identity.key_index import keys_of
from featcache.identity.terms import KEY_BYTES

__all__ = ["Pictures"]

_NO_KEY = bytes(KEY_BYTES)
_FILES_A_TASK = 256
_FILES_A_PIPE = 32
"""That a process is told of at once: the longest paths, and an error of each file, still fit into its pipe, so that
two ends that write to each other never wait for each other."""
_TASKS_AHEAD = 1024
_SLOW_SECONDS = 100e-6
"""For one look at a file: where the answer takes longer than that, threads that wait for it together save time; where
it comes at once, they only wait for each other."""


def _map(pool: ThreadPoolExecutor, work: Callable[[Any], int], tasks: Iterator[Any]) -> Iterator[int]:
    """Yield results in order; of a million tasks only so many wait at a time."""
    while ahead := list(islice(tasks, _TASKS_AHEAD)):
        yield from pool.map(work, ahead)


def _open_crew(n_files: int, processes: Callable[[int], int]) -> AbstractContextManager[Crew | None]:
    """Return worker processes that read so many files; None if that does not pay."""
    n_processes = processes(n_files) if n_files > 0 else 0
    return Crew(n_processes, look_at.__module__) if n_processes else nullcontext()


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
    faults: dict[int, Fault] = field(default_factory=dict)

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

    def look(self, workers: int, progress: Callable[[int, int], None], *, processes: Callable[[int], int]) -> None:
        """Fill all rows, in the order of the manifest.

        Parameters
        ----------
        workers : int
            Threads.
        progress : callable
            Called with (rows done, rows).
        processes : callable
            How many worker processes read a number of files; 0: the threads do it. Each file costs a tenth of a
            millisecond of Python: threads only take turns at that, and lose time by it.
        """
        self.known.find(self.stamp[:0])  # builds its index here, once, and not in every thread
        done = int((~self.samples.has_image).sum())
        progress(done, len(self.samples))
        # So many at least are unknown: those who read them start while the files are looked up.
        with _open_crew(self._least_unknown(), processes) as crew:
            placed = self._placed()
            for task in placed:
                started = time.perf_counter()
                done += self._look_up(task)
                progress(done, len(self.samples))
                if time.perf_counter() - started > _SLOW_SECONDS * len(task):
                    break
            for n_done in self._in_threads(workers, processes, placed, crew):
                done += n_done
                progress(done, len(self.samples))

    def _in_threads(
        self, workers: int, processes: Callable[[int], int], placed: Iterator[NDArray[np.int64]], crew: Crew | None
    ) -> Iterator[int]:
        """Look up what is left of the files, and read what is unknown; yields how many were done, task by task."""
        with ThreadPoolExecutor(workers, thread_name_prefix="scan") as pool:
            try:
                yield from _map(pool, self._look_up, placed)
                yield from self._read_in_processes(processes, crew)
                yield from _map(pool, self._read_all, self._unknown(workers))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _least_unknown(self) -> int:
        """Return how many files the memo cannot know, as it has fewer entries: one of these may serve several rows."""
        rows, n_known = np.flatnonzero(self.samples.has_file), len(self.known)
        if not n_known or len(rows) <= n_known:
            return len(rows) - n_known
        cuts = (rows[start : start + _FILES_A_TASK] for start in range(0, len(rows), _FILES_A_TASK))
        # Hashes that fall together make it less, never more, and take less memory than paths.
        return len({hash(path) for cut in cuts for path in self.samples.path.encoded(cut)}) - n_known

    def _placed(self) -> Iterator[NDArray[np.int64]]:
        """Cut the rows that have a picture into tasks."""
        rows = np.flatnonzero(self.samples.has_image)
        return (rows[start : start + _FILES_A_TASK] for start in range(0, len(rows), _FILES_A_TASK))

    def _unknown(self, workers: int) -> Iterator[list[int]]:
        """Cut the rows to read into tasks: many files each, yet enough for all threads; others one by one, in order."""
        has_file = self.samples.has_file
        unknown = np.flatnonzero((self.status != PRESENT) & self.samples.has_image & ~self.was_read)
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

    def _look_up(self, rows: NDArray[np.int64]) -> int:
        """Stamp files and fill the rows that the memo knows; returns how many."""
        paths = self.samples.path.encoded(rows)
        if all(paths):
            stamps = stamp_files(paths, self.before_ns)
        else:
            stamps = [stamp_of(self._image(row), self.before_ns) for row in rows.tolist()]
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
            self._note(row, look_at(self._image(row), self.before_ns))
        return len(rows)

    def _image(self, row: int) -> ImageSource:
        image = self.samples.image(row)
        assert image is not None
        return image

    def _read_in_processes(self, processes: Callable[[int], int], crew: Crew | None) -> Iterator[int]:
        """Have worker processes read the files that are unknown, if that pays; yields how many, task by task."""
        rows = np.flatnonzero((self.status != PRESENT) & self.samples.has_file)
        with nullcontext(crew) if crew else _open_crew(len(rows), processes) as readers:
            if readers is None:
                return
            size = max(1, min(_FILES_A_PIPE, len(rows) // (8 * len(readers.workers))))
            cuts = (rows[start : start + size].tolist() for start in range(0, len(rows), size))
            tasks: Iterator[Task] = ((cut, [self.samples.path[row] for row in cut], self.before_ns) for cut in cuts)
            for done, looks in readers.map(tasks, "looked at pictures"):
                for row, look in zip(done, looks, strict=True):
                    self._note(row, look)
                yield len(done)

    def _note(self, row: int, look: Look | OSError) -> None:
        self.was_read[row] = True
        if isinstance(look, OSError):
            self.status[row] = UNREADABLE
            self.is_stamped[row] = False
            self.faults[row] = Fault("read", type(look).__name__, str(look))
            return
        # Exchanged while it was read: these bytes are not those that were stamped.
        if self.is_stamped[row]:
            self.is_stamped[row] = look.stamp == self.stamp[row].tobytes()
        self.key[row] = np.frombuffer(look.key, np.uint8)
        self.status[row] = PRESENT
        self.files.note(row, look.n_bytes, format=look.format, has_exif=look.has_exif)
        self.width[row], self.height[row] = look.width, look.height

    def remember(self, path: Path) -> None:
        """Write the memo for the next scan, unless it would be the same; one that cannot be written is done without."""
        n = int(self.is_stamped.sum())
        if self.was_read[self.is_stamped].any() or n != len(self.known):
            new = slice(None) if n == len(self.is_stamped) else np.flatnonzero(self.is_stamped)  # mostly all: no copy
            memo = Memo(self.stamp[new], self.key[new], self.width[new], self.height[new], self.files[new])
            with suppress(FeatcacheError, OSError):
                memo.save(path, root=path.parent)

    def failures(self) -> tuple[Failure, ...]:
        """Return the pictures that could not be read, in the order of the manifest."""
        faults = sorted(self.faults.items())
        return tuple(fault.on_record(_NO_KEY, self.samples.sample_id[row]) for row, fault in faults)
