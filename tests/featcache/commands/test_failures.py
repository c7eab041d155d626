"""``featcache failures`` stays short where one cause has failed many."""

from __future__ import annotations

import pytest

from featcache.commands.failures import _render
from featcache.upkeep.failure_list import FailureCause


def test_of_what_failed_for_one_reason_some_are_listed_and_the_rest_counted(capsys: pytest.CaptureFixture[str]) -> None:
    def failed(number: int, message: str) -> FailureCause:
        name = f"sample-{number}"
        return FailureCause("d", "image", name, "read", "OSError", message, 1, "2026-01-02T03:04:05", frozenset())

    _render([*(failed(n, "gone") for n in range(25)), failed(99, "torn")], "before any encoder")
    said = capsys.readouterr().out
    assert said.count("gone") == 20 and "sample-99" in said
    assert "26 pictures of d" in said and "… and 5 more for the same reason; --json lists all" in said
