"""The frozen plan of an extraction in parts: what all of them must agree on, so that together they do everything.

Parts that disagree would do no harm to what is stored, but leave gaps that nobody is going to fill.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from featcache.cache.folder import Cache
from featcache.cache.plans import FrozenContents, FrozenPlan, FrozenProducer, load_plan, plan_path
from featcache.cache.samples import SampleTable
from featcache.encoders.base import EncoderSpec
from featcache.errors import FeatcacheError, ShardError
from featcache.extraction.partition import Partition
from featcache.files.sealed import replace_sealed, write_sealed
from featcache.identity.terms import CONTENT_OF

__all__ = ["check_division", "describe_extraction", "freeze_plan", "rejoin"]

_WAYS_OUT = (
    "finish without --shard, which divides nothing, or give --refreeze to every part to replace the frozen plan "
    "(nothing stored is lost)"
)


def describe_extraction(
    table: SampleTable, work: Sequence[tuple[EncoderSpec, Sequence[str]]], *, count: int, unit_rows: int
) -> FrozenPlan:
    """Describe the extraction of a sample table with some encoders, each under some views, in ``count`` parts."""
    producers = _producers(work)
    kinds = sorted({producer.kind for producer in producers})
    contents = tuple(FrozenContents.of(table, kind) for kind in kinds)
    return FrozenPlan(table.dataset, count, unit_rows, contents, producers)


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
    path = plan_path(cache, dataset, (producer.fingerprint for producer in producers))
    if refreeze or partition.count == 1 or not path.exists():
        return
    found = load_plan(path)
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
        Contents a unit.
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
    wanted = describe_extraction(table, work, count=partition.count, unit_rows=unit_rows)
    wanted = replace(wanted, tasks=partition.tasks)
    path = wanted.path(cache)
    if not path.exists() and (is_dry or write_sealed(path, wanted.to_document(), root=cache.path)):
        return
    try:
        found = load_plan(path)
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
    path = plan_path(cache, dataset, sorted(spec.fingerprint.digest for spec in specs))
    if not path.exists():
        return partition
    plan = load_plan(path)
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
