"""What an extraction tells while it runs and when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from featcache.failures import Failure
from featcache.misses import NearMiss

__all__ = ["ExtractResult", "Progress", "SideResult"]


@dataclass(frozen=True)
class Progress:
    """Where an extraction stands.

    Attributes
    ----------
    stage : {"scan", "text", "image"}
        Reading and hashing contents, or encoding one side.
    done, total, failed : int
        Contents of this stage.
    seconds : mapping
        Time of this stage by part: ``prepare`` (waiting for decoded input), ``forward``, ``write``.
    n_waiting : int
        Work units that another writer has in hand, when all others are done.
    """

    stage: str
    done: int
    total: int
    failed: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    n_waiting: int = 0


@dataclass(frozen=True)
class SideResult:
    """What one encoder did.

    Attributes
    ----------
    modality, fingerprint, model : str
        The producer.
    n_contents, n_cached, n_encoded : int
        Unique contents; those that were there already; those encoded now.
    n_elsewhere : int
        Contents that another writer encoded meanwhile.
    failures : tuple of Failure
        Contents that could not be encoded now.
    n_failed_before : int
        Contents that failed in an earlier run, or in one at the same time, and were not tried again.
    n_new : int
        Contents never tried, and not tried now because only failures were to be tried again.
    seconds : mapping
        Time by part.
    misses : tuple of NearMiss
        Other producers that hold contents which this one lacked.
    """

    modality: str
    fingerprint: str
    model: str
    n_contents: int
    n_cached: int
    n_encoded: int
    n_elsewhere: int
    failures: tuple[Failure, ...]
    n_failed_before: int
    n_new: int
    seconds: Mapping[str, float]
    misses: tuple[NearMiss, ...]

    @property
    def n_failed(self) -> int:
        """Contents of this side that have no vectors because they failed."""
        return len(self.failures) + self.n_failed_before


@dataclass(frozen=True)
class ExtractResult:
    """What an extraction did.

    Attributes
    ----------
    dataset : str
        Name of the data set in the cache.
    n_samples, n_orphans : int
        Samples, and manifest entries skipped because a file was not there.
    n_missing : mapping of modality to int
        Samples that have no content on that side.
    unreadable : tuple of Failure
        Pictures that exist but could not be read.
    sides : tuple of SideResult
        One per encoder.
    broken : tuple of str
        One line for each part of the source that is damaged or refused.
    """

    dataset: str
    n_samples: int
    n_orphans: int
    n_missing: Mapping[str, int]
    unreadable: tuple[Failure, ...]
    sides: tuple[SideResult, ...]
    broken: tuple[str, ...] = ()

    @property
    def n_failed(self) -> int:
        """Contents without vectors because they failed, at whatever stage."""
        return len(self.unreadable) + sum(side.n_failed for side in self.sides)

    @property
    def n_encoded(self) -> int:
        """Contents encoded now."""
        return sum(side.n_encoded for side in self.sides)
