"""The frozen plan of an extraction in parts: what all of them must agree on, so that together they do everything.

Parts that disagree would do no harm to what is stored, but leave gaps that nobody is going to fill.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import starmap
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from featcache.cache.folder import Cache
from featcache.cache.samples import SampleTable
from featcache.encoders.base import EncoderSpec
from featcache.errors import FeatcacheError, ShardError
from featcache.extraction.partition import MAX_COUNT, MAX_ROWS, MAX_TASK, Partition
from featcache.files.digests import canonical_json
from featcache.files.sealed import check_intact, read_sealed, replace_sealed, write_sealed
from featcache.identity.terms import CONTENT_OF

__all__ = [
    "FrozenContents",
    "FrozenPlan",
    "FrozenProducer",
    "check_division",
    "freeze_plan",
    "frozen_plans",
    "read_plan",
    "rejoin",
]

FORMAT_VERSION = 1
_FOLDER = "plans"
_WAYS_OUT = (
    "finish without --shard, which divides nothing, or give --refreeze to every part to replace the frozen plan "
    "(nothing stored is lost)"
)

Lacks = Callable[[str, str, str, NDArray[np.uint8]], NDArray[np.bool_]]
"""Which of some keys (n, 32) a producer (digest, view, output) neither holds nor has failed on."""


@dataclass(frozen=True)
class FrozenContents:
    """Contents of one kind.

    Attributes
    ----------
    kind : {"image", "text"}
        What they are.
    count : int
        How many there are.
    digest : str
        Sha256 of their keys in the order of the manifest, 64 hex digits.
    """

    kind: str
    count: int
    digest: str

    @classmethod
    def of(cls, table: SampleTable, kind: str) -> Self:
        """Describe the contents of a sample table."""
        keys = table.unique_keys(kind)
        return cls(kind, len(keys), hashlib.sha256(keys.tobytes()).hexdigest())


@dataclass(frozen=True)
class FrozenProducer:
    """What is to be made with one encoder.

    Attributes
    ----------
    fingerprint : str
        Digest of the producer.
    kind : {"image", "text"}
        Of which contents.
    outputs, views : tuple of str
        Sorted.
    """

    fingerprint: str
    kind: str
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
        How many parts there are.
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
    def of(
        cls, table: SampleTable, work: Sequence[tuple[EncoderSpec, Sequence[str]]], *, count: int, unit_rows: int
    ) -> Self:
        """Describe the extraction of a sample table with some encoders, each under some views."""
        producers = _producers(work)
        kinds = sorted({producer.kind for producer in producers})
        return cls(table.dataset, count, unit_rows, tuple(FrozenContents.of(table, kind) for kind in kinds), producers)

    @classmethod
    def from_document(cls, document: Mapping[str, Any], where: str) -> Self:
        """Read what `to_document` returned.

        Raises
        ------
        ShardError
            If it is something else.
        """
        version = document.get("format_version")
        if version != FORMAT_VERSION:
            raise ShardError.of_version(where, version, FORMAT_VERSION)
        try:
            contents = [(str(c["kind"]), _count(c["count"], MAX_ROWS), str(c["digest"])) for c in document["contents"]]
            producers = [
                (str(p["fingerprint"]), str(p["kind"]), tuple(map(str, p["outputs"])), tuple(map(str, p["views"])))
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
        return _path(cache, self.dataset, (producer.fingerprint for producer in self.producers))

    def parts_missing(self, table: SampleTable, lacks: Lacks) -> tuple[int, ...] | None:
        """Return which parts have something left to do, ascending.

        Parameters
        ----------
        table : SampleTable
            The data set as it is now.
        lacks : callable
            Tells what is there.

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


def check_division(
    cache: Cache,
    dataset: str,
    work: Sequence[tuple[EncoderSpec, Sequence[str]]],
    *,
    partition: Partition,
    unit_rows: int | None = None,
    refreeze: bool = False,
) -> None:
    """Raise what `freeze_plan` would, as far as it can be told before the data set is read; None: as many as fit.

    Raises
    ------
    FeatcacheError
        If the other parts mean something else.
    ShardError
        If the stored plan cannot be read.
    """
    producers = _producers(work)
    path = _path(cache, dataset, (producer.fingerprint for producer in producers))
    if refreeze or partition.count == 1 or not path.exists():
        return
    found = _read(path)
    rows = found.unit_rows if unit_rows is None else unit_rows
    wanted = replace(found, count=partition.count, unit_rows=rows, producers=producers)
    if found != wanted:
        raise FeatcacheError(f"{_difference(found, wanted, partition)}, as frozen in {path}: {_WAYS_OUT}")


def freeze_plan(
    cache: Cache,
    table: SampleTable,
    work: Sequence[tuple[EncoderSpec, Sequence[str]]],
    *,
    partition: Partition,
    unit_rows: int,
    refreeze: bool = False,
    is_dry: bool = False,
) -> None:
    """Make sure that all parts of an extraction mean the same one; the first to come lays it down.

    Parameters
    ----------
    cache : Cache
        The cache that they share. Nothing is written if there is only one part.
    table : SampleTable
        The data set as this part found it; better not yet written to the cache.
    work : sequence of (EncoderSpec, views)
        The encoders, and under which views each is to run.
    partition : Partition
        Which part this is.
    unit_rows : int
        Contents a run.
    refreeze : bool
        Put what this part means in the place of what is there. To be given to every part.
    is_dry : bool
        Write nothing, but raise as always.

    Raises
    ------
    FeatcacheError
        If the others mean something else; the message tells the way out.
    ShardError
        If the stored plan cannot be read.
    """
    if partition.count == 1:
        return
    wanted = FrozenPlan.of(table, work, count=partition.count, unit_rows=unit_rows)
    wanted = replace(wanted, tasks=partition.tasks)
    path = wanted.path(cache)
    if not path.exists() and (is_dry or write_sealed(path, wanted.to_document(), root=cache.path)):
        return
    try:
        found = _read(path)
    except ShardError:
        if not refreeze:
            raise
        found = None
    if found == wanted and wanted.tasks in (None, found.tasks):
        return
    if found == wanted or found is None or refreeze:
        if not is_dry:
            replace_sealed(path, wanted.to_document(), root=cache.path)
        return
    raise FeatcacheError(f"{_difference(found, wanted, partition)}, as frozen in {path}: {_WAYS_OUT}")


def rejoin(cache: Cache, dataset: str, specs: Sequence[EncoderSpec], partition: Partition) -> Partition:
    """Return which part of a frozen division a process is that found out from its environment which part it is.

    Some tasks of a job array that are submitted again are parts of the division that they were before, whatever
    their own array counts. Tasks are known by the numbers of the array that was divided last; of a division by
    other means the numbers are the parts.

    Parameters
    ----------
    cache : Cache
        The cache that the parts share.
    dataset : str
        Name of the data set in the cache.
    specs : sequence of EncoderSpec
        The encoders.
    partition : Partition
        What the environment says by itself; returned if nothing else is frozen.

    Raises
    ------
    FeatcacheError
        If the frozen division has another number of parts, and this process is not known to be one of them.
    ShardError
        If the stored plan cannot be read.
    """
    path = _path(cache, dataset, sorted(spec.fingerprint.digest for spec in specs))
    if not path.exists():
        return partition
    plan = _read(path)
    if plan.count == partition.count:
        return partition
    numbers, tasks = plan.tasks or range(plan.count), partition.tasks
    if tasks is not None and all(task in numbers for task in tasks):
        return Partition(numbers.index(tasks[partition.index]), plan.count)
    found = f"{partition} of no job array" if tasks is None else f"--array={_spell(tasks)}"
    raise FeatcacheError(
        f"data set {dataset!r} is being extracted in {plan.count} parts, expected --shard auto in tasks of --array="
        f"{_spell(numbers)}, found {found}, as frozen in {path}: say which part as --shard auto/{plan.count} (task "
        f"numbers are parts then, from 0) or --shard i/{plan.count}, {_WAYS_OUT}"
    )


def _producers(work: Sequence[tuple[EncoderSpec, Sequence[str]]]) -> tuple[FrozenProducer, ...]:
    found = [
        FrozenProducer(
            spec.fingerprint.digest, CONTENT_OF[spec.modality], tuple(sorted(spec.outputs)), tuple(sorted(views))
        )
        for spec, views in work
    ]
    return tuple(sorted(found, key=lambda producer: producer.fingerprint))


def _spell(numbers: range) -> str:
    text = str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"
    return text if numbers.step == 1 or len(numbers) == 1 else f"{text}:{numbers.step}"


def frozen_plans(cache: Cache, dataset: str) -> tuple[FrozenPlan, ...]:
    """Return the frozen plans of a data set.

    Raises
    ------
    ShardError
        If one cannot be read.
    """
    folder = cache.path / _FOLDER / dataset
    return tuple(_read(path) for path in sorted(folder.glob("[0-9a-f]*.json")) if path.is_file())


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


def _path(cache: Cache, dataset: str, fingerprints: Iterable[str]) -> Path:
    return _place(cache.path / _FOLDER, dataset, fingerprints)


def _place(folder: Path, dataset: str, fingerprints: Iterable[str]) -> Path:
    name = hashlib.sha256(canonical_json(list(fingerprints)).encode()).hexdigest()[:12]
    return folder / dataset / f"{name}.json"


def _read(path: Path) -> FrozenPlan:
    try:
        return read_plan(path)
    except ShardError as error:
        raise ShardError(f"{error}; --refreeze replaces it, given to every part") from error


def _count(value: Any, most: int, *, least: int = 0) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{value!r} is no number from {least} to {most}")
    return value


def _difference(found: FrozenPlan, wanted: FrozenPlan, partition: Partition) -> str:
    """Tell what this part means otherwise than those before it."""
    name = f"data set {wanted.dataset!r} is being extracted"
    if found.count != wanted.count:
        expected = f"expected --shard i/{found.count}, found {partition} (in a job array: --shard auto/{found.count})"
        return f"{name} in {found.count} parts, {expected}"
    for old, new in zip(found.contents, wanted.contents, strict=False):
        if old != new:
            what = "pictures" if old.kind == "image" else "captions"
            return f"{name} from {old.count:,} {what}, found {new.count:,} that are not the same in the same order"
    if found.unit_rows != wanted.unit_rows:
        return f"{name} with {found.unit_rows} rows a shard, found {wanted.unit_rows} (--shard-rows)"
    for mine, theirs in zip(wanted.producers, found.producers, strict=False):
        for kind in ("outputs", "views"):
            before, after = ", ".join(getattr(theirs, kind)), ", ".join(getattr(mine, kind))
            if before != after:
                return f"{name} with {kind} {before} of encoder {mine.fingerprint[:12]}, found {after}"
    return f"{name} with another plan"
