"""The frozen plan of an extraction in parts, one file a data set and set of encoders: what its parts agree on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise, starmap
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from featcache.cache.folder import Cache
from featcache.cache.samples import SampleTable
from featcache.errors import ShardError
from featcache.files.digests import digest_json
from featcache.files.sealed import check_intact, read_sealed
from featcache.identity.terms import CONTENTS, Content

__all__ = [
    "FrozenContents",
    "FrozenPlan",
    "FrozenProducer",
    "Lacks",
    "array_expression",
    "frozen_plans",
    "load_plan",
    "plan_path",
    "read_plan",
]

FORMAT_VERSION = 1
MAX_COUNT = 1_000_000
MAX_ROWS = 1 << 40
"""Most contents of a run that a division can agree on."""
MAX_TASK = 9_999_999
_FOLDER = "plans"

Lacks = Callable[[str, str, str, NDArray[np.uint8]], NDArray[np.bool_]]
"""Which of some keys (n, 32) a producer (digest, view, output) neither holds nor has failed on."""


@dataclass(frozen=True)
class FrozenContents:
    """The captions or the pictures of a data set.

    Attributes
    ----------
    kind : {"image", "text"}
        Whether these are its pictures or its captions.
    count : int
        How many of them there are.
    digest : str
        Sha256 of their keys in the order of the manifest, 64 hex digits.
    """

    kind: Content
    count: int
    digest: str

    @classmethod
    def of(cls, table: SampleTable, content: Content) -> Self:
        """Describe those of a sample table."""
        keys = table.unique_keys(content)
        return cls(content, len(keys), hashlib.sha256(keys.tobytes()).hexdigest())


@dataclass(frozen=True)
class FrozenProducer:
    """What is to be made with one encoder.

    Attributes
    ----------
    fingerprint : str
        Digest of the producer, 64 hex digits.
    kind : {"image", "text"}
        The content of a sample of which its vectors are made.
    outputs, views : tuple of str
        What is to be stored, and under which perturbations; both sorted.
    """

    fingerprint: str
    kind: Content
    outputs: tuple[str, ...]
    views: tuple[str, ...]


@dataclass(frozen=True)
class FrozenPlan:
    """What the parts of one extraction agree on.

    Attributes
    ----------
    dataset : str
        Name of the data set in the cache.
    count : int
        How many parts the extraction has.
    unit_rows : int
        Contents a run: part i has the runs i, i + count, i + 2 count …
    contents, producers : tuple
        What is to be done with what.
    tasks : range or None
        Numbers of the tasks of the job array that was last divided so, one a part; None: no array was. It says what
        a few of its tasks mean when they are submitted again, and is not agreed on.
    """

    dataset: str
    count: int
    unit_rows: int
    contents: tuple[FrozenContents, ...]
    producers: tuple[FrozenProducer, ...]
    tasks: range | None = field(default=None, compare=False)

    @classmethod
    def from_document(cls, document: Mapping[str, Any], where: str) -> Self:
        """Read what `to_document` returned.

        Raises
        ------
        ShardError
            If the document is no frozen plan of this version.
        """
        version = document.get("format_version")
        if version != FORMAT_VERSION:
            raise ShardError.of_version(where, version, FORMAT_VERSION)
        try:
            contents = [
                (_content(c["kind"]), _count(c["count"], MAX_ROWS), str(c["digest"])) for c in document["contents"]
            ]
            producers = [
                (str(p["fingerprint"]), _content(p["kind"]), tuple(map(str, p["outputs"])), tuple(map(str, p["views"])))
                for p in document["producers"]
            ]
            count, tasks = _count(document["count"], MAX_COUNT), document.get("tasks")
            if tasks is not None:
                first, step = _count(tasks["first"], MAX_TASK), _count(tasks["step"], MAX_TASK, least=1)
                tasks = range(first, first + step * count, step)
            return cls(
                str(document["dataset"]),
                count,
                _count(document["unit_rows"], MAX_ROWS, least=1),
                tuple(starmap(FrozenContents, contents)),
                tuple(starmap(FrozenProducer, producers)),
                tasks,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ShardError.damaged(f"{where} is no frozen plan: {error}") from error

    def to_document(self) -> dict[str, Any]:
        """Return what is stored."""
        tasks = None if self.tasks is None else {"first": self.tasks.start, "step": self.tasks.step}
        return {"format_version": FORMAT_VERSION, **asdict(self), "tasks": tasks}

    def path(self, cache: Cache) -> Path:
        """Where it is stored: a name for the data set and the producers, whatever else is agreed on."""
        return plan_path(cache, self.dataset, (producer.fingerprint for producer in self.producers))

    def parts_missing(self, table: SampleTable, lacks: Lacks) -> tuple[int, ...] | None:
        """Return which parts have something left to do, ascending.

        Parameters
        ----------
        table : SampleTable
            The data set as it is now.
        lacks : callable
            Tells which contents a producer still has to encode.

        Returns
        -------
        tuple of int or None
            None if the data set has other contents now than when the plan was frozen.
        """
        if any(FrozenContents.of(table, contents.kind) != contents for contents in self.contents):
            return None
        found: set[int] = set()
        for producer in self.producers:
            keys = table.unique_keys(producer.kind)
            run = np.arange(len(keys)) // self.unit_rows
            for view in producer.views:
                for output in producer.outputs:
                    found.update(np.unique(run[lacks(producer.fingerprint, view, output, keys)] % self.count).tolist())
        return tuple(sorted(found))


def array_expression(indices: Sequence[int]) -> str:
    """Return numbers as a job array takes them, e.g. ``0-3,7``; ascending, each once."""
    ordered = sorted(set(indices))
    starts = [b for a, b in pairwise([-2, *ordered]) if b != a + 1]
    ends = [a for a, b in pairwise([*ordered, -2]) if b != a + 1]
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))


def plan_path(cache: Cache, dataset: str, fingerprints: Iterable[str]) -> Path:
    """Return where the plan of a data set with these producers (digests, ascending) is, or would be."""
    return _place(cache.path / _FOLDER, dataset, fingerprints)


def frozen_plans(cache: Cache, dataset: str) -> tuple[FrozenPlan, ...]:
    """Return the frozen plans of a data set.

    Raises
    ------
    ShardError
        If one cannot be read.
    """
    folder = cache.path / _FOLDER / dataset
    return tuple(load_plan(path) for path in sorted(folder.glob("[0-9a-f]*.json")) if path.is_file())


def load_plan(path: Path) -> FrozenPlan:
    """Read one file, and say of one that cannot be read how to replace it.

    Raises
    ------
    ShardError
        If the plan cannot be read, as by `read_plan`.
    """
    try:
        return read_plan(path)
    except ShardError as error:
        raise ShardError(f"{error}; --refreeze replaces it, given to every part") from error


def read_plan(path: Path) -> FrozenPlan:
    """Read one file.

    Raises
    ------
    ShardError
        If it is damaged, or of another data set or other producers than its place says.
    """
    document, is_intact = read_sealed(path)
    plan = FrozenPlan.from_document(document, f"frozen plan {path}")
    check_intact(path, is_intact)
    home = _place(path.parents[1], plan.dataset, (producer.fingerprint for producer in plan.producers))
    if home != path:
        raise ShardError.misplaced(f"frozen plan {path} is of data set {plan.dataset!r}, as {home.name}", home)
    return plan


def _place(folder: Path, dataset: str, fingerprints: Iterable[str]) -> Path:
    name = digest_json(list(fingerprints))[:12]
    return folder / dataset / f"{name}.json"


def _content(value: Any) -> Content:
    found = next((content for content in CONTENTS if value == content), None)
    if found is None:
        raise ValueError(f"{value!r:.80} is none of {CONTENTS!r}")
    return found


def _count(value: Any, most: int, *, least: int = 0) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{value!r} is no number from {least} to {most}")
    return value
