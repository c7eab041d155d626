"""Threads of this process that prepare pictures."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from featcache.extraction.preparing.recipe import Prepared, Reading, Recipe, prepare
from featcache.extraction.preparing.room import Budget, Room
from featcache.pictures.checked_decoder import CheckedDecoder

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
    memory : int
        Bytes that pictures may take while they are prepared.
    """

    def __init__(self, recipe: Recipe, *, n_threads: int, n_ahead: int, memory: int) -> None:
        self.recipe = recipe
        self.decoders = recipe.decoders
        self.hint = ""
        self._n_threads = n_threads
        self._n_ahead = n_ahead
        self._room = Room(Budget(memory, n_threads))
        self._decoder = CheckedDecoder(recipe.decoder)
        self._ahead: deque[Future[Prepared]] = deque()
        self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix="prepare")

    def __str__(self) -> str:
        return f"{self._n_threads} thread{'s' if self._n_threads > 1 else ''}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._room.close()
        self._pool.shutdown(wait=error is None, cancel_futures=True)

    def divide(self, products: tuple[int, ...]) -> Sequence[tuple[int, ...]]:
        """Return all products as one part: they come of one decoding."""
        return (products,)

    def prepare(self, readings: Iterator[Reading | None]) -> Iterator[Prepared]:
        """Yield what came of each reading, in their order."""
        while True:
            self.begin(readings)
            if not self._ahead:
                return
            yield self._ahead.popleft().result()

    def begin(self, readings: Iterator[Reading | None]) -> None:
        """Draw readings, as many as may be in work: `prepare`, which has the same, yields them."""
        while len(self._ahead) < self._n_ahead and (reading := next(readings, None)) is not None:
            self._ahead.append(self._pool.submit(self._prepare, reading))

    def _prepare(self, reading: Reading) -> Prepared:
        with self._room.take(reading.n_bytes):
            return prepare(self.recipe, reading, decoder=self._decoder)
