"""Why a content could not be encoded: found by whoever looks at it, prepares it or stores its vectors, then recorded.

There is one way: a `Fault` is put on record as a `Failure`, once a content, encoder and view, or once an unreadable
picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from featcache.cache.failures import Failure

__all__ = ["Fault"]


@dataclass(frozen=True)
class Fault:
    """Why something could not be done with a content.

    Attributes
    ----------
    stage : {"read", "decode", "view", "encode"}
        What was being done.
    error, message : str
        Class of the error, and its text.
    """

    stage: str
    error: str
    message: str

    @classmethod
    def of(cls, stage: str, error: Exception) -> Self:
        """Describe an error in one line."""
        return cls(stage, type(error).__name__, " ".join(str(error).split())[:300])

    def on_record(self, key: bytes, sample_id: str, *, attempt: int = 1) -> Failure:
        """Return what is kept of it: of which content, at which attempt, and that it was now."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Failure(key.hex(), sample_id, self.stage, self.error, self.message, attempt, now)
