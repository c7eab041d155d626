from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featcache.cache.failures import read_failures
from featcache.dataset.manifest import Manifest
from featcache.errors import FeatcacheError, ShardError
from featcache.extraction.run import ExtractOptions, ExtractResult, FailureLimit, Progress, extract
from featcache.store.opening import open_store
from featcache.upkeep.failure_list import list_failures
from featcache.upkeep.verify import verify

from factories import FakeSpec, fake_pixels, fake_vector, make_cache, png, read_manifest, write_dataset

TEXT, IMAGE = FakeSpec("text", ("cls",)), FakeSpec("image")
SMALL = ExtractOptions(device="cpu", batch_size=2, workers=2, unit_rows=4)


def run(
    manifest: Path | Manifest, cache: Path, specs: list[FakeSpec], options: ExtractOptions = SMALL
) -> ExtractResult:
    manifest = read_manifest(manifest) if isinstance(manifest, Path) else manifest
    return extract(manifest, make_cache(cache), specs, options=options)


def shards(cache: Path) -> dict[str, bytes]:
    return {str(p.relative_to(cache)): p.read_bytes() for p in sorted(cache.glob("features/**/*.h5"))}


def test_every_sample_gets_the_vector_of_its_content(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d")
    run(data, tmp_path / "c", [TEXT, IMAGE])
    arrays = open_store(tmp_path / "c").arrays()
    for i, sample in enumerate(read_manifest(data).samples):
        assert arrays.sample_id[i] == sample.sample_id
        text, image = fake_vector(sample.caption, "cls"), fake_vector(fake_pixels(sample.image.read_bytes()), "pooled")
        np.testing.assert_array_equal(arrays.features["text"][i], text.astype(np.float16))
        np.testing.assert_array_equal(arrays.features["image"][i], image.astype(np.float16))


def test_a_caption_shared_by_several_pictures_is_encoded_once(tmp_path: Path) -> None:
    text = FakeSpec("text", ("cls",))
    result = run(write_dataset(tmp_path / "d", n_captions=6), tmp_path / "c", [text, IMAGE])
    assert sum(text.log) == 6 and [s.n_encoded for s in result.sides] == [6, 18]


def test_a_second_run_encodes_nothing_and_changes_no_shard(tmp_path: Path) -> None:
    data, image = write_dataset(tmp_path / "d"), FakeSpec("image")
    run(data, tmp_path / "c", [image])
    before, calls = shards(tmp_path / "c"), len(image.log)
    result = run(data, tmp_path / "c", [image])
    assert shards(tmp_path / "c") == before and len(image.log) == calls
    assert (result.n_encoded, result.n_failed, result.sides[0].n_cached) == (0, 0, 18)


def test_lost_shards_are_encoded_again_into_the_same_files(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d")
    run(data, tmp_path / "c", [IMAGE])
    before = shards(tmp_path / "c")
    for name in list(before)[::2]:
        (tmp_path / "c" / name).unlink()
    run(data, tmp_path / "c", [IMAGE])
    assert shards(tmp_path / "c") == before


def test_only_new_contents_of_a_grown_manifest_are_encoded(tmp_path: Path) -> None:
    image = FakeSpec("image")
    run(write_dataset(tmp_path / "d", n_captions=4), tmp_path / "c", [image])
    del image.log[:]
    result = run(write_dataset(tmp_path / "d", n_captions=6), tmp_path / "c", [image])
    assert sum(image.log) == 6 and result.sides[0].n_cached == 12


def test_an_output_added_later_is_extracted_alone_beside_the_old(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d")
    run(data, tmp_path / "c", [FakeSpec("image", ("pooled",))])
    before = shards(tmp_path / "c")
    run(data, tmp_path / "c", [FakeSpec("image", ("pooled", "cls"))])
    after = shards(tmp_path / "c")
    assert before.items() < after.items()
    store = open_store(tmp_path / "c")
    both = store.arrays(selections={"image": store.select("image", outputs=["cls", "pooled"])})
    assert both.features["image"].shape == (18, 8) and both.present["image"].all()


def test_another_producer_lives_beside_the_first(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d")
    run(data, tmp_path / "c", [FakeSpec("image", weights="w0")])
    run(data, tmp_path / "c", [FakeSpec("image", weights="w1")])
    store = open_store(tmp_path / "c")
    with pytest.raises(FeatcacheError, match=r"there are 2 image encoders, expected exactly one; it has: .*fake-w0"):
        store.select("image")
    chosen = [store.select("image", encoder=name).fingerprint for name in ("fake-w0", "fake-w1")]
    assert chosen == [FakeSpec("image", weights=w).fingerprint.digest for w in ("w0", "w1")]


def test_an_unreadable_picture_is_a_recorded_failure_and_never_a_vector(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d")
    (tmp_path / "d" / "0-real.png").write_bytes(b"no picture at all")
    (tmp_path / "d" / "3-beta.png").write_bytes(png(1)[:40])
    result = run(data, tmp_path / "c", [IMAGE])
    assert result.n_failed == 2 and result.n_encoded == 16
    cache = make_cache(tmp_path / "c")
    recorded = {(f.sample_id, f.stage, f.attempt) for f in read_failures(cache, IMAGE.fingerprint, "clean")}
    assert recorded == {("0-real", "decode", 1), ("3-beta", "decode", 1)}
    arrays = open_store(tmp_path / "c").arrays()
    lost = ~arrays.present["image"]
    assert arrays.sample_id[lost].tolist() == ["0-real", "3-beta"]
    assert np.isnan(arrays.features["image"][lost]).all()


def test_a_failure_is_tried_again_only_when_asked_for(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d")
    broken = tmp_path / "d" / "0-real.png"
    broken.write_bytes(b"no picture at all")
    run(data, tmp_path / "c", [IMAGE])
    again = run(data, tmp_path / "c", [IMAGE])
    assert again.sides[0].failures == () and again.sides[0].n_failed_before == 1 and again.n_failed == 1
    retried = run(data, tmp_path / "c", [IMAGE], ExtractOptions(device="cpu", retry_failed=True))
    assert [f.attempt for f in retried.sides[0].failures] == [2]
    assert [f.attempt for f in read_failures(make_cache(tmp_path / "c"), IMAGE.fingerprint, "clean")] == [2]


def test_a_vector_beyond_the_range_of_the_disk_is_a_failure(tmp_path: Path) -> None:
    huge = FakeSpec("image", scale=4e4)
    result = run(write_dataset(tmp_path / "d"), tmp_path / "c", [huge])
    assert 0 < result.n_encoded < 18 and {f.stage for f in result.sides[0].failures} == {"encode"}
    assert "float16 cannot hold" in result.sides[0].failures[0].message
    assert result.n_encoded + len(result.sides[0].failures) == 18


def test_if_all_contents_of_a_side_fail_it_is_an_error_with_the_first_message(tmp_path: Path) -> None:
    data, huge = write_dataset(tmp_path / "d"), FakeSpec("image", scale=1e7)
    with pytest.raises(FeatcacheError, match=r"all 18 image contents failed with fake-w0.*'0-real'.*cannot hold"):
        run(data, tmp_path / "c", [TEXT, huge])
    with pytest.raises(FeatcacheError, match=r"all 18 image contents failed.*--retry-failed tries them again"):
        run(data, tmp_path / "c", [TEXT, huge])
    assert len(read_failures(make_cache(tmp_path / "c"), huge.fingerprint, "clean")) == 18
    store = open_store(tmp_path / "c")
    assert store.arrays(selections={"text": store.select("text")}).present["text"].all()


def test_if_no_picture_can_be_read_it_is_an_error_and_the_sample_table_stays(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d")
    run(data, tmp_path / "c", [IMAGE])
    manifest = read_manifest(data)
    for path in (tmp_path / "d").glob("*.png"):
        path.unlink()
    with pytest.raises(FeatcacheError, match="none of the 18 pictures can be read"):
        run(manifest, tmp_path / "c", [IMAGE])
    assert open_store(tmp_path / "c").arrays().present["image"].all()


def broken_dataset(folder: Path, n_captions: int, n_broken: int) -> Path:
    data = write_dataset(folder, n_captions=n_captions)
    for sample in read_manifest(data).samples[:n_broken]:
        (folder / f"{sample.sample_id}.png").write_bytes(b"no picture " + sample.sample_id.encode())
    return data


def limited(text: str, **settings: Any) -> ExtractOptions:
    return ExtractOptions(device="cpu", workers=2, max_failures=FailureLimit.parse(text), **settings)


def test_too_many_failures_stop_the_work_and_what_was_published_stays(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d")
    for sample in read_manifest(data).samples[8:12]:
        (tmp_path / "d" / f"{sample.sample_id}.png").write_bytes(b"no picture " + sample.sample_id.encode())
    image = FakeSpec("image")
    with pytest.raises(FeatcacheError, match=r"stopped: 4 contents failed, more than the limit of 3 .*'2-beta'"):
        run(data, tmp_path / "c", [image], limited("3", batch_size=2, unit_rows=4))
    assert len(shards(tmp_path / "c")) == 2 and sum(image.log) == 8
    assert not list((tmp_path / "c").glob("claims/**/*.json")) and not list((tmp_path / "c").rglob(".tmp-*"))
    broken = {"2-beta", "3-real", "3-alpha", "3-beta"}
    assert {f.sample_id for f in list_failures(make_cache(tmp_path / "c"))} == broken
    result = run(data, tmp_path / "c", [image], limited("0", batch_size=2, unit_rows=4))
    assert result.sides[0].n_failed_before == 4 and result.n_encoded == 6
    for sample_id in broken:
        (tmp_path / "d" / f"{sample_id}.png").write_bytes(b"no picture either " + sample_id.encode())
    run(data, tmp_path / "c", [image], limited("4", batch_size=2, unit_rows=4))
    assert verify(make_cache(tmp_path / "c"), deep=True).is_sound


def test_what_failed_before_the_work_was_given_up_is_tried_again_when_asked_for(tmp_path: Path) -> None:
    data = broken_dataset(tmp_path / "d", 2, 2)
    with pytest.raises(FeatcacheError, match=r"stopped: 1 content failed, more .*\(1 of 1 image content tried\)"):
        run(data, tmp_path / "c", [IMAGE], limited("0", batch_size=1))
    (first,) = read_failures(make_cache(tmp_path / "c"), IMAGE.fingerprint, "clean")
    result = run(data, tmp_path / "c", [IMAGE], ExtractOptions(device="cpu", retry_failed=True))
    (side,) = result.sides
    assert [(f.key, f.attempt) for f in side.failures] == [(first.key, 2)] and (side.n_new, side.n_encoded) == (5, 0)
    result = run(data, tmp_path / "c", [IMAGE], ExtractOptions(device="cpu"))
    assert (result.n_encoded, result.n_failed, result.sides[0].n_failed_before) == (4, 2, 1)


def test_a_share_of_failures_counts_from_fifty_contents_on(tmp_path: Path) -> None:
    small = broken_dataset(tmp_path / "small", 16, 24)
    assert run(small, tmp_path / "c", [IMAGE], limited("10%", batch_size=4)).n_failed == 24
    large = broken_dataset(tmp_path / "large", 40, 24)
    with pytest.raises(FeatcacheError, match=r"more than the limit of 10% \(24 of \d+ image contents tried\)"):
        run(large, tmp_path / "d", [IMAGE], limited("10%", batch_size=4))
    assert run(large, tmp_path / "e", [IMAGE], limited("60%", batch_size=4)).n_failed == 24


def test_a_systematic_fault_is_noticed_within_the_first_unit(tmp_path: Path) -> None:
    image = FakeSpec("image")
    data = broken_dataset(tmp_path / "d", 40, 120)
    with pytest.raises(FeatcacheError, match="stopped: 6 contents failed"):
        run(data, tmp_path / "c", [image], limited("5", batch_size=4))
    assert image.log == []


@pytest.mark.parametrize("text", ["", "x", "-1", "5 %%", "101%", "1e3", "٣", "nan%"])
def test_a_limit_that_is_neither_number_nor_share_is_refused(text: str) -> None:
    with pytest.raises(FeatcacheError, match="neither a number like 20 nor a share like 5%"):
        FailureLimit.parse(text)


def test_a_retry_encodes_what_failed_and_nothing_new(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", n_captions=4)
    (tmp_path / "d" / "0-real.png").write_bytes(b"no picture at all")
    run(data, tmp_path / "c", [IMAGE])
    grown, image = write_dataset(tmp_path / "d", n_captions=6), FakeSpec("image")
    result = run(grown, tmp_path / "c", [image], ExtractOptions(device="cpu", unit_rows=4, retry_failed=True))
    assert (result.n_encoded, result.n_failed, result.sides[0].n_new) == (1, 0, 6)
    rest = run(grown, tmp_path / "c", [image])
    assert rest.n_encoded == 6 and open_store(tmp_path / "c").arrays().present["image"].all()


def test_a_picture_that_could_not_be_read_is_retried_when_it_can(tmp_path: Path) -> None:
    manifest = read_manifest(write_dataset(tmp_path / "d", n_captions=4))
    victim = tmp_path / "d" / "1-alpha.png"
    content = victim.read_bytes()
    victim.unlink()
    assert [f.sample_id for f in run(manifest, tmp_path / "c", [IMAGE]).unreadable] == ["1-alpha"]
    victim.write_bytes(content)
    result = run(manifest, tmp_path / "c", [IMAGE], ExtractOptions(device="cpu", unit_rows=4, retry_failed=True))
    assert (result.n_encoded, result.sides[0].n_new, result.n_failed) == (1, 0, 0)


def test_plans_are_announced_and_say_what_other_producers_hold(tmp_path: Path) -> None:
    data, plans = write_dataset(tmp_path / "d"), []
    run(data, tmp_path / "c", [FakeSpec("image", weights="w0")])
    other = FakeSpec("image", weights="w1")
    result = extract(read_manifest(data), make_cache(tmp_path / "c"), [other], options=SMALL, announce=plans.append)
    assert [str(c) for c in result.sides[0].misses[0].changes] == ["model.weights: 'w0' → 'w1'"]
    assert [plan.misses for plan in plans] == [result.sides[0].misses] and plans[0].n_todo == 18


def test_nothing_is_left_beside_the_shards(tmp_path: Path) -> None:
    data, cache = write_dataset(tmp_path / "d"), make_cache(tmp_path / "c")
    leftover = tmp_path / "c" / "features" / ".tmp-elsewhere-1-000000000000000000"
    leftover.parent.mkdir()
    leftover.write_bytes(b"")
    os.utime(leftover, (0, 0))
    before = threading.active_count()
    run(data, cache.path, [TEXT, IMAGE])
    assert not list(cache.path.rglob(".tmp-*")) and not list(cache.path.glob("claims/**/*.json"))
    assert threading.active_count() == before


def test_a_picture_that_changes_while_it_is_read_is_not_stored_under_the_old_key(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d")
    victim = tmp_path / "d" / "5-beta.png"

    def meddle(state: Progress) -> None:
        if state.stage == "image":
            victim.write_bytes(png(999))

    result = extract(read_manifest(data), make_cache(tmp_path / "c"), [IMAGE], options=SMALL, progress=meddle)
    assert [(f.sample_id, f.stage) for f in result.sides[0].failures] == [("5-beta", "read")]


def test_missing_sides_are_counted_and_stay_missing(tmp_path: Path) -> None:
    captions = ["", *[f"c{i}" for i in range(17)]]
    data = write_dataset(tmp_path / "d", caption=captions)
    result = run(data, tmp_path / "c", [TEXT, IMAGE])
    assert result.n_missing == {"text": 1, "image": 0}
    arrays = open_store(tmp_path / "c").arrays()
    assert arrays.present["text"].tolist() == [False] + [True] * 17 and arrays.present["image"].all()


def test_rows_do_not_depend_on_batch_size_unit_size_or_workers(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d")
    results = []
    for i, (batch, unit, workers) in enumerate([(1, 1, 1), (2, 5, 3), (64, 4096, 2)]):
        options = ExtractOptions(device="cpu", batch_size=batch, workers=workers, unit_rows=unit)
        run(data, tmp_path / f"c{i}", [TEXT, IMAGE], options)
        results.append(open_store(tmp_path / f"c{i}").arrays())
    for other in results[1:]:
        for modality in ("text", "image"):
            np.testing.assert_array_equal(other.features[modality], results[0].features[modality])


def test_an_error_in_the_middle_leaves_what_was_published(tmp_path: Path) -> None:
    data, calls = write_dataset(tmp_path / "d"), []

    def fail(state: Progress) -> None:
        calls.append(state)
        if state.stage == "image" and state.done >= 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(read_manifest(data), make_cache(tmp_path / "c"), [IMAGE], options=SMALL, progress=fail)
    assert 0 < len(shards(tmp_path / "c")) < 5
    run(data, tmp_path / "c", [IMAGE])
    run(data, tmp_path / "whole", [IMAGE])
    assert shards(tmp_path / "c") == shards(tmp_path / "whole")


def test_progress_counts_every_content_once(tmp_path: Path) -> None:
    states: list[Progress] = []
    data = write_dataset(tmp_path / "d")
    (tmp_path / "d" / "0-real.png").write_bytes(b"")
    extract(read_manifest(data), make_cache(tmp_path / "c"), [TEXT, IMAGE], options=SMALL, progress=states.append)
    for stage, total in (("scan", 18), ("text", 6), ("image", 18)):
        seen = [s for s in states if s.stage == stage]
        assert seen[-1].done == seen[-1].total == total
        assert [s.done for s in seen] == sorted(s.done for s in seen)
    assert states[-1].failed == 1


def test_a_shard_of_another_producer_in_the_folder_stops_reader_and_writer(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d")
    for weights in ("w0", "w1"):
        run(data, tmp_path / "c", [FakeSpec("image", weights=weights)])
    a, b = (FakeSpec("image", weights=w).fingerprint.short for w in ("w0", "w1"))
    folder = tmp_path / "c" / "features"
    victim = next((folder / a / "clean").iterdir())
    shutil.copy(folder / b / "clean" / victim.name, victim)
    (tmp_path / "c" / "index.json").unlink()
    with pytest.raises(ShardError, match="moved or swapped"):
        run(data, tmp_path / "c", [FakeSpec("image", weights="w0")])


@pytest.mark.parametrize("name", ["batch_size", "workers", "memory", "unit_rows"])
def test_options_below_one_are_refused(name: str) -> None:
    with pytest.raises(FeatcacheError, match=f"{name} is 0"):
        ExtractOptions(**{name: 0})


def test_pictures_may_take_half_of_the_memory_that_is_left_or_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featcache.extraction.options.available_memory", lambda: 9_000)
    assert ExtractOptions().picture_bytes == 4_500 and ExtractOptions(memory=7).picture_bytes == 7
    monkeypatch.setattr("featcache.extraction.options.available_memory", lambda: 0)
    assert ExtractOptions().picture_bytes == 1
