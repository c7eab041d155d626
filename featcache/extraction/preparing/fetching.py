"""Pictures that are no files of their own, read in order by one thread: their readers keep what stands beside one."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Semaphore

from featcache.dataset.sample import ImageSource

__all__ = ["Fetched", "Fetcher"]


class Fetcher:
    """Reads ahead of those who decode.

    Parameters
    ----------
    n_ahead : int
        Pictures of which the bytes may wait.
    """

    def __init__(self, n_ahead: int) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="fetch")
        self._free = Semaphore(n_ahead)

    def begin(self, image: ImageSource) -> Fetched:
        """Have a picture read after all that came before; what is returned has to be used in about this order."""
        return Fetched(image.name, self._pool.submit(self._read, image), self._free)

    def close(self) -> None:
        """Read no more: who waits for what was not read is told that it is cancelled."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._free.release()
        self._pool.shutdown(wait=True)

    def _read(self, image: ImageSource) -> tuple[bytes | OSError, float]:
        self._free.acquire()
        started = time.perf_counter()
        try:
            data: bytes | OSError = image.read_bytes()
        except OSError as error:
            data = error
        return data, time.perf_counter() - started


class Fetched:
    """A picture that is being read; for one thread.

    Attributes
    ----------
    name : str
        As of the picture.
    seconds : float
        That reading took, once `wait` was called.
    """

    def __init__(self, name: str, future: Future[tuple[bytes | OSError, float]], free: Semaphore) -> None:
        self.name = name
        self.seconds = 0.0
        self._future: Future[tuple[bytes | OSError, float]] | None = future
        self._free = free
        self._data: bytes | OSError = b""

    def wait(self) -> None:
        """Wait until it was read.

        Raises
        ------
        CancelledError
            If it will not be.
        """
        assert self._future is not None
        self._data, self.seconds = self._future.result()

    def read_bytes(self) -> bytes:
        """Return what was read, or raise what was raised."""
        if isinstance(self._data, OSError):
            raise self._data
        return self._data

    def close(self) -> None:
        """Let go of it, so that another is read."""
        if self._future is not None:
            self._future, self._data = None, b""
            self._free.release()
