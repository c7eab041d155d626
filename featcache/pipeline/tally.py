"""Counting what was tried and what failed, and giving up when it is too much."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from featcache.encoders.base import Content
from featcache.errors import FeatcacheError
from featcache.failures import Failure
from featcache.options import FailureLimit
from featcache.pipeline.encoding import Job
from featcache.pipeline.reading import Fault
from featcache.pipeline.results import Event
from featcache.pipeline.side import Side

__all__ = ["Tally"]


class Tally:
    """Counts the contents that a pass has tried, and those that failed, each once for all encoders and views.

    Parameters
    ----------
    sides : sequence of Side
        Whose contents.
    content : {"text", "image"}
        What they are.
    limit : FailureLimit or None
        How many may fail.
    elsewhere : callable
        Returns the failures of this run in other passes up to now: they count towards the limit.
    tell : callable
        Called with each failure.
    """

    def __init__(
        self,
        sides: Sequence[Side],
        content: Content,
        *,
        limit: FailureLimit | None,
        elsewhere: Callable[[], int],
        tell: Callable[[Event], None],
    ) -> None:
        self._sides = sides
        self._content = content
        self._limit = limit
        self._elsewhere = elsewhere
        self._tell = tell
        self._tried = np.zeros(len(sides[0].keys), bool)
        self._n_tried = 0
        self._failed: dict[int, Failure] = {}
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """Whether more contents failed than the options allow."""
        return self._is_over

    @property
    def n_failed(self) -> int:
        """Contents that failed, in whatever job."""
        return len(self._failed)

    def try_row(self, row: int) -> None:
        """Count a content as tried; raises if too large a share of them has failed."""
        if not self._tried[row]:
            self._tried[row] = True
            self._n_tried += 1
            self._check()

    def fail(self, job: Job, row: int, fault: Fault) -> None:
        """Record a failure in a job.

        Raises
        ------
        FeatcacheError
            If more contents failed than the options allow; what was published stays.
        """
        side = self._sides[job.side]
        failure = side.failure(row, fault)
        job.failures.append(failure)
        self._failed.setdefault(row, failure)
        self._tell(_failure_event(side, failure))
        self._check()

    def _check(self) -> None:
        n_failed, n_tried, before = len(self._failed), self._n_tried, self._elsewhere()
        if self._limit is not None and self._limit.is_exceeded(n_failed, n_tried, n_failed_before=before):
            self._is_over = True
            first = next(iter(self._failed.values()))
            raise FeatcacheError(
                f"stopped: {_n(n_failed + before, 'content')} failed, more than the limit of {self._limit} "
                f"({n_failed} of {_n(n_tried, f'{self._content} content')} tried), the first of sample "
                f"{first.sample_id!r}: {first.message}; what was published stays, "
                "`featcache failures` lists what failed"
            )


def _n(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _failure_event(side: Side, failure: Failure) -> Event:
    names = {"modality": side.plan.spec.modality, "view": side.plan.view, "sample_id": failure.sample_id}
    return Event("failure", names | {"stage": failure.stage, "error": failure.error, "message": failure.message})
