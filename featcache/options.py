"""How an extraction runs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from featcache.encoders.base import Device
from featcache.errors import FeatcacheError

__all__ = ["ExtractOptions", "FailureLimit"]

_MIN_TRIED = 50


@dataclass(frozen=True)
class FailureLimit:
    """How many contents may fail before an extraction gives up.

    Attributes
    ----------
    count : int or None
        More than so many failures of one run are too many.
    percent : float or None
        More than so many of a hundred are too many, once 50 were tried.
    """

    count: int | None = None
    percent: float | None = None

    @classmethod
    def parse(cls, text: str) -> FailureLimit:
        """Read ``N`` or ``P%``.

        Raises
        ------
        FeatcacheError
            If it is neither.
        """
        found = re.fullmatch(r"(\d{1,12})|(\d{1,3}(?:\.\d+)?)\s*%", text.strip(), re.ASCII)
        if found is None or (found[2] and float(found[2]) > 100):
            raise FeatcacheError(f"limit of failures {text!r} is neither a number like 20 nor a share like 5%")
        return cls(count=int(found[1])) if found[1] else cls(percent=float(found[2]))

    def __str__(self) -> str:
        return f"{self.percent:g}%" if self.percent is not None else str(self.count)

    def is_exceeded(self, n_failed: int, n_tried: int, *, n_failed_before: int = 0) -> bool:
        """Tell whether to give up.

        Parameters
        ----------
        n_failed, n_tried : int
            Contents of this stage.
        n_failed_before : int
            Failures of earlier stages of the same run.
        """
        if self.count is not None and n_failed + n_failed_before > self.count:
            return True
        return self.percent is not None and n_tried >= _MIN_TRIED and 100 * n_failed > self.percent * n_tried


@dataclass(frozen=True)
class ExtractOptions:
    """How to run; nothing here changes a vector beyond its last bits.

    Attributes
    ----------
    device : {"auto", "cuda", "cpu"}
        Where the encoders run.
    batch_size : int
        Contents a forward.
    workers : int
        Threads that read, hash, decode and resize.
    unit_rows : int
        Contents a work unit, that is rows a shard: what an interruption can lose.
    retry_failed : bool
        Try contents again that failed before, and no others.
    max_failures : FailureLimit or None
        When to give up; None: never.
    rehash : bool
        Read all pictures, also those that look as they did when they were hashed last.
    seed : int
        Of the split, where the manifest has none.
    claim_timeout : float
        Seconds after which a writer that gives no sign of life loses its claim on a work unit.
    """

    device: Device = "auto"
    batch_size: int = 64
    workers: int = field(default_factory=lambda: max(2, min(16, os.cpu_count() or 2)))
    unit_rows: int = 4096
    retry_failed: bool = False
    max_failures: FailureLimit | None = None
    rehash: bool = False
    seed: int = 0
    claim_timeout: float = 60.0

    def __post_init__(self) -> None:
        for name in ("batch_size", "workers", "unit_rows"):
            if getattr(self, name) < 1:
                raise FeatcacheError(f"{name} is {getattr(self, name)}, expected at least 1")
        if not self.claim_timeout > 0:
            raise FeatcacheError(f"claim_timeout is {self.claim_timeout}, expected more than 0 seconds")
