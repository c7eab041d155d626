"""The one writer: a thread that publishes what is finished while the next is encoded."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

__all__ = ["Publisher"]

_WAITING = 1


class Publisher:
    """Carries tasks out in a thread of its own, one after the other; a context that has carried out all at its end.

    At most one task waits while another runs, so that finished vectors do not pile up. After a task has failed the
    others are dropped, and the error is raised at the next occasion.
    """

    def __init__(self) -> None:
        self._tasks: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._room = threading.Semaphore(_WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="publish", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tasks.put(None)
        self._thread.join()
        if error is None:
            self._raise()

    @property
    def is_idle(self) -> bool:
        """Whether everything is carried out."""
        return not self._tasks.unfinished_tasks

    def submit(self, task: Callable[[], None]) -> None:
        """Have a task carried out; waits while another one waits. Raises what an earlier one raised.

        Who is interrupted while waiting has the task carried out nonetheless.
        """
        self._raise()
        self._tasks.put(task)
        self._room.acquire()

    def flush(self) -> None:
        """Wait until everything is carried out. Raises what a task raised."""
        self._tasks.join()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            self._room.release()
            try:
                if self._error is None:
                    task()
            except BaseException as error:  # told to the thread that can end the work
                self._error = error
            finally:
                self._tasks.task_done()
