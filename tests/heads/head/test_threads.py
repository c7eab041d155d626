"""Laws of threads: BLAS has one and gets its own back; blocks come in their order, however many are worked on."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from threading import Thread, get_ident

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from heads.data.row_source import ArrayRows
from heads.head.moments import Moments
from heads.head.subspace import DrawnRows, find_directions
from heads.head.threads import blas_on_one_thread, in_order
from heads.linear import logistic


def blas_threads() -> set[int]:
    return {found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"}


@pytest.fixture
def two_threads() -> Iterator[None]:
    with threadpool_limits(2, user_api="blas"):
        yield


@pytest.mark.usefixtures("two_threads")
def test_blas_has_one_thread_inside_and_its_own_afterwards() -> None:
    with blas_on_one_thread():
        with blas_on_one_thread():
            assert blas_threads() == {1}
        assert blas_threads() == {1}
    assert blas_threads() == {2}
    with pytest.raises(ZeroDivisionError), blas_on_one_thread():
        1 / 0  # noqa: B018
    assert blas_threads() == {2}


@pytest.mark.usefixtures("two_threads")
def test_threads_that_come_and_go_meanwhile_set_nothing() -> None:
    seen = []

    @blas_on_one_thread()
    def look() -> None:
        seen.append(blas_threads())

    with blas_on_one_thread():
        other = Thread(target=look)
        other.start()
        other.join()
        assert seen == [{1}] == [blas_threads()]
    assert blas_threads() == {2}


@pytest.mark.usefixtures("two_threads")
def test_results_come_in_order_and_few_items_are_taken_ahead() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(12):
            taken.append(item)
            yield item

    def work(item: int) -> int:
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item * item

    with blas_on_one_thread():
        results = in_order(work, items())
        assert next(results) == 0 and len(taken) == 3
        assert list(results) == [item * item for item in range(1, 12)]


@pytest.mark.usefixtures("two_threads")
def test_as_many_threads_work_as_blas_had_and_fewer_on_large_items() -> None:
    def workers(**options: int) -> int:
        def work(_: int) -> int:
            time.sleep(0.01)
            return get_ident()

        return len({*in_order(work, range(8), **options)})

    assert workers() == 1
    with blas_on_one_thread():
        assert (workers(), workers(n_bytes=2**29)) == (2, 1)
    with threadpool_limits(1, user_api="blas"), blas_on_one_thread():
        assert workers() == 1


@pytest.mark.usefixtures("two_threads")
def test_a_failure_ends_the_work_and_is_told() -> None:
    done = []

    def work(item: int) -> int:
        if item == 1:
            raise ValueError("the second")
        done.append(item)
        return item

    with blas_on_one_thread(), pytest.raises(ValueError, match="the second"):
        list(in_order(work, itertools.count()))
    assert len(done) < 5


def test_measures_of_many_blocks_do_not_depend_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heads.head.moments._CHUNK", 2**16)
    monkeypatch.setattr(logistic, "_BLOCK", 2**16)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(1500, 260)).astype(np.float32), rng.integers(0, 3, 1500)

    def measure() -> list[bytes]:
        moments = Moments.of(X, groups=y)
        drawn = DrawnRows.draw(ArrayRows(X), np.arange(len(X)), 1400)
        found = find_directions(drawn, drawn.standardizer(), 100)
        (fit,) = logistic.fit_path(X, y, strengths=[0.01], curvature=logistic.Curvature.of(X))
        return [
            values.tobytes() for values in (moments.means, moments.scatter, found.axes, found.coordinates, fit.coef)
        ]

    seen = []
    for n_threads in (1, 2, 3):
        with threadpool_limits(n_threads, user_api="blas"), blas_on_one_thread():
            seen.append(measure())
    assert seen[0] == seen[1] == seen[2]
