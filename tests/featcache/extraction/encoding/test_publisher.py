"""The writer's thread carries everything out in order, and its errors reach the one who can end the work."""

from __future__ import annotations

import threading

import pytest

from featcache.extraction.encoding.publisher import Publisher


def test_tasks_run_in_order_in_one_other_thread_and_all_are_done_at_the_end() -> None:
    done: list[tuple[int, str]] = []
    with Publisher() as publisher:
        for number in range(20):
            publisher.submit(lambda n=number: done.append((n, threading.current_thread().name)))  # type: ignore[misc]
        publisher.flush()
        assert len(done) == 20
        publisher.submit(lambda: done.append((20, "publish")))
    assert done == [(n, "publish") for n in range(21)]


def test_a_process_that_gives_up_is_not_held_by_a_task_that_never_ends() -> None:
    held: list[bool] = []
    with Publisher() as publisher:
        publisher.submit(lambda: held.append(not threading.current_thread().daemon))
    assert held == [False]


def test_finished_work_does_not_pile_up() -> None:
    gate = threading.Event()
    with Publisher() as publisher:
        publisher.submit(gate.wait)  # type: ignore[arg-type]
        publisher.submit(lambda: None)
        blocked = threading.Thread(target=publisher.submit, args=(lambda: None,))
        blocked.start()
        blocked.join(0.05)
        assert blocked.is_alive()
        gate.set()
        blocked.join()


def test_what_is_submitted_by_who_is_interrupted_while_waiting_is_carried_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done, gate = list[int](), threading.Event()

    def interrupt() -> None:
        gate.set()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Publisher() as publisher:
        publisher.submit(gate.wait)  # type: ignore[arg-type]
        monkeypatch.setattr(publisher._room, "acquire", interrupt)
        publisher.submit(lambda: done.append(1))
    assert done == [1]


def test_an_error_of_a_task_is_raised_at_the_next_occasion_and_what_waits_is_dropped() -> None:
    done: list[int] = []

    def fail() -> None:
        raise OSError("disk is full")

    publisher = Publisher()
    with pytest.raises(OSError, match="disk is full"), publisher:
        publisher.submit(fail)
        publisher.submit(lambda: done.append(1))
        publisher.flush()
    with pytest.raises(OSError, match="disk is full"), Publisher() as publisher:
        publisher.submit(fail)
    assert done == []


def test_what_was_finished_before_an_error_elsewhere_is_still_carried_out() -> None:
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt), Publisher() as publisher:
        publisher.submit(lambda: done.append(1))
        raise KeyboardInterrupt
    assert done == [1]
