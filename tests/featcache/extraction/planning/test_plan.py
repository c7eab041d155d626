"""Plans are the same whenever the same manifest meets the same cache."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featcache.extraction.encoding import side
from featcache.extraction.planning import plan as plan_module
from featcache.extraction.planning.plan import Plan, build_plan
from featcache.extraction.run import ExtractOptions, extract
from featcache.extraction.survey.scan import scan
from featcache.store.near_misses import near_misses
from featcache.store.shard_set import ShardSet

from factories import FakeSpec, make_cache, png, read_manifest, write_dataset

IMAGE = FakeSpec("image")
SMALL = ExtractOptions(device="cpu", batch_size=2, workers=2, unit_rows=4)


def plan_of(data: Path, cache: Path, spec: FakeSpec = IMAGE, retry: frozenset[str] | None = None) -> Plan:
    return build_plan(make_cache(cache), spec, scan(read_manifest(data)).table, view="clean", unit_rows=4, retry=retry)


def run(data: Path, cache: Path, spec: FakeSpec = IMAGE) -> None:
    extract(read_manifest(data), make_cache(cache), [spec], options=SMALL)


def test_every_missing_content_is_in_exactly_one_unit(tmp_path: Path) -> None:
    plan = plan_of(write_dataset(tmp_path / "d"), tmp_path / "c")
    assert np.concatenate([unit.contents for unit in plan.units]).tolist() == list(range(18))
    assert [len(unit.contents) for unit in plan.units] == [4, 4, 4, 4, 2]
    assert (plan.n_contents, plan.n_todo, plan.n_cached, plan.n_failed, plan.n_new) == (18, 18, 0, 0, 0)


def test_units_of_other_parts_are_left_to_them_and_counted(tmp_path: Path) -> None:
    plan = plan_of(write_dataset(tmp_path / "d"), tmp_path / "c")
    assert [unit.number for unit in plan.units] == [0, 1, 2, 3, 4] and plan.n_other_parts == 0
    even = plan.only(lambda run: run % 2 == 0)
    assert even.units == plan.units[::2] and (even.n_todo, even.n_other_parts) == (10, 8)
    last = even.only(lambda run: run == 4)
    assert last.units == plan.units[4:] and (last.n_todo, last.n_other_parts) == (2, 16)


def test_contents_of_a_run_that_lack_the_same_outputs_are_a_unit_of_these_outputs(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", n_captions=2)
    run(data, tmp_path / "c", FakeSpec("image", ("pooled",)))
    plan = plan_of(write_dataset(tmp_path / "d", n_captions=4), tmp_path / "c", FakeSpec("image", ("pooled", "cls")))
    assert [(unit.number, unit.contents.tolist(), unit.outputs) for unit in plan.units] == [
        (0, [0, 1, 2, 3], ("cls",)),
        (1, [4, 5], ("cls",)),
        (1, [6, 7], ("pooled", "cls")),
        (2, [8, 9, 10, 11], ("pooled", "cls")),
    ]
    assert (plan.n_contents, plan.n_cached, plan.n_todo, plan.n_failed, plan.n_new) == (12, 0, 12, 0, 0)


def test_what_failed_before_is_told_by_its_key_unless_it_is_tried_again(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", n_captions=1)
    (tmp_path / "d" / "0-real.png").write_bytes(b"no picture")
    run(data, tmp_path / "c")
    plan = plan_of(data, tmp_path / "c")
    table = scan(read_manifest(data)).table
    assert plan.failed_before == (bytes(table.image_key[0]).hex(),) and len(plan.earlier) == 1
    again = plan_of(data, tmp_path / "c", retry=frozenset())
    assert again.failed_before == () and (again.n_todo, again.n_cached, again.n_failed) == (1, 2, 0)


def test_a_plan_cannot_be_changed(tmp_path: Path) -> None:
    plan = plan_of(write_dataset(tmp_path / "d", n_captions=1), tmp_path / "c")
    for found in (plan, plan.units[0]):
        with pytest.raises(FrozenInstanceError):
            found.name = found.view = ""  # type: ignore[union-attr, misc]


def test_units_that_are_left_are_those_of_the_first_plan(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d")
    first = plan_of(data, tmp_path / "c")
    run(data, tmp_path / "c")
    for path in sorted((tmp_path / "c").glob("features/**/*.h5"))[1:3]:
        path.unlink()
    (tmp_path / "c" / "index.json").unlink()
    left = plan_of(data, tmp_path / "c")
    assert len(left.units) == 2 and {u.name for u in left.units} < {u.name for u in first.units}


def test_what_failed_is_left_alone_until_it_is_asked_for_and_then_it_is_all_that_is_planned(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", n_captions=4)
    (tmp_path / "d" / "0-real.png").write_bytes(b"no picture")
    run(data, tmp_path / "c")
    grown = write_dataset(tmp_path / "d", n_captions=6)
    (tmp_path / "d" / "0-real.png").write_bytes(b"no picture")
    plan = plan_of(grown, tmp_path / "c")
    assert (plan.n_todo, plan.n_failed, plan.n_new, plan.n_cached) == (6, 1, 0, 11)
    again = plan_of(grown, tmp_path / "c", retry=frozenset())
    assert (again.n_todo, again.n_failed, again.n_new) == (1, 0, 6)
    assert again.units[0].contents.tolist() == [0]


def test_a_picture_put_in_the_place_of_one_that_failed_is_planned_with_the_failures(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", n_captions=4)
    (tmp_path / "d" / "0-real.png").write_bytes(b"no picture")
    run(data, tmp_path / "c")
    (tmp_path / "d" / "0-real.png").write_bytes(png(77))
    (tmp_path / "d" / "3-beta.png").write_bytes(png(78))
    plan = plan_of(data, tmp_path / "c", retry=frozenset())
    assert np.concatenate([unit.contents for unit in plan.units]).tolist() == [0] and plan.n_new == 1
    named = plan_of(data, tmp_path / "c", retry=frozenset(["3-beta"]))
    assert np.concatenate([unit.contents for unit in named.units]).tolist() == [0, 11] and named.n_new == 0


def test_a_plan_says_in_what_the_producer_of_cached_rows_differs(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d")
    run(data, tmp_path / "c", FakeSpec("image", weights="w0"))
    run(data, tmp_path / "c", FakeSpec("text", ("cls",)))
    assert plan_of(data, tmp_path / "c", FakeSpec("image", weights="w0")).misses == ()
    (miss,) = plan_of(data, tmp_path / "c", FakeSpec("image", weights="w1", storage_dtype="float32")).misses
    assert (miss.model, miss.n_contents) == ("fake-w0", 18)
    assert [str(change) for change in miss.changes] == [
        "model.weights: 'w0' → 'w1'",
        "storage_dtype: 'float16' → 'float32'",
    ]


def test_a_producer_that_holds_none_of_the_missing_contents_is_not_named(tmp_path: Path) -> None:
    run(write_dataset(tmp_path / "d", n_captions=2), tmp_path / "c", FakeSpec("image", weights="w0"))
    other = tmp_path / "other"
    write_dataset(other, n_captions=2)
    for i, path in enumerate(sorted(other.glob("*.png"))):
        path.write_bytes(png(500 + i))
    assert plan_of(other / "manifest.csv", tmp_path / "c", FakeSpec("image", weights="w1")).misses == ()


def test_another_producers_damage_does_not_stop_a_plan(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d")
    run(data, tmp_path / "c", FakeSpec("image", weights="w0"))
    victim = next((tmp_path / "c").glob("features/**/*.h5"))
    victim.write_bytes(b"")
    plan = plan_of(data, tmp_path / "c", FakeSpec("image", weights="w1"))
    assert plan.n_todo == 18
    keys = scan(read_manifest(data)).table.unique_keys("image")
    assert near_misses(make_cache(tmp_path / "c"), FakeSpec("image", weights="w1").fingerprint, "clean", keys) == ()


@pytest.mark.parametrize(("step", "n_todo"), [("read_failures", 0), ("ShardSet.open", 1)])
def test_a_unit_that_is_published_while_it_is_planned_is_planned_whole_or_as_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, n_todo: int
) -> None:
    """Else the contents of another writer's unit that did not fail would be encoded a second time."""
    data = write_dataset(tmp_path / "d", n_captions=1)
    (tmp_path / "d" / "0-real.png").write_bytes(b"no picture")
    real = ShardSet.open if step == "ShardSet.open" else plan_module.read_failures
    published: list[None] = []

    def publish_before(*arguments: Any, **options: Any) -> Any:
        if not published:
            published.append(None)
            run(data, tmp_path / "c")
        return real(*arguments, **options)

    monkeypatch.setattr(f"featcache.extraction.planning.plan.{step}", publish_before)
    plan = plan_of(data, tmp_path / "c")
    assert published and plan.n_todo == n_todo and plan.n_cached == 2


def test_between_the_steps_of_publishing_nothing_that_did_not_fail_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_dataset(tmp_path / "d", n_captions=1)
    (tmp_path / "d" / "0-real.png").write_bytes(b"no picture")
    plans: list[Plan] = []
    real = side.write_failures

    def plan_before(*arguments: Any, root: Path) -> None:
        plans.append(plan_of(data, tmp_path / "c"))
        real(*arguments, root=root)

    monkeypatch.setattr("featcache.extraction.encoding.side.write_failures", plan_before)
    run(data, tmp_path / "c")
    assert [unit.contents.tolist() for unit in plans[0].units] == [[0]]


def test_a_unit_that_another_finished_counts_as_failed_what_is_on_record(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", n_captions=1)
    (tmp_path / "d" / "0-real.png").write_bytes(b"no picture")
    table, cache = scan(read_manifest(data)).table, make_cache(tmp_path / "c")
    plan = build_plan(cache, IMAGE, table, view="clean", unit_rows=4)
    (unit,) = plan.units
    mine = side.Side(0, plan, table, cache)
    assert not mine.is_done_elsewhere(unit) and mine.left_of(unit) is unit
    run(data, tmp_path / "c")
    other = side.Side(0, plan, table, cache)
    assert other.is_done_elsewhere(unit)
    assert (other.n_elsewhere, other.n_failed_elsewhere) == (2, 1)
    assert other.result().failed_before == (bytes(table.image_key[0]).hex(),)
    for path in cache.path.glob("failures/**/*.json"):
        path.unlink()
    other = side.Side(0, plan, table, cache)
    assert not other.is_done_elsewhere(unit)
    assert (other.left_of(unit).contents.tolist(), other.n_elsewhere, other.n_failed_elsewhere) == ([0], 2, 0)
