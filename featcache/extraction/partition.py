"""One extraction divided among processes that may know nothing of each other: which part each of them takes.

Parts count from 0, as job arrays do: the N processes of a division are ``0/N`` to ``N-1/N``. Work is dealt out by
units, round after round, so that each part has a share of the whole data set.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from featcache.cache.folder import Cache
from featcache.cache.plans import MAX_COUNT
from featcache.errors import FeatcacheError
from featcache.files.claims import SUFFIX, Claims

__all__ = ["ENVIRONMENT", "Partition", "scanning"]

ENVIRONMENT = (
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("RANK", "WORLD_SIZE"),
    ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"),
)
"""Variables of an index and its count, in the order in which `Partition.from_environment` asks them.

Kubernetes sets no count: ``JOB_COMPLETIONS`` is there if the job's author copies it into the environment.
"""
_UNITS_A_PART = 4
_FORM = re.compile(r"(\d{1,7}|auto)(?:/(\d{1,7}))?", re.ASCII)
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Partition:
    """One part of a division.

    Attributes
    ----------
    index, count : int
        Part ``index``, counted from 0, of ``count``.
    tasks : range or None
        Numbers of the tasks of the job array that this division was read from, one a part; None: it was not.

    Raises
    ------
    FeatcacheError
        If there is no such part.
    """

    index: int
    count: int
    tasks: range | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_COUNT:
            raise FeatcacheError(f"shard {self} is of {self.count} parts, expected 1 to {MAX_COUNT}")
        if not 0 <= self.index < self.count:
            which = f"the last is {self.count - 1}/{self.count} (a job array for them is --array=0-{self.count - 1})"
            raise FeatcacheError(
                f"shard {self} does not exist: parts count from 0, {which if self.count > 1 else 'the only one is 0/1'}"
            )

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str]) -> Self:
        """Read ``i/N``, ``auto`` (both from the environment) or ``auto/N`` (only the index).

        Raises
        ------
        FeatcacheError
            If it is none of these, if the environment says nothing, or if there is no such part.
        """
        found = _FORM.fullmatch(text.strip())
        if found is None or (found[1] != "auto" and found[2] is None):
            raise FeatcacheError(f"shard {text!r} is neither i/N like 3/8, nor auto, nor auto/N")
        count = None if found[2] is None else int(found[2])
        if found[1] != "auto":
            return cls(int(found[1]), count or 0)
        part = cls.from_environment(environment, count=count)
        if part is None:
            names = ", ".join(index for index, _ in ENVIRONMENT)
            raise FeatcacheError(f"shard {text!r}: the environment has none of {names}; say which part as i/N")
        return part

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, count: int | None = None) -> Self | None:
        """Find out from a scheduler's variables which part this process is.

        Of `ENVIRONMENT` the first pair counts whose count is more than 1, else the first that is there: a launcher
        inside of a job of one task is the one that divides. Nothing asks this function unless the user does.

        Parameters
        ----------
        environment : mapping
            E.g. ``os.environ``.
        count : int, optional
            How many parts there are, if the user says so: for arrays with gaps, which finish some parts of a
            division, and where the environment has no count. A job array's task number is the index then. Otherwise
            its first number is part 0, and its step is allowed for.

        Returns
        -------
        Partition or None
            None if no variable is there.

        Raises
        ------
        FeatcacheError
            If variables contradict each other, or the count is missing.
        """
        pairs = [pair for pair in ENVIRONMENT if pair[0] in environment]
        if not pairs:
            return None
        name, total = next((pair for pair in pairs if environment.get(pair[1], "") != "1"), pairs[0])
        index = _number(environment, name)
        if count is not None:
            return cls(index, count)
        if total not in environment:
            raise FeatcacheError(f"{name} is {index}, but {total} is not set: say how many parts as --shard auto/N")
        if name == "SLURM_ARRAY_TASK_ID":
            tasks = _tasks_of_array(environment, index)
            return cls(tasks.index(index), len(tasks), tasks)
        return cls(index, _number(environment, total))

    def takes(self, number: int) -> bool:
        """Tell whether the units of a number, counted from 0, are in this part."""
        return number % self.count == self.index

    def unit_rows(self, n_contents: int, unit_rows: int) -> int:
        """Return how many rows a unit should have so that each part has some work, at most ``unit_rows``.

        A function of the data set and the division alone: all parts come to the same number.
        """
        return max(1, min(unit_rows, n_contents // (_UNITS_A_PART * self.count))) if self.count > 1 else unit_rows


def _number(environment: Mapping[str, str], name: str) -> int:
    value = environment[name].strip()
    if re.fullmatch(r"\d{1,7}", value, re.ASCII) is None:
        raise FeatcacheError(f"variable {name} is {value!r}, expected a number from 0: say which part as --shard i/N")
    return int(value)


def _tasks_of_array(environment: Mapping[str, str], task: int) -> range:
    """Return the numbers of a job array's tasks; gaps are refused, for nobody could tell what they mean."""
    first, last, step, count = (
        _number(environment, name) if name in environment else default
        for name, default in (
            ("SLURM_ARRAY_TASK_MIN", 0),
            ("SLURM_ARRAY_TASK_MAX", None),
            ("SLURM_ARRAY_TASK_STEP", 1),
            ("SLURM_ARRAY_TASK_COUNT", None),
        )
    )
    assert first is not None
    assert count is not None
    if not step:
        raise FeatcacheError(
            "variable SLURM_ARRAY_TASK_STEP is '0', expected at least 1: say which part as --shard i/N"
        )
    place, rest = divmod(task - first, step)
    if rest or not 0 <= place < count or (last is not None and (last - first) // step + 1 != count):
        raise FeatcacheError(
            f"task {task} is of a job array of {count} tasks with gaps: say of how many parts the whole is, as in "
            "--shard auto/N (task numbers are parts then, from 0)"
        )
    return range(first, first + step * count, step)


@contextmanager
def scanning(
    cache: Cache, dataset: str, *, timeout: float, waiting: Callable[[], None] | None = None
) -> Iterator[bool]:
    """Let one of many processes that start at once hash a data set first; the others find its memo.

    Enters at once if nobody else hashes this data set. Otherwise waits until that process is done, and enters then
    together with all others that waited; or takes its place if it dies. Only ever saves work: hashing twice is
    harmless.

    Parameters
    ----------
    cache : Cache
        The cache that they share.
    dataset : str
        Name of the data set in the cache.
    timeout : float
        Seconds for which the other may give no sign of life.
    waiting : callable
        Called a few times a second while this process waits.

    Yields
    ------
    bool
        Whether another's memo can be counted on.
    """
    folder = cache.path / "claims" / "scan"
    with Claims(folder, root=cache.path, timeout=timeout) as claims:
        has_first = False
        while not has_first and not claims.take(dataset):
            if waiting:
                waiting()
            time.sleep(min(_POLL_SECONDS, timeout / 8))
            has_first = not (folder / f"{dataset}{SUFFIX}").exists()
        try:
            yield has_first
        finally:
            claims.release(dataset)
