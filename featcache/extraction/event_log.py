"""A log for machines: what happens in an extraction, one JSON object a line."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from featcache.errors import FeatcacheError
from featcache.extraction.results import Event, Progress

__all__ = ["EventLog", "check_log"]

_PROGRESS_SECONDS = 1.0


class EventLog:
    """Appends events to a file, each line complete when it is written; a context.

    Every line has ``time`` (UTC, ISO 8601) and ``event``: ``start``, ``plan``, ``progress`` (at most one a second,
    and the last of each stage), ``unit`` (published), ``failure``, ``end``.

    Parameters
    ----------
    path : Path
        The file; its folder exists.
    awaited : Path
        A folder that may be made before the first event: a file in it is opened then.

    Raises
    ------
    FeatcacheError
        If it cannot be opened, or is a FIFO that nobody reads.
    """

    def __init__(self, path: Path, *, awaited: Path | None = None) -> None:
        self._path = path
        self._file: TextIO | None = None
        if not _is_awaited(path, awaited):
            self._open()
        self._told = -_PROGRESS_SECONDS

    def _open(self) -> TextIO:
        try:
            # A FIFO that nobody reads would be waited for.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
            descriptor = os.open(self._path, flags, 0o666)
            os.set_blocking(descriptor, True)
            self._file = os.fdopen(descriptor, "a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise FeatcacheError(f"log {str(self._path)!r} cannot be written: {error}") from None
        return self._file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        if error is not None:
            self._append("end", {"error": " ".join(f"{type(error).__name__}: {error}".split())})
        self._file.close()

    def write(self, event: Event) -> None:
        """Append what happened."""
        self._append(event.name, event.fields)

    def update(self, state: Progress) -> None:
        """Append where the extraction stands."""
        now = time.monotonic()
        if now - self._told < _PROGRESS_SECONDS and state.done < state.total:
            return
        self._told = now
        seconds = {step: round(spent, 3) for step, spent in state.seconds.items()}
        counts = {"done": state.done, "total": state.total, "failed": state.failed, "n_waiting": state.n_waiting}
        self._append("progress", {"stage": state.stage, **counts, "seconds": seconds})

    def _append(self, name: str, fields: Mapping[str, Any]) -> None:
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": name, **fields}
        (self._file or self._open()).write(json.dumps(line) + "\n")


def check_log(path: Path, *, awaited: Path | None = None) -> None:
    """Raise `FeatcacheError` if there can be no such log; looks, and makes nothing."""
    if _is_awaited(path, awaited):
        return
    place = path if path.exists() else path.parent
    fault = None if os.access(place, os.W_OK) else "may not be written"
    if path.is_dir():
        fault = "is a folder"
    elif not path.parent.is_dir():
        place, fault = path.parent, "is no folder"
    if fault:
        raise FeatcacheError(f"log {str(path)!r} cannot be written: {str(place)!r} {fault}")


def _is_awaited(path: Path, awaited: Path | None) -> bool:
    return awaited is not None and path.parent.absolute() == awaited.absolute() and not awaited.exists()
