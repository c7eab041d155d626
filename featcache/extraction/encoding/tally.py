"""Counting what was tried and what failed, and giving up when it is too much."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from featcache.cache.failures import Failure
from featcache.errors import FeatcacheError
from featcache.extraction.encoding.job import Job
from featcache.extraction.encoding.side import Side
from featcache.extraction.fault import Fault
from featcache.extraction.options import FailureLimit
from featcache.extraction.results import Event
from featcache.identity.terms import Content

__all__ = ["Tally", "Toll"]


class Toll:
    """What failed in one extraction, in all its passes together.

    Parameters
    ----------
    limit : FailureLimit or None
        How many contents may fail.
    n_failed : int
        Those that failed before the first pass.

    Attributes
    ----------
    n_failed : int
        Contents that failed up to now, each once for all encoders and views.
    is_over : bool
        Whether they were more than the limit: the extraction is given up.
    """

    def __init__(self, limit: FailureLimit | None, n_failed: int = 0) -> None:
        self.limit = limit
        self.n_failed = n_failed
        self.is_over = False


class Tally:
    """Counts the contents that a pass has tried, and those that failed, each once for all encoders and views.

    Parameters
    ----------
    sides : sequence of Side
        Whose contents.
    content : {"text", "image"}
        What they are.
    toll : Toll
        The failures of the whole extraction: those of other passes count towards the limit.
    tell : callable
        Called with each failure and doubt.

    Attributes
    ----------
    doubts : list of str
        What was told of decoders that are not trusted any more.
    """

    def __init__(self, sides: Sequence[Side], content: Content, *, toll: Toll, tell: Callable[[Event], None]) -> None:
        self._sides = sides
        self.content = content
        self._toll = toll
        self._tell = tell
        self._tried = np.zeros(len(sides[0].keys), bool)
        self._n_tried = 0
        self._failed: dict[int, Failure] = {}
        self.doubts: list[str] = []

    @property
    def is_over(self) -> bool:
        """Whether more contents failed than the options allow, in whatever pass."""
        return self._toll.is_over

    @property
    def n_failed(self) -> int:
        """Contents of this pass that failed, in whatever job."""
        return len(self._failed)

    def try_row(self, row: int) -> None:
        """Count a content as tried."""
        if not self._tried[row]:
            self._tried[row] = True
            self._n_tried += 1

    def fail(self, job: Job, row: int, fault: Fault) -> None:
        """Record a failure in a job."""
        side = self._sides[job.side]
        failure = side.failure(row, fault)
        job.fail(row, failure)
        if row not in self._failed:
            self._failed[row] = failure
            self._toll.n_failed += 1
        self._tell(_failure_event(side, failure))

    def forget(self, job: Job) -> None:
        """Take back the failures of a job that is begun again."""
        for row in [row for row, failure in self._failed.items() if failure in job.failures]:
            del self._failed[row]
            self._toll.n_failed -= 1

    def doubt(self, message: str) -> None:
        """Tell that something that made inputs is not trusted any more."""
        self.doubts.append(message)
        self._tell(Event("doubt", {"content": self.content, "message": message}))

    def check(self) -> None:
        """Give up if too many have failed; to be called when all is recorded that is known to have failed.

        Raises
        ------
        FeatcacheError
            Once, if more contents failed than the options allow; what was published stays.
        """
        toll, n_failed, n_tried = self._toll, len(self._failed), self._n_tried
        before = toll.n_failed - n_failed
        if toll.is_over or toll.limit is None:
            return
        if toll.limit.is_exceeded(n_failed, n_tried, n_failed_before=before):
            toll.is_over = True
            first = next(iter(self._failed.values()))
            raise FeatcacheError(
                f"stopped: {_n(toll.n_failed, 'content')} failed, more than the limit of {toll.limit} "
                f"({n_failed} of {_n(n_tried, f'{self.content} content')} tried), the first of sample "
                f"{first.sample_id!r}: {first.message}; what was published stays, "
                "`featcache failures` lists what failed"
            )


def _n(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _failure_event(side: Side, failure: Failure) -> Event:
    names = {"modality": side.plan.spec.modality, "view": side.plan.view, "sample_id": failure.sample_id}
    return Event("failure", names | {"stage": failure.stage, "error": failure.error, "message": failure.message})
