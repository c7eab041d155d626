"""Every encoder and view of a picture comes from one reading of it, whoever divides the work, and however."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from featcache.cache.failures import read_failure_file, read_failures
from featcache.cache.folder import Cache
from featcache.cache.index import update_index
from featcache.dataset.sample import ImageFile
from featcache.errors import FeatcacheError
from featcache.extraction.encoding.passes import Pass
from featcache.extraction.partition import Partition
from featcache.extraction.preparing import recipe
from featcache.extraction.results import Event
from featcache.extraction.run import ExtractOptions, ExtractResult, FailureLimit, Progress, extract
from featcache.pictures import checked_decoder
from featcache.pictures.decode import decode_rgb
from featcache.store.shard_set import ShardSet
from featcache.upkeep.verify import verify

from factories import FakeSpec, fake_pixels, fake_vector, make_cache, read_manifest, write_dataset

pytestmark = pytest.mark.slow

TEXT, IMAGE = FakeSpec("text", ("cls",)), FakeSpec("image")
SPECTRAL = FakeSpec("spectral", ("radial",), width=3)
SPECS = [TEXT, IMAGE, SPECTRAL]
VIEWS = ("clean", "hflip", "noise:0.05+jpeg:50")
SMALL: dict[str, Any] = {"device": "cpu", "batch_size": 2, "workers": 2, "unit_rows": 4}


def run(data: Path, cache: Path, specs: list[FakeSpec] = SPECS, **settings: Any) -> ExtractResult:
    options = ExtractOptions(**SMALL | settings)
    return extract(read_manifest(data), make_cache(cache), specs, views=VIEWS, options=options)


def shards(cache: Path) -> dict[str, bytes]:
    return {str(p.relative_to(cache)): p.read_bytes() for p in sorted(cache.glob("features/**/*.h5"))}


def all_vectors(cache: Path) -> dict[tuple[str, str, str], dict[bytes, bytes]]:
    """What is stored: by modality, view and output the vector of each content."""
    opened = Cache.open(cache)
    found: dict[tuple[str, str, str], dict[bytes, bytes]] = {}
    for producer in opened.producers.values():
        for view in opened.views(producer):
            stored = ShardSet.open(opened, producer, view)
            for output in stored.widths:
                keys = np.unique(stored.keys(output), axis=0)
                vectors, _ = stored.gather([output], keys)
                found[producer.modality, view, output] = {
                    k.tobytes(): v.tobytes() for k, v in zip(keys, vectors, strict=True)
                }
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "d")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[bytes]:
    """How often each picture is decoded."""
    count: Counter[bytes] = Counter()
    real = checked_decoder.decode_rgb

    def decode(content: bytes, **options: Any) -> Any:
        count[content] += 1
        return real(content, **options)

    monkeypatch.setattr(checked_decoder, "decode_rgb", decode)
    return count


def test_a_picture_is_decoded_once_for_all_encoders_and_views(
    data: Path, tmp_path: Path, counted: Counter[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    applied: Counter[str] = Counter()
    real = recipe.View.apply
    monkeypatch.setattr(recipe.View, "apply", lambda v, p, k: (applied.update([str(v)]), real(v, p, k))[1])
    result = run(data, tmp_path / "c")
    assert len(counted) == 18 and set(counted.values()) == {1}
    assert set(applied.values()) == {18} and set(applied) == set(VIEWS)
    assert [(s.modality, s.view, s.n_encoded) for s in result.sides] == [
        ("text", "clean", 6), *(("image", v, 18) for v in VIEWS), *(("spectral", v, 18) for v in VIEWS),
    ]  # fmt: skip
    assert [(p.content, p.n_contents, p.n_rows) for p in result.passes] == [("text", 6, 6), ("image", 18, 108)]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the pictures in the order in which their bytes are read, at whatever stage."""
    paths: list[str] = []
    real = ImageFile.read_bytes
    monkeypatch.setattr(ImageFile, "read_bytes", lambda image: (paths.append(image.path), real(image))[1])
    return paths


def test_a_picture_is_read_once_to_hash_it_and_once_for_all_encoders_and_views(
    data: Path, tmp_path: Path, read: list[str]
) -> None:
    for path in data.parent.glob("*.png"):
        os.utime(path, (time.time() - 3600,) * 2)  # younger ones are not remembered
    manifest, cache = read_manifest(data), make_cache(tmp_path / "c")
    hashed: list[str] = []

    def look(event: Event) -> None:
        if event.name == "plan" and not hashed:
            hashed.extend(read)

    extract(manifest, cache, SPECS, views=VIEWS[:1], options=ExtractOptions(**SMALL), events=look)
    files = sorted(str(path) for path in data.parent.glob("*.png"))
    assert len(files) == 18 and sorted(hashed) == files and sorted(read[18:]) == files
    read.clear()
    run(data, tmp_path / "c")
    assert sorted(read) == files
    read.clear()
    run(data, tmp_path / "c")
    assert read == []


def test_the_vector_of_a_view_is_that_of_the_perturbed_picture(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "c")
    stored = all_vectors(tmp_path / "c")
    for sample, key in zip(read_manifest(data).samples, _keys(tmp_path / "c"), strict=True):
        assert sample.image is not None
        picture = decode_rgb(sample.image.read_bytes())
        for view in VIEWS:
            seen = fake_pixels(recipe.View.apply(_view(view), picture, key))
            vector = fake_vector(seen, "pooled").astype(np.float16).astype(np.float32)
            assert stored["image", view, "pooled"][key] == vector.tobytes()


def _keys(cache: Path) -> list[bytes]:
    from featcache.cache.samples import read_samples

    return [key.tobytes() for key in read_samples(cache / "samples" / "d.h5").image_key]


def _view(text: str) -> recipe.View:
    from featcache.pictures.views import parse_view

    return parse_view(text)


def test_only_what_a_view_lacks_is_read_again(data: Path, tmp_path: Path, counted: Counter[bytes]) -> None:
    run(data, tmp_path / "c")
    before = shards(tmp_path / "c")
    lost = next(name for name in before if "hflip" in name)
    (tmp_path / "c" / lost).unlink()
    counted.clear()
    result = run(data, tmp_path / "c")
    assert shards(tmp_path / "c") == before and 0 < len(counted) <= 4
    assert [s.view for s in result.sides if s.n_encoded] == ["hflip"]


def test_views_added_later_leave_the_others_alone(data: Path, tmp_path: Path) -> None:
    extract(read_manifest(data), make_cache(tmp_path / "c"), SPECS, options=ExtractOptions(**SMALL))
    before = shards(tmp_path / "c")
    run(data, tmp_path / "c")
    assert before.items() < shards(tmp_path / "c").items()
    run(data, tmp_path / "whole")
    assert shards(tmp_path / "c") == shards(tmp_path / "whole")


@pytest.mark.parametrize(
    "settings",
    [{"batch_size": 1, "workers": 1, "unit_rows": 1}, {"batch_size": 64, "workers": 3, "unit_rows": 7},
     {"unit_rows": None, "batch_size": None, "workers": None}],
)  # fmt: skip
def test_batches_workers_and_units_change_no_row(data: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    run(data, tmp_path / "a")
    run(data, tmp_path / "b", **settings)
    assert all_vectors(tmp_path / "a") == all_vectors(tmp_path / "b")


def test_the_order_of_encoders_and_views_changes_no_shard(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "a")
    options = ExtractOptions(**SMALL)
    extract(read_manifest(data), make_cache(tmp_path / "b"), SPECS[::-1], views=VIEWS[::-1], options=options)
    assert shards(tmp_path / "a") == shards(tmp_path / "b")


def test_the_parts_of_a_division_are_together_what_one_process_makes(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "one")
    todo = 0
    for index in range(3):
        result = run(data, tmp_path / "c", partition=Partition(index, 3))
        todo += result.n_encoded
    assert todo == 114 and shards(tmp_path / "c") == shards(tmp_path / "one")
    assert run(data, tmp_path / "c").n_encoded == 0 and verify(Cache.open(tmp_path / "c"), deep=True).is_sound


def test_a_part_counts_what_it_leaves_to_others(data: Path, tmp_path: Path) -> None:
    states: list[Progress] = []
    options = ExtractOptions(**SMALL, partition=Partition(1, 2))
    manifest, cache = read_manifest(data), make_cache(tmp_path / "c")
    result = extract(manifest, cache, [IMAGE], options=options, progress=states.append)
    (side,) = result.sides
    assert (side.n_encoded, side.n_other_parts) == (8, 10) and (states[-1].done, states[-1].total) == (8, 8)


def test_another_division_of_an_unfinished_extraction_is_refused(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "c", partition=Partition(0, 2))
    with pytest.raises(FeatcacheError, match=r"in 2 parts, expected --shard i/2, found 0/3.*--refreeze"):
        run(data, tmp_path / "c", partition=Partition(0, 3))
    assert run(data, tmp_path / "c", partition=Partition(0, 3), refreeze=True).n_encoded > 0


def test_a_broken_picture_is_one_failure_to_the_limit_and_recorded_for_every_view(data: Path, tmp_path: Path) -> None:
    (data.parent / "0-real.png").write_bytes(b"no picture")
    limit = FailureLimit(count=1)
    result = run(data, tmp_path / "c", max_failures=limit)
    assert [len(side.failures) for side in result.sides] == [0, *[1] * 6]
    cache = make_cache(tmp_path / "c")
    for spec in (IMAGE, SPECTRAL):
        for view in VIEWS:
            (failure,) = read_failures(cache, spec.fingerprint, view)
            assert (failure.sample_id, failure.stage, failure.attempt) == ("0-real", "decode", 1)
    retried = run(data, tmp_path / "c", retry_failed=True)
    assert {f.attempt for side in retried.sides for f in side.failures} == {2}


def failed(cache: Path, specs: list[FakeSpec] = SPECS, views: tuple[str, ...] = VIEWS) -> set[tuple[str, str, str]]:
    """What is on record: modality, view and sample of each failure; every one of them once."""
    found: Counter[tuple[str, str, str]] = Counter()
    for spec in specs:
        for view in views:
            for path in Cache.open(cache).failure_folder(spec.fingerprint, view).glob("*.json"):
                found.update((spec.modality, view, failure.sample_id) for failure in read_failure_file(path))
    assert set(found.values()) <= {1}
    return set(found)


@pytest.mark.parametrize("limit", ["0", "1%"])
def test_the_failures_of_a_picture_that_ends_the_work_are_recorded_for_every_encoder_and_view(
    tmp_path: Path, limit: str
) -> None:
    data = write_dataset(tmp_path / "d", n_captions=17)
    last = "16-beta"
    for name in ("16-alpha", last):  # the fiftieth, at which shares begin to count, and the one after it
        (data.parent / f"{name}.png").write_bytes(b"broken " + name.encode())
    with pytest.raises(FeatcacheError, match="stopped"):
        run(data, tmp_path / "c", max_failures=FailureLimit.parse(limit), unit_rows=60)
    expected = {(spec.modality, view, "16-alpha") for spec in (IMAGE, SPECTRAL) for view in VIEWS}
    assert failed(tmp_path / "c") == expected
    again = run(data, tmp_path / "c", max_failures=FailureLimit(count=1), unit_rows=60)
    assert [(side.n_failed_before, len(side.failures)) for side in again.sides] == [(0, 0), *[(1, 1)] * 6]
    assert failed(tmp_path / "c") == expected | {(modality, view, last) for modality, view, _ in expected}
    assert verify(Cache.open(tmp_path / "c"), deep=True).is_sound


def test_all_vectors_of_a_batch_that_cannot_be_stored_are_recorded_when_they_end_the_work(tmp_path: Path) -> None:
    data, huge = write_dataset(tmp_path / "d"), FakeSpec("image", scale=1e6)
    with pytest.raises(FeatcacheError, match="stopped: 5 contents failed, more than the limit of 0"):
        run(data, tmp_path / "c", [huge], max_failures=FailureLimit(count=0), batch_size=5, unit_rows=18)
    first = [sample.sample_id for sample in read_manifest(data).samples][:5]
    recorded = failed(tmp_path / "c", [huge])
    assert {(view, name) for _, view, name in recorded if view == "clean"} == {("clean", name) for name in first}
    # The batch of another view was under way: what failed of it is known too.
    assert {name for *_, name in recorded} == set(first) and len(recorded) > 5


def test_a_unit_that_is_complete_when_the_work_ends_is_published(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d")
    limits = FakeSpec("image", scale=3e4)  # some vectors can be stored, and some cannot
    whole = run(data, tmp_path / "whole", [limits], unit_rows=18, batch_size=64)
    assert 0 < len(whole.sides[0].failures) < 18
    with pytest.raises(FeatcacheError, match="stopped"):
        run(data, tmp_path / "c", [limits], max_failures=FailureLimit(count=0), unit_rows=18, batch_size=64)
    stored = {name: each for name, each in shards(tmp_path / "whole").items() if "/clean/" in name}
    assert len(stored) == 1 and stored.items() <= shards(tmp_path / "c").items()


def test_a_retry_that_is_given_up_forgets_no_failure(data: Path, tmp_path: Path) -> None:
    for name in ("0-real", "0-alpha"):
        (data.parent / f"{name}.png").write_bytes(b"broken " + name.encode())
    run(data, tmp_path / "c", [IMAGE])
    for _ in range(2):
        for name in ("0-real", "0-alpha"):
            (data.parent / f"{name}.png").write_bytes(b"still broken " + name.encode())
        run(data, tmp_path / "c", [IMAGE], retry_failed=True)
    with pytest.raises(FeatcacheError, match="stopped: 1 content failed"):
        run(data, tmp_path / "c", [IMAGE], retry_failed=True, max_failures=FailureLimit(count=0))
    attempts = {(f.sample_id, f.attempt) for f in read_failures(Cache.open(tmp_path / "c"), IMAGE.fingerprint, "clean")}
    assert {("0-real", 3), ("0-alpha", 2)} <= attempts


def test_a_failure_in_one_view_leaves_the_others_whole(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from featcache.errors import ImageError

    real = recipe.View.apply
    keys: list[bytes] = []

    def apply(view: recipe.View, picture: Any, key: bytes) -> Any:
        if str(view) == "hflip" and key == keys[3]:
            raise ImageError("too large to be turned")
        return real(view, picture, key)

    run(data, tmp_path / "keys")
    keys += _keys(tmp_path / "keys")
    monkeypatch.setattr(recipe.View, "apply", apply)
    result = run(data, tmp_path / "c")
    failures = {(s.modality, s.view): [(f.sample_id, f.stage) for f in s.failures] for s in result.sides if s.failures}
    assert failures == {("image", "hflip"): [("1-real", "view")], ("spectral", "hflip"): [("1-real", "view")]}


def test_fast_decoding_is_refused_beside_views_and_other_encoders(data: Path, tmp_path: Path) -> None:
    class Fast(FakeSpec):
        decode_at_least = (4, 4)

    fast = Fast("image")
    manifest, cache = read_manifest(data), make_cache(tmp_path / "c")
    for specs, views in (([fast], "clean,hflip"), ([fast, SPECTRAL], "clean")):
        with pytest.raises(FeatcacheError, match="fast decoding makes smaller pictures"):
            extract(manifest, cache, specs, views=views, options=ExtractOptions(**SMALL))
    assert extract(manifest, cache, [fast], options=ExtractOptions(**SMALL)).n_encoded == 18


def test_one_encoder_cannot_be_asked_for_twice(data: Path, tmp_path: Path) -> None:
    with pytest.raises(FeatcacheError, match="asked for twice"):
        run(data, tmp_path / "c", [IMAGE, FakeSpec("image", ("cls",))])


def test_what_happens_is_told_in_order(data: Path, tmp_path: Path) -> None:
    (data.parent / "0-real.png").write_bytes(b"no picture")
    events: list[Event] = []
    manifest, cache = read_manifest(data), make_cache(tmp_path / "c")
    extract(manifest, cache, SPECS, views="clean,hflip", options=ExtractOptions(**SMALL), events=events.append)
    names = [event.name for event in events]
    assert names[0] == "start" and names[1:6] == ["plan"] * 5 and names[-1] == "end"
    units = [event.fields for event in events if event.name == "unit"]
    assert len(units) == len(shards(tmp_path / "c")) and sum(unit["n_rows"] for unit in units) == 6 + 4 * 17
    failures = [event.fields for event in events if event.name == "failure"]
    assert [f["view"] for f in failures] == ["clean", "hflip"] * 2 and {f["sample_id"] for f in failures} == {"0-real"}


def test_the_time_of_every_step_is_told_and_never_decreases(data: Path, tmp_path: Path) -> None:
    states: list[Progress] = []
    manifest, cache = read_manifest(data), make_cache(tmp_path / "c")
    extract(manifest, cache, SPECS, views=VIEWS, options=ExtractOptions(**SMALL), progress=states.append)
    last = [state for state in states if state.stage == "image"][-1]
    assert {*recipe.STEPS, "load", "forward", "write"} == set(last.seconds)
    assert not states[0].seconds
    pictures = [state.seconds for state in states if state.stage == "image"]
    assert all(b[part] >= a[part] for a, b in pairwise(pictures) for part in a)


def test_progress_counts_contents_whatever_is_made_of_them(data: Path, tmp_path: Path) -> None:
    states: list[Progress] = []
    manifest, cache = read_manifest(data), make_cache(tmp_path / "c")
    extract(manifest, cache, SPECS, views=VIEWS, options=ExtractOptions(**SMALL), progress=states.append)
    for stage, total in (("text", 6), ("image", 18)):
        done = [state.done for state in states if state.stage == stage]
        assert {state.total for state in states if state.stage == stage} == {total}
        assert done == sorted(done) and done[0] == 0 and done[-1] == total and len(set(done)) > 2


def test_progress_counts_each_content_that_something_lacks(data: Path, tmp_path: Path) -> None:
    states: list[Progress] = []
    manifest, cache = read_manifest(data), make_cache(tmp_path / "c")
    half = ExtractOptions(**SMALL, partition=Partition(0, 2))
    extract(manifest, cache, [IMAGE], options=half)
    extract(manifest, cache, [IMAGE], views="clean,hflip", options=ExtractOptions(**SMALL), progress=states.append)
    assert (states[-1].done, states[-1].total) == (18, 18)


def test_a_wait_is_divided_as_the_work_was_that_came_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("featcache.extraction.encoding.passes.time.perf_counter", lambda: now)
    feed = SimpleNamespace(busy={"read": 0.0, "decode": 0.0})
    encoders = SimpleNamespace(load_seconds=0.0)
    parts: Any = {"feed": feed, "encoders": encoders, "tally": None, "report": None, "tell": None}
    done = Pass("image", [], **parts)
    for seconds, read, decode, load in ((8.0, 0.0, 40.0, 3.0), (2.0, 9.0, 3.0, 0.0), (0.5, 0.0, 0.0, 0.0)):
        now += seconds
        feed.busy = {"read": feed.busy["read"] + read, "decode": feed.busy["decode"] + decode}
        encoders.load_seconds += load
        done._spend_waiting()
        assert sum(done.seconds.values()) == pytest.approx(now)
    # The half second that brought nothing counts as all work before it: 9 to 43.
    expected = {"read": 1.5 + 0.5 * 9 / 52, "decode": 5.5 + 0.5 * 43 / 52, "load": 3.0, "forward": 0.0, "write": 0.0}
    assert done.seconds == pytest.approx(expected)


def test_claims_on_published_units_go_whoever_left_them(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "c")
    folder = tmp_path / "c" / "claims" / IMAGE.fingerprint.short / "hflip"
    folder.mkdir(parents=True, exist_ok=True)
    done = next((tmp_path / "c" / "features" / IMAGE.fingerprint.short / "hflip").glob("*.h5")).stem
    note = '{"format_version": 1, "host": "elsewhere", "pid": 1, "process": "00000000"}'
    (folder / f"{done}.json").write_text(note)
    (folder / f"{'0' * 32}.json").write_text(note)
    run(data, tmp_path / "c")
    assert [p.stem for p in folder.iterdir()] == ["0" * 32]


def test_an_index_is_written_of_all_views(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "c")
    before = (tmp_path / "c" / "index.json").read_bytes()
    (tmp_path / "c" / "index.json").unlink()
    update_index(Cache.open(tmp_path / "c"))
    assert (tmp_path / "c" / "index.json").read_bytes() == before
    shutil.rmtree(tmp_path / "c")


@pytest.fixture
def _in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featcache.extraction.encoding.execution.is_cuda", lambda device: True)


def stages(data: Path, cache: Path, **settings: Any) -> list[str]:
    seen: list[str] = []
    options = ExtractOptions(**SMALL | settings)
    extract(read_manifest(data), make_cache(cache), SPECS, options=options, progress=lambda p: seen.append(p.stage))
    return [stage for stage in seen if stage != "scan"]


@pytest.mark.usefixtures("_in_turns")
def test_beside_a_gpu_captions_and_pictures_take_turns_and_store_the_same(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", n_captions=40)
    turns = stages(data, tmp_path / "turns")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("featcache.extraction.encoding.execution.is_cuda", lambda device: False)
        apart = stages(data, tmp_path / "apart")
    assert apart == sorted(apart, reverse=True)  # first all captions, then all pictures
    first = turns.index("image")
    assert "text" in turns[first:] and "image" in turns[first : len(turns) - turns[::-1].index("text")]
    assert (
        shards(tmp_path / "turns") == shards(tmp_path / "apart")
        and verify(Cache.open(tmp_path / "turns"), deep=True).is_sound
    )


@pytest.mark.usefixtures("_in_turns")
def test_passes_in_turns_report_in_order_and_count_their_own_time(data: Path, tmp_path: Path) -> None:
    result = run(data, tmp_path / "c")
    assert [done.content for done in result.passes] == ["text", "image"]
    apart = run(data, tmp_path / "other", device="cpu")
    assert [(side.modality, side.view) for side in result.sides] == [(s.modality, s.view) for s in apart.sides]


@pytest.mark.usefixtures("_in_turns")
def test_an_error_in_one_pass_ends_the_other_and_keeps_what_was_published(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", n_captions=40)
    for path in sorted((tmp_path / "d").glob("*.png"))[60:]:
        path.write_bytes(b"broken " + path.name.encode())
    with pytest.raises(FeatcacheError, match="more than the limit of 3"):
        run(data, tmp_path / "c", max_failures=FailureLimit.parse("3"))
    assert not [p for p in (tmp_path / "c" / "claims").rglob("*") if p.is_file()]
    assert not list((tmp_path / "c").rglob(".tmp-*")) and verify(Cache.open(tmp_path / "c"), deep=True).is_sound
    assert run(data, tmp_path / "c").n_failed > 3


@pytest.mark.usefixtures("_in_turns")
def test_what_failed_in_a_pass_that_another_one_ended_is_recorded_too(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", n_captions=12)
    broken = sorted((tmp_path / "d").glob("*.png"))[:2]
    for path in broken:
        path.write_bytes(b"broken " + path.name.encode())
    huge = FakeSpec("text", ("cls",), scale=1e6)  # no caption's vector can be stored
    with pytest.raises(FeatcacheError, match="more than the limit of 2"):
        extract(
            read_manifest(data), make_cache(tmp_path / "c"), [huge, IMAGE],
            options=ExtractOptions(**SMALL | {"unit_rows": 36}, max_failures=FailureLimit.parse("2")),
        )  # fmt: skip
    recorded = failed(tmp_path / "c", [huge, IMAGE], ("clean",))
    assert len({name for modality, _, name in recorded if modality == "text"}) >= 1
    assert {name for modality, _, name in recorded if modality == "image"} & {path.stem for path in broken}


@pytest.mark.usefixtures("_in_turns")
def test_failures_of_all_passes_count_towards_the_limit(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", n_captions=12)
    for path in sorted((tmp_path / "d").glob("*.png"))[:2]:
        path.write_bytes(b"broken " + path.name.encode())
    huge = FakeSpec("text", ("cls",), scale=1e6)  # no caption's vector can be stored
    with pytest.raises(FeatcacheError, match=r"stopped: \d+ contents failed, more than the limit of 12"):
        extract(
            read_manifest(data), make_cache(tmp_path / "c"), [huge, IMAGE],
            options=ExtractOptions(**SMALL, max_failures=FailureLimit.parse("12")),
        )  # fmt: skip
