"""Threads of this process that prepare pictures."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from featcache.extraction.preparing.recipe import Prepared, Reading, Recipe, prepare

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["ThreadReader"]


class ThreadReader:
    """Threads of this process: Pillow, sha256 and torch let others run while they compute.

    Parameters
    ----------
    recipe : Recipe
        What can be made of a picture.
    n_threads : int
        How many pictures at once.
    n_ahead : int
        Pictures that may wait, prepared, for their use.
    """

    def __init__(self, recipe: Recipe, *, n_threads: int, n_ahead: int) -> None:
        self._recipe = recipe
        self._n_threads = n_threads
        self._n_ahead = n_ahead
        self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix="prepare")

    def __str__(self) -> str:
        return f"{self._n_threads} thread{'s' if self._n_threads > 1 else ''}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=error is None, cancel_futures=True)

    def prepare(self, readings: Iterator[Reading | None]) -> Iterator[Prepared]:
        """Yield what came of each reading, in their order."""
        ahead: deque[Future[Prepared]] = deque()
        while True:
            while len(ahead) < self._n_ahead and (reading := next(readings, None)) is not None:
                ahead.append(self._pool.submit(prepare, self._recipe, reading))
            if not ahead:
                return
            yield ahead.popleft().result()
