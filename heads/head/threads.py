"""Threads that no figure depends on: BLAS has one, and blocks of rows, cut by the data, are worked on side by side.

How BLAS divides a product among its threads decides the order of its sums, and so their last digits: with its own
number of threads the same rows and seed would give another head on a machine with more cores. Blocks are summed in
their order, however many are worked on at a time. What torch computes is `heads.mlp.threads`' affair, LightGBM's trees
do not depend on threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TypeVar

from threadpoolctl import ThreadpoolController

__all__ = ["blas_on_one_thread", "in_order"]

_AT_ONCE = 2**29  # bytes
_OF_TORCH = {"torch", "torch.libs"}
_T = TypeVar("_T")
_R = TypeVar("_R")
_inside, _allowed = Lock(), [1]


@contextmanager
def blas_on_one_thread() -> Iterator[None]:
    """Have numpy's and scipy's BLAS compute on one thread; `in_order` takes the others. Also a decorator.

    May be nested. The threads of BLAS are the process's: while one caller is inside, others from other threads of
    Python compute as it does, and set nothing.
    """
    if not _inside.acquire(blocking=False):
        yield
        return
    try:
        blas = _find_blas()
        n_threads = max((library["num_threads"] for library in blas.info()), default=1)
        with blas.limit(limits=1), _allow(n_threads):
            yield
    finally:
        _inside.release()


def in_order(work: Callable[[_T], _R], items: Iterable[_T], *, n_bytes: int = 0) -> Iterator[_R]:
    """Yield what ``work`` makes of each item, in their order; some are worked on side by side.

    That is as many as BLAS had threads before `blas_on_one_thread`, outside of it one.

    Parameters
    ----------
    work : callable
        Its time has to go by where Python's lock is not held: in operations of numpy on large arrays.
    items : iterable
        Taken in the calling thread, no more of them than are worked on, and one.
    n_bytes : int
        What working on an item takes: of large ones fewer are worked on at a time.
    """
    n_threads = min(_allowed[-1], max(1, _AT_ONCE // max(1, n_bytes)))
    if n_threads == 1:
        yield from map(work, items)
        return
    waiting: deque[Future[_R]] = deque()
    with ThreadPoolExecutor(n_threads, initializer=_limit_own) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > n_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def _allow(n_threads: int) -> Iterator[None]:
    _allowed.append(n_threads)
    try:
        yield
    finally:
        _allowed.pop()


def _limit_own() -> None:
    """Limit BLAS in a new thread: some builds have a number of threads for each of Python's."""
    _find_blas().limit(limits=1)


@cache
def _find_blas() -> ThreadpoolController:
    """Find the libraries once: that takes milliseconds."""
    import scipy.linalg  # noqa: F401  its BLAS is another than numpy's, and has to be loaded to be found

    found = ThreadpoolController()
    # Some builds of torch have one of their own, which does as torch is told.
    paths = [lib["filepath"] for lib in found.info() if not _OF_TORCH & {*Path(lib["filepath"]).parts}]
    return found.select(user_api="blas").select(filepath=paths)
