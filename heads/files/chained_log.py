"""Logs of JSON lines that only grow: each line has the sha256 of the line before, so that a change shows further on."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from heads.errors import HeadsError
from heads.files.document import parse_document

__all__ = ["PREVIOUS", "ChainedLog", "LogState", "check_log"]

PREVIOUS = "previous"
"""The key of the digest of the line before: sha256 of its bytes without the line's end, in hex; null in the first."""
_MOST = 2**20
_BEGINNING = b'{"previous": '


@dataclass(frozen=True)
class LogState:
    """What a whole log is known by.

    Attributes
    ----------
    n : int
        Lines.
    digest : str or None
        sha256 of the last line: what a further line will have as `PREVIOUS`. None of an empty log.
    """

    n: int
    digest: str | None


class ChainedLog:
    """A log that several processes may append to at once: each does so under a lock on the file.

    What is in it is never changed. A last line that is torn, because a process was killed or a disk was full, is moved
    to a file of its own beside the log.

    Parameters
    ----------
    path : Path
        The file; made if it is not there.
    told : callable
        Called with the place of every torn line that was moved.
    """

    def __init__(self, path: Path, *, told: Callable[[Path], None]) -> None:
        self._path = path
        self._told = told

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Add a line for each record, all of them after each other; of none the log is only made and mended.

        Raises
        ------
        HeadsError
            If the file is no such log, or cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, fcntl.LOCK_EX) as file:
                digest = _digest(self._mend(file))
                lines = []
                for record in records:
                    line = json.dumps({PREVIOUS: digest, **record}, allow_nan=False).encode("ascii")
                    lines.append(line + b"\n")
                    digest = _digest(line)
                file.write(b"".join(lines))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise HeadsError(f"cannot write log {self._path}: {error.strerror or error}") from error

    def _mend(self, file: BinaryIO) -> bytes | None:
        """Return the last line, None if there is none; one that is torn is moved away before."""
        start, line = _last_line(file, file.seek(0, os.SEEK_END), self._path)
        if line and not _is_whole(line):
            if not start and not _may_be_torn(line):
                raise _stranger(self._path)
            before = _last_line(file, start, self._path)[1]
            if before and not _is_record(before):
                raise _stranger(self._path)
            self._told(_set_aside(self._path, line))
            file.truncate(start)
            line = before
        if line and not _is_record(line):
            raise _stranger(self._path)
        return line.removesuffix(b"\n") or None


def check_log(path: Path) -> LogState:
    """Read a log from its first line to its last.

    Raises
    ------
    HeadsError
        If it cannot be read, or naming its first line that is torn, no record, or does not have the digest of the line
        before.
    """
    try:
        with _locked(path, os.O_RDONLY, fcntl.LOCK_SH) as file:
            digest = None
            for number in count(1):
                line = file.readline(_MOST)
                if not line:
                    return LogState(number - 1, digest)
                where = f"{path} line {number}"
                if not _is_whole(line):
                    raise HeadsError(f"{where} is no whole JSON object: it is torn, or was changed")
                found = parse_document(line, where).get(PREVIOUS, "")
                if found != digest:
                    raise HeadsError(f"{where} has {found!r:.80} as {PREVIOUS}, expected {digest!r}: {_why(number)}")
                digest = _digest(line.removesuffix(b"\n"))
    except OSError as error:
        raise HeadsError(f"log {path} cannot be read: {error.strerror or error}") from error
    raise AssertionError("a log has an end")


@contextmanager
def _locked(path: Path, flags: int, lock: int) -> Iterator[BinaryIO]:
    # Not blocking: what is there may be a FIFO.
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise HeadsError(f"log {path} is no regular file")
    with os.fdopen(descriptor, "r+b" if flags & os.O_RDWR else "rb") as file:
        fcntl.flock(descriptor, lock)
        yield file


def _last_line(file: BinaryIO, end: int, path: Path) -> tuple[int, bytes]:
    """Return where the last line before ``end`` begins, and its bytes, its end included if it has one."""
    start = max(0, end - _MOST)
    file.seek(start)
    data = file.read(end - start)
    found = data.rfind(b"\n", 0, -1)
    if found < 0 and start:
        raise _stranger(path)
    return start + found + 1, data[found + 1 :]


def _is_whole(line: bytes) -> bool:
    """Whether it is a JSON object and has a line's end."""
    try:
        return line.endswith(b"\n") and isinstance(parse_document(line, "line"), dict)
    except HeadsError:
        return False


def _is_record(line: bytes) -> bool:
    return _is_whole(line) and PREVIOUS in parse_document(line, "line")


def _may_be_torn(line: bytes) -> bool:
    """Whether it begins as a record does, or is what some file systems leave of a line after a loss of power."""
    return line.startswith(_BEGINNING) or _BEGINNING.startswith(line) or not line.strip(b"\0")


def _set_aside(path: Path, line: bytes) -> Path:
    """Write a torn line beside its log, under the first name that is free."""
    for number in count(1):
        place = path.with_name(f"{path.name}.torn-{number}")
        try:
            with place.open("xb") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            continue
        return place
    raise AssertionError("there is always another number")


def _digest(line: bytes | None) -> str | None:
    return None if line is None else hashlib.sha256(line).hexdigest()


def _why(number: int) -> str:
    return "lines before it are gone" if number == 1 else f"line {number - 1} was changed, or lines between them"


def _stranger(path: Path) -> HeadsError:
    return HeadsError(f"{path} is no log of heads: its last line is no record; name another --log")
