"""A log for machines: what happens in an extraction, one JSON object a line."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from featcache.errors import FeatcacheError
from featcache.pipeline.results import Event, Progress

__all__ = ["EventLog"]

_PROGRESS_SECONDS = 1.0


class EventLog:
    """Appends events to a file, each line complete when it is written; a context.

    Every line has ``time`` (UTC, ISO 8601) and ``event``: ``start``, ``plan``, ``progress`` (at most one a second,
    and the last of each stage), ``unit`` (published), ``failure``, ``end``.

    Parameters
    ----------
    path : Path
        The file; its folder exists.

    Raises
    ------
    FeatcacheError
        If it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise FeatcacheError(f"log {str(path)!r} cannot be written: {error}") from None
        self._told = -_PROGRESS_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
        seconds = {part: round(spent, 3) for part, spent in state.seconds.items()}
        counts = {"done": state.done, "total": state.total, "failed": state.failed, "n_waiting": state.n_waiting}
        self._append("progress", {"stage": state.stage, **counts, "seconds": seconds})

    def _append(self, name: str, fields: Mapping[str, Any]) -> None:
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": name, **fields}
        self._file.write(json.dumps(line) + "\n")
