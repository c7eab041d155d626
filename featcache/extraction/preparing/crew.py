"""Worker processes: fresh interpreters that import what they serve, and no framework unless that needs one.

A worker lives as long as its pipe: whatever ends this process, even a kill, ends its workers.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from featcache.errors import FeatcacheError

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Crew", "Worker", "WorkerDeath", "answer"]

_TASKS_A_WORKER = 2
_END_SECONDS = 2.0
_START = (
    "import json, sys; from importlib import import_module; sys.path[:] = json.loads(sys.argv[1]); "
    "import_module(sys.argv[2]).serve(*map(int, sys.argv[3:]))"
)
_ENDED_BY_OTHERS = frozenset({-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT})
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class WorkerDeath(FeatcacheError):
    """A worker has ended while it had something to do.

    Attributes
    ----------
    summary : str
        Which process, and how it ended.
    is_crash : bool
        Whether what it did may have ended it: it was not killed by others, or for want of memory.
    """

    def __init__(self, message: str, *, summary: str, is_crash: bool) -> None:
        super().__init__(message)
        self.summary, self.is_crash = summary, is_crash


@dataclass(eq=False)
class Worker:
    """One process, with what was sent to it and is not answered yet: a number of tasks, and what is in them."""

    process: subprocess.Popen[bytes]
    pipe: Connection
    orders: deque[Any] = field(default_factory=deque)
    n_tasks: int = 0

    @property
    def is_free(self) -> bool:
        """Whether it has so little to do that it would soon wait."""
        return self.n_tasks < _TASKS_A_WORKER

    def send(self, task: Any, doing: str) -> None:
        """Give it a task; `WorkerDeath` if it is dead."""
        try:
            self.pipe.send(task)
        except OSError:
            raise self._death(doing) from None
        self.n_tasks += 1

    def receive(self, doing: str) -> Any:
        """Return its next answer; `WorkerDeath` if it is dead, `FeatcacheError` if it says that it failed."""
        try:
            found = self.pipe.recv()
        except (EOFError, OSError):
            raise self._death(doing) from None
        self.n_tasks -= 1
        if isinstance(found, str):
            raise FeatcacheError(f"a worker failed{self._near(' on')}: {found}")
        return found

    def _near(self, preposition: str) -> str:
        return f"{preposition} {str(self.orders[0])!r}" if self.orders else ""

    def _death(self, doing: str) -> WorkerDeath:
        """Describe the end of a worker."""
        try:
            code = self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            code = 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        hint = "; memory may have run out: try fewer --workers or less --memory" if code == -signal.SIGKILL else ""
        summary = f"worker process {self.process.pid} ended ({how})"
        message = f"{summary} while it {doing}{self._near(' near')}{hint}; what was published stays, run the same again"
        return WorkerDeath(message, summary=summary, is_crash=code not in _ENDED_BY_OTHERS)


class Crew:
    """Some workers; a context that leaves none at its end.

    Parameters
    ----------
    n_workers : int
        How many, at first.
    module : str
        Whose function ``serve`` they run, with the descriptor of their pipe and ``descriptors``.
    descriptors : sequence of int
        Files that they inherit.
    greeting : object, optional
        What is sent to each of them first.
    """

    def __init__(self, n_workers: int, module: str, *, descriptors: Sequence[int] = (), greeting: Any = None) -> None:
        self._n_workers, self._module, self._descriptors = n_workers, module, tuple(descriptors)
        self._greeting = greeting
        self.workers: list[Worker] = []

    def __enter__(self) -> Self:
        try:
            for _ in range(self._n_workers):
                self.add()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            with suppress(OSError):
                worker.pipe.close()
            if error is not None:
                worker.process.terminate()
        deadline = time.monotonic() + _END_SECONDS
        for worker in self.workers:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()

    def add(self) -> Worker:
        """Start another worker, and return it."""
        self.workers.append(self._start())
        self._greet(self.workers[-1], self._greeting)
        return self.workers[-1]

    def replace(self, worker: Worker, greeting: Any) -> Worker:
        """Start another worker in the place of one that is dead, and return it."""
        worker.pipe.close()
        new = self.workers[self.workers.index(worker)] = self._start()
        self._greet(new, greeting)
        return new

    def drop(self, worker: Worker) -> None:
        """Do without a worker that is dead."""
        worker.pipe.close()
        worker.process.kill()  # where only its pipe was
        worker.process.wait()
        self.workers.remove(worker)

    def ready(self) -> list[Worker]:
        """Wait for answers; returns who has one. Some worker must have a task."""
        busy = {worker.pipe: worker for worker in self.workers if worker.n_tasks}
        return [busy[pipe] for pipe in wait(list(busy))]  # type: ignore[index]

    def map(self, tasks: Iterator[Any], doing: str) -> Iterator[Any]:
        """Yield the answers to tasks in the order in which they come; ``doing`` is for the message of a death."""
        while True:
            for worker in self.workers:
                while worker.is_free and (task := next(tasks, None)) is not None:
                    worker.send(task, doing)
            if not any(worker.n_tasks for worker in self.workers):
                return
            for worker in self.ready():
                yield worker.receive(doing)

    def _greet(self, worker: Worker, greeting: Any) -> None:
        if greeting is not None:
            worker.pipe.send(greeting)

    def _start(self) -> Worker:
        ours, theirs = Pipe()
        paths = json.dumps([path or str(Path.cwd()) for path in sys.path])
        descriptors = (theirs.fileno(), *self._descriptors)
        process = subprocess.Popen(
            [sys.executable, "-c", _START, paths, self._module, *map(str, descriptors)],
            pass_fds=descriptors,
            env=os.environ | _ONE_THREAD,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C is for this process, which ends its workers
        )
        theirs.close()
        return Worker(process, ours)


def answer(pipe: Connection, work: Callable[[Any], Any]) -> None:
    """Answer task after task until the pipe ends, which raises EOFError or OSError: what a worker does."""
    while True:
        task = pipe.recv()
        try:
            found = work(task)
        except Exception as error:  # a fault of the program or the machine, not of a picture
            found = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        pipe.send(found)
