"""The log for machines has whole lines, few of them, and ends with how it ended."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from featcache.errors import FeatcacheError
from featcache.extraction.event_log import EventLog, check_log
from featcache.extraction.results import Event, Progress


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_events_are_appended_one_a_line_and_readable_at_once(tmp_path: Path) -> None:
    for number in range(2):
        with EventLog(tmp_path / "log") as log:
            log.write(Event("unit", {"n_rows": number, "unit": "ü\n"}))
            assert lines(tmp_path / "log")[-1]["n_rows"] == number
    assert [line["event"] for line in lines(tmp_path / "log")] == ["unit", "unit"]


def test_progress_is_told_once_a_second_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("featcache.extraction.event_log.time.monotonic", lambda: now)
    with EventLog(tmp_path / "log") as log:
        for done in range(31):
            now += 0.125
            log.update(Progress("image", done, 30, seconds={"forward": 0.12345}))
    told = lines(tmp_path / "log")
    assert [line["done"] for line in told] == [0, 8, 16, 24, 30] and told[0]["seconds"] == {"forward": 0.123}


def test_an_error_is_the_last_line(tmp_path: Path) -> None:
    with pytest.raises(FeatcacheError), EventLog(tmp_path / "log"):
        raise FeatcacheError("too many\nfailures")
    (line,) = lines(tmp_path / "log")
    assert (line["event"], line["error"]) == ("end", "FeatcacheError: too many failures")


def test_a_log_that_cannot_be_written_is_an_error_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(FeatcacheError, match=r"log '.*nowhere.*' cannot be written"):
        EventLog(tmp_path / "nowhere" / "log")


def test_a_log_in_a_folder_that_is_still_to_be_made_begins_with_the_first_event(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    check_log(folder / "log", awaited=folder)
    with pytest.raises(FeatcacheError, match="too soon"), EventLog(folder / "log", awaited=folder):
        raise FeatcacheError("too soon")
    assert not folder.exists()
    with EventLog(folder / "log", awaited=folder) as log:
        folder.mkdir()
        log.write(Event("start", {}))
    assert [line["event"] for line in lines(folder / "log")] == ["start"]


@pytest.mark.parametrize("name", ["", "nowhere/log", "file/log"])
def test_what_can_be_no_log_is_told_without_making_anything(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    for awaited in (None, tmp_path / "other"):
        with pytest.raises(FeatcacheError, match=r"^log '.*' cannot be written: '.*' (is a folder|is no folder)$"):
            check_log(tmp_path / name, awaited=awaited)
    check_log(tmp_path / "log")
    check_log(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_fifo_that_nobody_reads_is_not_waited_for(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(FeatcacheError, match=r"fifo' cannot be written"):
        EventLog(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with EventLog(fifo) as log:
        log.write(Event("start", {}))
        assert json.loads(os.read(reader, 4096))["event"] == "start"
    os.close(reader)
    with EventLog(Path("/dev/null")) as log:
        log.write(Event("start", {}))
