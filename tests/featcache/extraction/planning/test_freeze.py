from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from featcache.cache.folder import Cache
from featcache.cache.plans import frozen_plans
from featcache.cache.samples import SampleTable
from featcache.dataset.manifest import Manifest
from featcache.encoders.base import EncoderSpec
from featcache.errors import FeatcacheError, ShardError
from featcache.extraction.partition import Partition
from featcache.extraction.planning.freeze import describe_extraction, freeze_plan, rejoin
from featcache.extraction.run import ExtractOptions, ExtractResult, extract
from featcache.extraction.survey.scan import scan
from featcache.store.opening import open_store

from factories import FakeSpec, make_cache, read_manifest, write_dataset

Work = list[tuple[EncoderSpec, tuple[str, ...]]]
TEXT, IMAGE = FakeSpec("text", ("cls",)), FakeSpec("image", ("pooled", "cls"))
WORK: Work = [(TEXT, ("clean",)), (IMAGE, ("clean", "hflip"))]


@pytest.fixture
def table(tmp_path: Path) -> SampleTable:
    return scan(read_manifest(write_dataset(tmp_path / "d", n_captions=6))).table


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return make_cache(tmp_path / "c")


def freeze(cache: Cache, table: SampleTable, part: str = "0/4", work: Work = WORK, **how: int) -> None:
    rows, refreeze = how.get("unit_rows", 3), bool(how.get("refreeze", 0))
    freeze_plan(cache, table, work, partition=Partition.parse(part, {}), unit_rows=rows, refreeze=refreeze)


def plan_file(cache: Cache) -> Path:
    (path,) = (cache.path / "plans").rglob("*.json")
    return path


def without(table: SampleTable, row: int) -> SampleTable:
    status = table.image_status.copy()
    status[row] = 2
    return replace(table, image_status=status)


def test_parts_that_mean_the_same_agree_in_whatever_order_they_name_things(cache: Cache, table: SampleTable) -> None:
    freeze(cache, table)
    before = plan_file(cache).read_bytes()
    freeze(cache, table, "3/4")
    other = replace(IMAGE, outputs=("cls", "pooled"))
    freeze(cache, table, "1/4", [(other, ("hflip", "clean")), (TEXT, ("clean",))])
    assert plan_file(cache).read_bytes() == before
    (plan,) = frozen_plans(cache, "d")
    assert plan == describe_extraction(table, WORK, count=4, unit_rows=3)
    assert {c.kind: c.count for c in plan.contents} == {"text": 6, "image": 18}


def test_one_part_freezes_nothing(cache: Cache, table: SampleTable) -> None:
    freeze(cache, table, "0/1")
    assert not (cache.path / "plans").exists() and frozen_plans(cache, "d") == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, t: freeze(c, t, "3/5"), r"in 4 parts, expected --shard i/4, found 3/5 .*auto/4"),
        (lambda c, t: freeze(c, without(t, 0)), r"from 18 pictures, found 17 that are not the same"),
        (lambda c, t: freeze(c, replace(t, text_key=t.text_key[::-1])), r"from 6 captions, found 6 that"),
        (lambda c, t: freeze(c, t, unit_rows=4), r"with 3 rows a shard, found 4 \(--shard-rows\)"),
        (lambda c, t: freeze(c, t, work=[WORK[0], (IMAGE, ("clean",))]), r"with views clean, hflip .* found clean"),
        (lambda c, t: freeze(c, t, work=[WORK[0], (replace(IMAGE, outputs=("cls",)), ("clean", "hflip"))]), "outputs"),
    ],
)
def test_a_part_that_means_something_else_is_refused_with_the_ways_out(
    cache: Cache, table: SampleTable, change: Callable[[Cache, SampleTable], None], message: str
) -> None:
    freeze(cache, table)
    before = plan_file(cache).read_bytes()
    with pytest.raises(FeatcacheError, match=message) as error:
        change(cache, table)
    assert "without --shard" in str(error.value) and "--refreeze" in str(error.value)
    assert plan_file(cache).read_bytes() == before


def test_other_encoders_and_other_data_sets_have_plans_of_their_own(cache: Cache, table: SampleTable) -> None:
    freeze(cache, table)
    freeze(cache, table, "5/9", [(IMAGE, ("clean",))])
    freeze(cache, replace(table, dataset="e"), "5/9")
    assert sorted(plan.count for plan in frozen_plans(cache, "d")) == [4, 9] and len(frozen_plans(cache, "e")) == 1


def test_refreezing_replaces_a_plan_and_then_agrees_with_itself(cache: Cache, table: SampleTable) -> None:
    freeze(cache, table)
    freeze(cache, table, "1/5", refreeze=1)
    before = plan_file(cache).stat()
    freeze(cache, table, "4/5", refreeze=1)
    freeze(cache, table, "2/5")
    assert (plan_file(cache).stat().st_ino, plan_file(cache).stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    with pytest.raises(FeatcacheError, match="in 5 parts"):
        freeze(cache, table)


def array(task: int, first: int, last: int, step: int = 1) -> Partition:
    """What ``--shard auto`` is in a task of ``--array=first-last:step``."""
    values = {"ID": task, "COUNT": (last - first) // step + 1, "MIN": first, "MAX": last, "STEP": step}
    return Partition.parse("auto", {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()})


@pytest.mark.parametrize(
    ("first_parts", "again", "expected"),
    [
        ([Partition(0, 4)], array(3, 3, 3), 3),
        ([Partition(0, 4)], array(2, 2, 3), 2),
        ([Partition(0, 4)], array(0, 0, 0), 0),
        ([array(0, 0, 3), array(3, 0, 3)], array(3, 3, 3), 3),
        ([array(1, 1, 4), array(4, 1, 4)], array(4, 4, 4), 3),
        ([array(1, 1, 4)], array(3, 2, 3), 2),
        ([array(30, 10, 40, 10)], array(40, 30, 40, 10), 3),
        ([Partition(0, 4), array(1, 1, 4), array(2, 1, 4)], array(4, 4, 4), 3),
        ([array(1, 1, 4), Partition(2, 4)], array(4, 4, 4), 3),
        ([array(1, 1, 4)], array(6, 4, 7), 2),
        ([array(1, 1, 4)], Partition.parse("auto", {"RANK": "2", "WORLD_SIZE": "4"}), 2),
    ],
)
def test_tasks_submitted_again_are_the_parts_that_they_were(
    cache: Cache, table: SampleTable, first_parts: list[Partition], again: Partition, expected: int
) -> None:
    for part in first_parts:
        freeze_plan(cache, table, WORK, partition=part, unit_rows=3)
    before = plan_file(cache).read_bytes()
    joined = rejoin(cache, "d", [IMAGE, TEXT], again)
    assert joined == Partition(expected, 4)
    freeze_plan(cache, table, WORK, partition=joined, unit_rows=3)
    assert again.count == 4 or plan_file(cache).read_bytes() == before


@pytest.mark.parametrize(
    ("first", "again", "found"),
    [
        (array(0, 0, 3), array(4, 4, 4), r"--array=0-3, found --array=4,"),
        (array(0, 0, 3), array(2, 2, 4), r"--array=0-3, found --array=2-4,"),
        (array(0, 0, 3), array(2, 0, 7), r"--array=0-3, found --array=0-7,"),
        (array(1, 1, 4), array(0, 0, 0), r"--array=1-4, found --array=0,"),
        (array(0, 0, 30, 10), array(1, 1, 1), r"--array=0-30:10, found --array=1,"),
        (Partition(0, 4), Partition.parse("auto", {"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}), "found 0/1 of no job"),
        (Partition(0, 4), Partition.parse("auto", {"RANK": "1", "WORLD_SIZE": "2"}), "found 1/2 of no job array"),
    ],
)
def test_whoever_is_not_known_to_be_a_part_is_refused_with_the_way_out(
    cache: Cache, table: SampleTable, first: Partition, again: Partition, found: str
) -> None:
    freeze_plan(cache, table, WORK, partition=first, unit_rows=3)
    with pytest.raises(FeatcacheError, match=rf"in 4 parts, expected .*{found}.*--shard auto/4.*--shard i/4"):
        rejoin(cache, "d", [TEXT, IMAGE], again)


def test_nothing_is_rejoined_where_nothing_of_the_kind_is_frozen(cache: Cache, table: SampleTable) -> None:
    alone = array(3, 3, 3)
    assert rejoin(cache, "d", [IMAGE, TEXT], alone) is alone
    freeze(cache, table)
    assert rejoin(cache, "d", [IMAGE], alone) is alone and rejoin(cache, "e", [IMAGE, TEXT], alone) is alone


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b'{"format_version": 1}',
        b'{"format_version": 2}',
        json.dumps({"format_version": 1, "dataset": "d", "contents": 3}).encode(),
        json.dumps({"format_version": 1, "contents": [], "producers": [], "count": 4, "unit_rows": 0}).encode(),
        json.dumps(
            {
                "format_version": 1,
                "dataset": "d",
                "contents": [],
                "producers": [],
                "count": 4,
                "unit_rows": 1,
                "tasks": {"first": 0, "step": 0},
            }
        ).encode(),
    ],
)
def test_a_damaged_plan_is_told_of_and_replaced_on_demand(cache: Cache, table: SampleTable, damage: bytes) -> None:
    freeze(cache, table)
    plan_file(cache).write_bytes(damage)
    for look in (lambda: freeze(cache, table), lambda: frozen_plans(cache, "d")):
        with pytest.raises(ShardError, match="--refreeze replaces it"):
            look()
    freeze(cache, table, refreeze=1)
    freeze(cache, table, "1/4")


def test_a_plan_with_a_changed_number_is_damaged(cache: Cache, table: SampleTable) -> None:
    freeze(cache, table)
    plan_file(cache).write_bytes(plan_file(cache).read_bytes().replace(b'"count": 4', b'"count": 5'))
    with pytest.raises(ShardError, match="changed or damaged"):
        frozen_plans(cache, "d")


def test_what_a_part_lacks_is_what_its_own_runs_lack(cache: Cache, table: SampleTable) -> None:
    plan = describe_extraction(table, WORK, count=4, unit_rows=3)
    keys = {kind: table.unique_keys(kind) for kind in ("text", "image")}
    gone = {("text", "clean", "cls"): keys["text"][4], ("image", "hflip", "cls"): keys["image"][17]}
    modality = {TEXT.fingerprint.digest: "text", IMAGE.fingerprint.digest: "image"}

    def lacks(producer: str, view: str, output: str, asked: NDArray[np.uint8]) -> NDArray[np.bool_]:
        key = gone.get((modality[producer], view, output))
        return np.zeros(len(asked), bool) if key is None else (asked == key).all(1)

    assert plan.parts_missing(table, lacks) == (1,)
    gone[("image", "clean", "pooled")] = keys["image"][0]
    assert plan.parts_missing(table, lacks) == (0, 1)
    gone.clear()
    assert plan.parts_missing(table, lacks) == ()
    assert plan.parts_missing(without(table, 2), lacks) is None


def extract_part(manifest: Manifest, path: Path, part: str) -> ExtractResult:
    options = ExtractOptions(device="cpu", workers=1, partition=Partition.parse(part, {}))
    return extract(manifest, Cache.open(path), [TEXT, IMAGE], options=options)


@pytest.mark.slow
def test_parts_at_work_at_once_make_what_one_process_makes_and_nothing_twice(tmp_path: Path) -> None:
    manifest = read_manifest(write_dataset(tmp_path / "d", n_captions=8))
    one, parts = make_cache(tmp_path / "one"), make_cache(tmp_path / "parts")
    specs: list[EncoderSpec] = [TEXT, IMAGE]
    extract(manifest, one, specs, options=ExtractOptions(device="cpu"))
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        waits = [pool.submit(extract_part, manifest, parts.path, f"{index}/3") for index in range(3)]
        results = [wait.result() for wait in waits]
    assert [sum(r.sides[i].n_encoded for r in results) for i in range(2)] == [8, 24]
    assert not any(side.n_elsewhere or side.n_failed for result in results for side in result.sides)
    assert all(side.n_encoded for result in results for side in result.sides if side.modality == "image")
    whole, joined = (open_store(cache.path).arrays().features for cache in (one, parts))
    for modality, vectors in whole.items():
        np.testing.assert_array_equal(joined[modality], vectors)
    with pytest.raises(FeatcacheError, match="in 3 parts"):
        extract(manifest, parts, specs, options=ExtractOptions(device="cpu", partition=Partition(0, 4)))
    extract(manifest, parts, specs, options=ExtractOptions(device="cpu", partition=Partition(0, 4), refreeze=True))


def test_a_part_of_other_pictures_leaves_the_sample_table_as_it_is(tmp_path: Path) -> None:
    made = make_cache(tmp_path / "c")
    manifest = read_manifest(write_dataset(tmp_path / "d"))
    extract(manifest, made, [IMAGE], options=ExtractOptions(device="cpu", partition=Partition(0, 2)))
    before = made.sample_path("d").read_bytes()
    shorter = replace(manifest, samples=manifest.samples[:-1])
    with pytest.raises(FeatcacheError, match="from 18 pictures, found 17"):
        extract(shorter, made, [IMAGE], options=ExtractOptions(device="cpu", partition=Partition(1, 2), unit_rows=2))
    assert made.sample_path("d").read_bytes() == before
