"""Pillow's warnings about odd files: silent in the thread that decodes them, and as they were in all others."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["quietly"]


class _WhileDecoding:
    """A module pattern for `warnings.filters` that matches only in threads that are decoding.

    Whoever copies filters by their patterns, as scikit-learn does for its workers, gets one that matches nothing.
    """

    pattern = r"(?!)"

    def __init__(self) -> None:
        self.thread = threading.local()

    def match(self, module: str) -> bool:
        return getattr(self.thread, "depth", 0) > 0 and module.startswith("PIL.")


_WHILE_DECODING = _WhileDecoding()
_FILTER: Any = ("ignore", None, Warning, _WHILE_DECODING, 0)


@contextmanager
def quietly() -> Iterator[None]:
    """Silence Pillow's warnings in this thread.

    `warnings.catch_warnings` swaps the filters of the whole process and so breaks under threads. This adds
    one filter that stays, and that matches only while its own thread is in here.
    """
    filters: Any = warnings.filters
    if not filters or filters[0] is not _FILTER:
        filters.insert(0, _FILTER)
    thread = _WHILE_DECODING.thread
    thread.depth = getattr(thread, "depth", 0) + 1
    try:
        yield
    finally:
        thread.depth -= 1
