"""Who reads pictures for a GPU, and decodes what it does not: processes, or threads of this one, many at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from featcache.dataset.readers.tar_samples import TarImage
from featcache.dataset.sample import ImageFile
from featcache.errors import FeatcacheError
from featcache.extraction.preparing import load_worker
from featcache.extraction.preparing.card import Card
from featcache.extraction.preparing.card_loading import Found, PixelSpace
from featcache.extraction.preparing.card_share import Share
from featcache.extraction.preparing.crew import Crew, Worker, WorkerDeath
from featcache.extraction.preparing.fetching import Fetched, Fetcher
from featcache.extraction.preparing.load_answer import LoadAnswer
from featcache.extraction.preparing.load_worker import LoadTask
from featcache.extraction.preparing.recipe import Reading
from featcache.extraction.preparing.slabs import Slab
from featcache.extraction.preparing.slots import shared_file
from featcache.pictures.checked_decoder import Doubt
from featcache.pictures.jpeg_kind import JpegKind

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Load", "Loaders"]

_LEAST_TASKS = 4  # a load
_TASKS_A_PROCESS = 2  # of all loads
_FETCHED_A_THREAD = 2
_MOST_BYTES = 64 << 20  # of a file that is brought through shared memory
_DOING = "read pictures"
_LOST = "reader ended"


@dataclass(eq=False)
class Load:
    """Pictures that are being read.

    Attributes
    ----------
    readings : sequence of Reading
        Which.
    found : list of (Loaded, Pixels or str)
        Each, or why it is for the CPU; complete when ``done`` is.
    slab : int or None
        Whose memory they have; None: that of this process.
    n_parts : int
        Tasks of processes that are not done.
    here : list of (places, Future)
        What threads of this process read.
    error : FeatcacheError or None
        What a process could not do, for a fault of the program or the machine.
    done : Future
        Of ``found``; it has the error, if there is one.
    """

    readings: Sequence[Reading]
    found: list[Found]
    slab: int | None = None
    memory: memoryview = field(default_factory=lambda: memoryview(b""))
    n_parts: int = 0
    error: FeatcacheError | None = None
    here: list[tuple[Sequence[int], Future[list[Found]]]] = field(default_factory=list)
    done: Future[list[Found]] = field(default_factory=Future)


@dataclass(eq=False, frozen=True)
class _Part:
    """What one process reads of a load at once: into the slab from ``start``, pixels from ``middle`` to ``end``."""

    load: Load
    places: Sequence[int]
    start: int
    middle: int
    end: int

    @property
    def readings(self) -> list[Reading]:
        return [self.load.readings[place] for place in self.places]

    def __str__(self) -> str:
        return self.load.readings[self.places[0]].image.name


class Loaders:
    """Processes and threads that read pictures; a context.

    Parameters
    ----------
    card : Card
        Says what it does not take, and is told if a process ends.
    share : Share
        What is decoded here.
    n_threads : int
        Pictures that threads of this process read at once.
    n_processes : int
        How many; 0: threads read everything.
    n_loads : int
        Loads that have shared memory at a time.
    """

    def __init__(self, card: Card, share: Share, *, n_threads: int, n_processes: int, n_loads: int) -> None:
        self._card, self._share = card, share
        # Each process is to have more to do before the card has a window: any may have to decode.
        self._n_tasks = max(_LEAST_TASKS, -(-_TASKS_A_PROCESS * n_processes // n_loads))
        self._n_threads = n_threads
        self._fetcher = Fetcher(_FETCHED_A_THREAD * n_threads)
        self._threads = ThreadPoolExecutor(n_threads, thread_name_prefix="read")
        # All talk with the processes is this thread's.
        self._talk = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._slabs = [Slab(shared_file(0)) for _ in range(n_loads if n_processes else 0)]
        self._free = deque(range(len(self._slabs)))
        self._waiting: deque[_Part] = deque()
        self._kinds: dict[JpegKind, JpegKind] = {}
        self._out: frozenset[JpegKind] = frozenset()
        self._is_closed = False
        descriptors = [slab.descriptor for slab in self._slabs]
        self._crew = Crew(n_processes, load_worker.__name__, descriptors=descriptors)

    def __enter__(self) -> Self:
        self._crew.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closed = True
        for worker in list(self._crew.workers):  # whoever waits for them is to wait no longer
            worker.process.kill()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._fetcher.close()
        self._talk.shutdown(wait=True, cancel_futures=True)
        self._threads.shutdown(wait=True)
        self._crew.__exit__(kind, error, trace)
        for slab in self._slabs:
            slab.close()

    def start(self, readings: Sequence[Reading]) -> Load:
        """Begin to read pictures."""
        load = Load(readings, [""] * len(readings))
        theirs: list[int] = []
        if self._crew.workers and self._free:
            theirs = [place for place, reading in enumerate(readings) if _is_theirs(reading)]
        if theirs:
            self._divide(load, theirs)
        if len(theirs) < len(readings):
            chosen = set(theirs)
            self._read_here(load, [place for place in range(len(readings)) if place not in chosen])
        load.done = self._talk.submit(self._finish, load)
        return load

    def free(self, load: Load) -> None:
        """Take back the memory of a load: nothing that was found has its bytes any more."""
        load.found, load.memory = [], memoryview(b"")
        if load.slab is not None:
            self._free.append(load.slab)

    def _divide(self, load: Load, places: Sequence[int]) -> None:
        """Cut what processes read into tasks, and give each its place in a slab."""
        load.slab = self._free.popleft()
        parts, start, size = [], 0, -(-len(places) // self._n_tasks)
        for first in range(0, len(places), size):
            own = places[first : first + size]
            readings = [load.readings[place] for place in own]
            # What is certain to be decoded leaves no bytes behind.
            middle = start + sum([each.file_bytes for each in readings if not self._share.decoded_bytes(each)])
            end = middle + self._share.space_for(readings, self._n_tasks)
            parts.append(_Part(load, own, start, middle, end))
            start = end
        load.memory = self._slabs[load.slab].up_to(start).toreadonly()
        load.n_parts = len(parts)
        self._waiting.extend(parts)

    def _read_here(self, load: Load, places: Sequence[int]) -> None:
        readings = {place: self._fetch(load.readings[place]) for place in places}
        for first in range(min(self._n_threads, len(places))):
            own = places[first :: self._n_threads]  # all at work on what was read last
            load.here.append((own, self._threads.submit(self._load_all, [readings[place] for place in own])))

    def _fetch(self, reading: Reading) -> Reading:
        """Have what other processes cannot read read by one thread, in its order."""
        is_file = isinstance(reading.image, ImageFile | TarImage)
        return reading if is_file else replace(reading, image=self._fetcher.begin(reading.image))

    def _load_all(self, readings: Sequence[Reading]) -> list[Found]:
        n_bytes = self._share.space_for(readings, self._n_threads)
        space = PixelSpace(np.empty(n_bytes, np.uint8), self._card.recipe.decode_rules)
        found: list[Found] = []
        fetched = [each.image for each in readings if isinstance(each.image, Fetched)]
        try:
            for reading in readings:
                if self._is_closed:
                    raise CancelledError
                found.append(self._load_one(reading, space))
        finally:
            for image in fetched:
                image.close()
        return found

    def _load_one(self, reading: Reading, space: PixelSpace) -> Found:
        n_bytes, image = self._share.pixel_bytes(reading), reading.image
        if not isinstance(image, Fetched):
            return self._card.load(reading, space, n_bytes)
        image.wait()
        found = self._card.load(reading, space, n_bytes)
        seconds = image.seconds
        image.close()
        return found if isinstance(found, str) else replace(found, seconds=found.seconds + seconds)

    def _finish(self, load: Load) -> list[Found]:
        """Wait for all of a load; what is to be read after it goes on meanwhile."""
        self._send()
        while load.n_parts:
            for worker in self._crew.ready():
                self._receive(worker)
            self._send()
        for places, future in load.here:
            for place, each in zip(places, future.result(), strict=True):
                load.found[place] = each
        if load.error is not None:
            raise load.error
        return load.found

    def _send(self) -> None:
        """Give work to processes that have little; without any, it is done here."""
        while self._waiting and self._crew.workers:
            worker = min(self._crew.workers, key=lambda each: each.n_tasks)
            if not worker.is_free:
                return
            part = self._waiting.popleft()
            worker.orders.append(part)
            try:
                worker.send(self._task(part), _DOING)
            except WorkerDeath as death:
                self._lose(worker, death)
        while self._waiting:
            part = self._waiting.popleft()
            self._note(part, self._load_all(part.readings))

    def _task(self, part: _Part) -> LoadTask:
        assert part.load.slab is not None
        files = [
            (
                image.path if isinstance(image := reading.image, ImageFile) else image,
                reading.key,
                self._share.pixel_bytes(reading),
            )
            for reading in part.readings
        ]
        out = self._out if self._card.decoder else None
        rules = self._card.recipe.decode_rules
        return LoadTask(part.load.slab, part.start, part.middle, part.end, files, out, rules)

    def _receive(self, worker: Worker) -> None:
        try:
            answer: LoadAnswer = worker.receive(_DOING)
        except WorkerDeath as death:
            self._lose(worker, death)
            return
        except FeatcacheError as error:
            part: _Part = worker.orders.popleft()
            part.load.error = error
            self._note(part, [_LOST] * len(part.places))
            return
        part = worker.orders.popleft()
        self._out |= {kind for kind in answer.kinds if self._card.why_not(kind)}
        self._note(part, answer.unpack(part.load.memory, self._card.why_not, self._kinds))

    def _note(self, part: _Part, found: Sequence[Found]) -> None:
        for place, each in zip(part.places, found, strict=True):
            part.load.found[place] = each
        part.load.n_parts -= 1

    def _lose(self, worker: Worker, death: WorkerDeath) -> None:
        """Go on without a process: what it had is for the CPU."""
        if self._is_closed:
            raise CancelledError
        self._crew.drop(worker)
        self._card.doubts.append(Doubt("", f"{death.summary} while it {_DOING}: the others go on", None))
        for part in worker.orders:
            self._note(part, [_LOST] * len(part.places))


def _is_theirs(reading: Reading) -> bool:
    """Tell whether another process can read a picture, into memory of a known size."""
    return 0 < reading.file_bytes <= _MOST_BYTES and isinstance(reading.image, ImageFile | TarImage)
