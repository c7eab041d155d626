"""A fault says in one line why a content failed, and is put on record with which content it was."""

from __future__ import annotations

from datetime import UTC, datetime

from featcache.extraction.fault import Fault


def test_an_error_of_many_lines_is_told_in_one_short_one() -> None:
    fault = Fault.of("decode", ValueError("a\n  b\t" + 400 * "c"))
    assert (fault.stage, fault.error) == ("decode", "ValueError")
    assert fault.message.startswith("a b ccc") and len(fault.message) == 300


def test_what_is_recorded_is_the_fault_and_its_content() -> None:
    failure = Fault("read", "OSError", "gone").on_record(b"\x0f" * 32, "s7", attempt=3)
    assert (failure.key, failure.sample_id, failure.attempt) == ("0f" * 32, "s7", 3)
    assert (failure.stage, failure.error, failure.message) == ("read", "OSError", "gone")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(failure.time)).total_seconds()) < 60
    assert Fault("read", "OSError", "gone").on_record(bytes(32), "s7").attempt == 1
