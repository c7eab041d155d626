"""Laws of logs: a line follows from the line before, torn lines are kept aside, and nothing else is ever changed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from heads.errors import HeadsError
from heads.files.chained_log import ChainedLog, LogState, check_log

WRITER = """
import sys
from pathlib import Path
from heads.files.chained_log import ChainedLog
log = ChainedLog(Path(sys.argv[1]), told=print)
for i in range(150):
    log.append([{"writer": sys.argv[2], "i": 2 * i}, {"writer": sys.argv[2], "i": 2 * i + 1}])
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of three lines."""
    path = tmp_path / "log.jsonl"
    append(path, 1, 2)
    append(path, 3)
    return path


def append(path: Path, *values: int) -> list[Path]:
    moved: list[Path] = []
    ChainedLog(path, told=moved.append).append([{"value": value} for value in values])
    return moved


def values(path: Path) -> list[int]:
    return [json.loads(line)["value"] for line in path.read_bytes().splitlines()]


def test_each_line_has_the_digest_of_the_line_before(log: Path) -> None:
    lines = log.read_bytes().splitlines()
    digests = [hashlib.sha256(line).hexdigest() for line in lines]
    assert [json.loads(line)["previous"] for line in lines] == [None, *digests[:-1]]
    assert values(log) == [1, 2, 3] and check_log(log) == LogState(3, digests[-1])


def test_appending_nothing_makes_a_log_and_changes_none(log: Path, tmp_path: Path) -> None:
    before = log.read_bytes()
    assert append(log) == [] and log.read_bytes() == before
    assert append(tmp_path / "new" / "log.jsonl") == []
    assert check_log(tmp_path / "new" / "log.jsonl") == LogState(0, None)


@pytest.mark.parametrize("torn", [b'{"previous": "ab', b'{"previous": null, "value": 4}', b"\0" * 40, b'{"value\n'])
def test_a_torn_line_is_kept_aside_and_the_chain_goes_on(log: Path, torn: bytes) -> None:
    whole = log.read_bytes()
    for number in (1, 2):
        log.write_bytes(whole + torn)
        with pytest.raises(HeadsError, match="line 4 is no whole"):
            check_log(log)
        place = log.with_name(f"log.jsonl.torn-{number}")
        assert append(log, 4) == [place] and place.read_bytes() == torn
        assert log.read_bytes().startswith(whole) and values(log) == [1, 2, 3, 4]
        assert check_log(log).n == 4


def test_a_first_line_that_is_torn_is_kept_aside(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b'{"previ')
    assert append(log, 1) == [tmp_path / "log.jsonl.torn-1"] and values(log) == [1]


@pytest.mark.parametrize(
    "content", [b"my notes", b"my\nnotes\n", b"my\nnotes", b'{"path": "a"}\n', b"[1]\n", b"x" * (2**20 + 9)]
)
def test_what_is_no_log_is_refused_and_stays(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine"
    path.write_bytes(content)
    with pytest.raises(HeadsError, match="is no log of heads"):
        append(path, 1)
    assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]


def test_nothing_but_regular_files_is_a_log(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, message in ((tmp_path / "fifo", "no regular file"), (tmp_path, "regular file|directory")):
        for attempt in (append, check_log):
            with pytest.raises(HeadsError, match=message):
                attempt(path)
    with pytest.raises(HeadsError, match="cannot be read"):
        check_log(tmp_path / "none")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"value": 1', b'"value": 7', "line 2 has .* as previous, expected .*: line 1 was changed"),
        (b'"value": 2', b'"value": 7', "line 3 has"),
        (b"{", b"[", "line 1 is no whole JSON object"),
    ],
)
def test_the_first_line_that_does_not_follow_is_named(log: Path, old: bytes, new: bytes, message: str) -> None:
    log.write_bytes(log.read_bytes().replace(old, new, 1))
    with pytest.raises(HeadsError, match=message):
        check_log(log)


def test_a_line_that_is_gone_is_missed(log: Path) -> None:
    first, second, third = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(second + third)
    with pytest.raises(HeadsError, match=r"line 1 has .*lines before it are gone"):
        check_log(log)
    log.write_bytes(first + third)
    with pytest.raises(HeadsError, match="line 2 has"):
        check_log(log)


@pytest.mark.slow
def test_two_processes_keep_the_chain_whole(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    running = [subprocess.Popen([sys.executable, "-c", WRITER, log, name]) for name in "ab"]
    assert [process.wait() for process in running] == [0, 0]
    assert check_log(log).n == 600
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for name in "ab":
        assert [line["i"] for line in lines if line["writer"] == name] == list(range(300))
    assert list(tmp_path.iterdir()) == [log]
