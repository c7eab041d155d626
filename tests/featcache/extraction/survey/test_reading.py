"""A data set that a cache knows goes on with the labels that it has."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from featcache.cache.folder import Cache
from featcache.cache.samples import SampleTable, read_samples, write_samples
from featcache.commands.extract.request import ReadingRequest
from featcache.dataset.loose import read_pictures
from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.reading import TODAY, Reading
from featcache.errors import FeatcacheError, ManifestError
from featcache.extraction.options import ExtractOptions
from featcache.extraction.run import extract
from featcache.extraction.survey.reading import read_before, read_loosely, seed_before
from featcache.project import Project

from factories import FakeSpec, make_cache

EARLY = Reading(rules=1)


def write_tree(folder: Path, *names: str) -> Path:
    from PIL import Image

    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "data", "train/0_real/1.png", "train/1_fake/2.png")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return make_cache(tmp_path / "cache")


def run(
    data: Path, cache: Cache, *, labels: str | None = None, splits: str | None = None, reading: Reading | None = None
) -> SampleTable:
    """Extract as the command does, or by another reading than that of the cache."""
    earlier = partial(read_before, cache) if reading is None else lambda _: reading
    manifest = Manifest.from_source(data, labels=labels, splits=splits, earlier=earlier)
    extract(manifest, cache, [FakeSpec("image")], options=ExtractOptions(device="cpu"))
    return read_samples(cache.sample_path(manifest.name))


def labels(table: SampleTable) -> list[tuple[int, str | None]]:
    names = [table.class_names[code] if code >= 0 else None for code in table.label_b.tolist()]
    return list(zip(table.label_a.tolist(), names, strict=True))


def test_a_new_data_set_is_read_by_the_rules_of_today(data: Path, cache: Cache) -> None:
    assert read_before(cache, "data") is None
    table = run(data, cache)
    assert labels(table) == [(0, "real"), (1, None)]
    assert (table.rules, table.labels) == (3, "") and read_before(cache, "data") == TODAY


def test_a_data_set_of_an_earlier_version_keeps_its_labels_and_new_rows_go_with_them(data: Path, cache: Cache) -> None:
    old = run(data, cache, reading=EARLY)
    assert labels(old) == [(1, "0_real"), (1, "1_fake")]
    before = cache.sample_path("data").read_bytes()
    run(data, cache)
    assert cache.sample_path("data").read_bytes() == before
    write_tree(data, "train/0_real/3.png", "test/sdxl/4.png")
    table = run(data, cache)
    assert labels(table) == [(1, "sdxl"), (1, "0_real"), (1, "0_real"), (1, "1_fake")]
    assert read_before(cache, "data") == EARLY


def test_a_layout_that_is_refused_today_is_extended_where_the_cache_knows_it(tmp_path: Path, cache: Cache) -> None:
    data = write_tree(tmp_path / "data", "train/sdxl/1.png")
    old = run(data, cache, reading=EARLY)
    assert labels(run(data, cache)) == labels(old) == [(1, "sdxl")]
    assert labels(run(data, cache, labels="none")) == [(-1, None)]


def test_labels_are_read_anew_where_the_user_says_so_and_stay_so(data: Path, cache: Cache) -> None:
    run(data, cache, reading=EARLY)
    assert labels(run(data, cache, labels="auto")) == [(0, "real"), (1, None)]
    assert labels(run(data, cache)) == [(0, "real"), (1, None)]
    assert read_before(cache, "data") == Reading(rules=1, labels="auto")


def test_what_was_stated_is_remembered_and_said(data: Path, cache: Cache) -> None:
    stated = run(data, cache, labels="1_fake=real,0_real=ai")
    assert labels(stated) == [(1, None), (0, "real")]
    assert labels(run(data, cache)) == labels(stated)
    manifest = Manifest.from_source(data, earlier=partial(read_before, cache))
    assert manifest.notes == ("labels as stated before: 0_real=ai,1_fake=real (--labels auto: as the data say)",)


def test_names_of_splits_that_were_stated_are_remembered_and_said(tmp_path: Path, cache: Cache) -> None:
    write_tree(tmp_path, "1.png", "2.png")
    table = tmp_path / "photos.csv"
    table.write_text("image,split\n1.png,Holdout\n2.png,train\n")
    before = run(table, cache, splits="holdout=test")
    assert before.split.tolist() == ["test", "train"] and before.splits == "holdout=test"
    assert run(table, cache).split.tolist() == ["test", "train"]
    cache.sample_path("photos").unlink()
    manifest = Manifest.from_source(table, earlier=partial(read_before, cache))
    assert manifest.notes[0] == "splits as stated before: --splits holdout=test" and manifest.reading.splits
    with pytest.raises(ManifestError, match="unknown split 'Holdout'"):
        run(table, cache, splits="auto")


@pytest.mark.parametrize(
    ("before", "message"),
    [
        (EARLY, r"sample 'train/0_real/1\.png', which is 'train/0_real/1' in this cache.*earlier="),
        (
            TODAY.state("1_fake=real,0_real=ai"),
            r"other labels or captions in 2 samples .* 'train/0_real/1\.png'.*earlier=",
        ),
    ],
)
def test_names_and_labels_never_change_because_a_reading_was_forgotten(
    data: Path, cache: Cache, before: Reading, message: str
) -> None:
    run(data, cache, reading=before)
    kept = cache.sample_path("data").read_bytes()
    with pytest.raises(FeatcacheError, match=message):
        run(data, cache, reading=TODAY)
    assert cache.sample_path("data").read_bytes() == kept
    run(data, cache, labels="auto")


def test_a_sample_does_not_become_several_because_a_reading_was_forgotten(data: Path, cache: Cache) -> None:
    (data / "train" / "0_real" / "1.json").write_text('{"caption": ["a", "b"]}')
    run(data, cache, reading=Reading(rules=2))
    with pytest.raises(
        FeatcacheError, match=r"would have sample 'train/0_real/1\.png#0', which is 'train/0_real/1\.png'"
    ):
        run(data, cache, reading=TODAY)


def test_a_caption_is_not_dropped_because_a_reading_was_forgotten(data: Path, cache: Cache) -> None:
    table = data / "table.csv"
    table.write_text("image,caption\ntrain/0_real/1.png,None\n")
    run(table, cache, labels="auto", reading=EARLY)
    with pytest.raises(FeatcacheError, match="other labels or captions in 1 samples"):
        run(table, cache, reading=TODAY)


def test_where_the_rules_make_no_difference_a_table_is_taken_over(tmp_path: Path, cache: Cache) -> None:
    table = write_tree(tmp_path / "data", "1.png", "2.png") / "table.csv"
    table.write_text("image,generator\n1.png,real\n2.png,sdxl\n")
    old = run(table, cache, reading=EARLY)
    assert labels(run(table, cache, reading=TODAY)) == labels(old)


def test_a_table_of_later_rules_is_not_read_again(data: Path, cache: Cache) -> None:
    table = run(data, cache)
    write_samples(cache.sample_path("data"), replace(table, rules=4), root=cache.path)
    with pytest.raises(FeatcacheError, match="read by the rules 4, this version knows those to 3"):
        run(data, cache)


@pytest.mark.parametrize("reading", [EARLY, TODAY.state("0_real=ai,1_fake=real")])
def test_where_the_table_is_gone_what_was_asked_for_knows_how_it_was_read(
    data: Path, cache: Cache, reading: Reading
) -> None:
    table = run(data, cache, reading=reading)
    cache.sample_path("data").unlink()
    assert read_before(cache, "data") == reading
    assert labels(run(data, cache)) == labels(table)


def test_where_the_table_is_gone_and_readings_differ_the_user_says_which(data: Path, cache: Cache) -> None:
    run(data, cache)
    manifest = Manifest.from_source(data, labels="none")
    extract(manifest, cache, [FakeSpec("image", weights="w1")], options=ExtractOptions(device="cpu"))
    cache.sample_path("data").unlink()
    with pytest.raises(FeatcacheError, match="labels were read as 'auto' and 'none' before it: --labels says which"):
        read_before(cache, "data")
    assert read_before(cache, "data", is_stated=True) == TODAY


def test_a_known_folder_keeps_its_ids_and_its_splits_while_new_ones_keep_their_endings(
    tmp_path: Path, cache: Cache
) -> None:
    data = write_tree(tmp_path / "data", *(f"{name}.png" for name in "abcdefghijkl"))
    old = run(data, cache, reading=EARLY)
    write_tree(data, "a.jpg", "m.png")  # with a neighbour of the same stem
    again = run(data, cache)
    assert list(old.sample_id) == list("abcdefghijkl")
    rows = [list(again.sample_id).index(name) for name in ("a.png", *"bcdefghijkl")]
    assert again.split[rows].tolist() == old.split.tolist()
    new = run(data, make_cache(tmp_path / "other"))
    assert list(new.sample_id) == ["a.jpg", *(f"{name}.png" for name in "abcdefghijklm")]
    rows = [list(new.sample_id).index(f"{name}.png") for name in "abcdefghijkl"]
    assert new.split[rows].tolist() == old.split.tolist()


@pytest.mark.parametrize("has_table", [True, False])
def test_a_split_stays_as_it_was_drawn_until_another_seed_is_named(
    has_table: bool, tmp_path: Path, cache: Cache
) -> None:
    table = tmp_path / "d.csv"
    table.write_text("caption,label_a\n" + "".join(f"words {n},{n % 2}\n" for n in range(40)), encoding="utf-8")

    def splits(seed: int | None) -> list[str]:
        options = ExtractOptions(device="cpu", seed=seed)
        extract(Manifest.from_source(table), cache, [FakeSpec("text", ("cls",))], options=options)
        return read_samples(cache.sample_path("d")).split.tolist()

    first = splits(4)
    if not has_table:
        cache.sample_path("d").unlink()
    assert splits(None) == first and seed_before(cache, "d") == 4
    assert splits(5) != first and seed_before(cache, "d") == 5
    assert seed_before(cache, "other") is None


def test_data_that_were_read_to_be_judged_are_read_so_again(tmp_path: Path, data: Path, cache: Cache) -> None:
    odd = write_tree(tmp_path / "odd", "1.png", "train/sdxl/2.png")
    (odd / "metadata.csv").write_text("id\n1\n")
    loose = read_pictures(odd, contents=("image",))
    extract(loose, cache, [FakeSpec("image")], options=ExtractOptions(device="cpu"))
    assert read_loosely(cache, loose.name) == {"image"} and read_loosely(cache, "data") is None
    request = ReadingRequest()
    again = request.read(str(odd), Project(), on_orphan="skip", name=loose.name, cache=cache)
    assert again.is_loose and again.samples == loose.samples
    other = request.read(str(data), Project(), on_orphan="skip", name=loose.name, cache=cache)
    assert not other.is_loose and other.origin == str(data)
