"""How an extraction runs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from featcache.cache.plans import MAX_ROWS
from featcache.encoders.base import Device
from featcache.errors import FeatcacheError
from featcache.extraction.memory import available_memory
from featcache.extraction.partition import Partition
from featcache.pictures.decoders import DecoderName

__all__ = ["ExtractOptions", "FailureLimit", "available_cores", "parse_gpus"]

_MIN_TRIED = 50
_MOST_THREADS = 16
_LEAST_CONTENTS = 2000
_SHARE = 2  # of the memory that is left is for pictures; the rest for encoders, what is prepared, and others


@dataclass(frozen=True)
class FailureLimit:
    """How many contents may fail before an extraction gives up.

    Attributes
    ----------
    count : int or None
        More than so many failures of one extraction are too many.
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
            Failures of earlier stages of the same extraction.
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
    batch_size : int or None
        Pictures a forward, and a quarter of the captions; None: 64 on a CPU, tried out on a GPU. A GPU that runs out
        of memory halves it.
    workers : int or None
        How many pictures are read, decoded and resized at once; None: as many as there are cores, at most 16 threads.
    processes : bool or None
        Whether processes do so, or threads of this one; None: processes where there are enough contents for them to
        pay, to hash, and beside a GPU also to prepare.
    memory : int or None
        Bytes that pictures may take while they are prepared, in all workers together; None: half of what is left when
        they begin. A picture that alone takes more is prepared all the same, while no other large one is.
    decoder : {"auto", "pillow", "card"}
        Who prepares pictures, to Pillow's pixels: ``auto`` is a GPU, which resizes, and decodes JPEGs where it has an
        engine for them, or a faster decoder that is installed, checked against Pillow, which decodes what those do not
        take. ``card`` is the same, and an error without the GPU.
    compile : bool
        Hand the forwards to ``torch.compile``: it takes minutes, and pays in hours of work on a GPU.
    unit_rows : int or None
        Contents a work unit, that is rows a shard: what an interruption can lose, and no more than five minutes of
        work. None: 4096, fewer if their vectors would take more than 512 MB.
    retry_failed : bool
        Try contents again that failed before, and no others.
    max_failures : FailureLimit or None
        When to give up; None: never. What an earlier extraction put on record, and this one leaves alone, does not
        count.
    rehash : bool
        Read all pictures, also those that look as they did when they were hashed last.
    seed : int or None
        Of the split, where the manifest has none. None: the seed by which the cache has it split, or else 0.
    claim_timeout : float
        Seconds after which a writer that gives no sign of life loses its claim on a work unit.
    partition : Partition or None
        Which part of a division this process does; None: all.
    refreeze : bool
        Replace what was agreed on for an earlier division of the same extraction.
    """

    device: Device = "auto"
    batch_size: int | None = None
    workers: int | None = None
    processes: bool | None = None
    memory: int | None = None
    decoder: DecoderName = "auto"
    compile: bool = False
    unit_rows: int | None = None
    retry_failed: bool = False
    max_failures: FailureLimit | None = None
    rehash: bool = False
    seed: int | None = None
    claim_timeout: float = 60.0
    partition: Partition | None = None
    refreeze: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_size", "workers", "memory", "unit_rows"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise FeatcacheError(f"{name} is {value}, expected at least 1")
        if self.unit_rows is not None and self.unit_rows > MAX_ROWS:
            raise FeatcacheError(f"unit_rows is {self.unit_rows}, expected at most {MAX_ROWS}")
        if not self.claim_timeout > 0:
            raise FeatcacheError(f"claim_timeout is {self.claim_timeout}, expected more than 0 seconds")

    @property
    def threads(self) -> int:
        """How many threads read and hash."""
        return self.workers or max(2, min(_MOST_THREADS, available_cores()))

    @property
    def picture_bytes(self) -> int:
        """Memory that pictures may take, as it is now where `memory` does not say it."""
        return self.memory or max(1, available_memory() // _SHARE)

    def processes_for(self, n_contents: int) -> int:
        """Return how many processes pay for so many pictures; 0: threads of this one do better."""
        if self.processes is False or os.name != "posix":
            return 0
        if not self.processes and n_contents < _LEAST_CONTENTS:
            return 0
        return self.workers or available_cores()


def parse_gpus(text: str) -> int | None:
    """Read how many GPUs are asked for: a number, or ``all``, which is None.

    Raises
    ------
    FeatcacheError
        If it is neither.
    """
    if text == "all":
        return None
    if not text.isascii() or not text.isdecimal() or not int(text):
        raise FeatcacheError(f"gpus {text!r} is neither all nor a number from 1")
    return int(text)


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
