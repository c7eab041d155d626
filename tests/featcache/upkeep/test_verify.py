from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featcache.cache.folder import Cache
from featcache.cache.index import read_index, update_index
from featcache.cache.samples import read_samples, write_samples
from featcache.cache.shard import read_shard
from featcache.cache.shard_digests import verify_shard
from featcache.cache.shard_writing import write_shard
from featcache.dataset.manifest import Manifest
from featcache.errors import ShardError
from featcache.extraction.run import ExtractOptions, extract
from featcache.files.string_column import StringColumn
from featcache.upkeep.canary import check_canaries
from featcache.upkeep.verify import verify

from factories import FakeSpec, fake_pixels, fake_vector, make_cache, read_manifest, write_dataset

TEXT, IMAGE = FakeSpec("text", ("cls",)), FakeSpec("image", width=3)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    data = write_dataset(tmp_path / "d", caption=["", *[f"c{i}" for i in range(17)]])
    (tmp_path / "d" / "1-beta.png").write_bytes(b"broken")
    made = make_cache(tmp_path / "c")
    extract(read_manifest(data), made, [TEXT, IMAGE], options=ExtractOptions(device="cpu", unit_rows=4))
    return Cache.open(made.path)


def shards_of(cache: Cache, spec: FakeSpec) -> list[Path]:
    return sorted((cache.path / "features" / spec.fingerprint.short).glob("*/*.h5"))


def flip(path: Path, position: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("deep", [False, True])
def test_a_sound_cache_is_sound(cache: Cache, deep: bool) -> None:
    report = verify(cache, deep=deep)
    assert report.is_sound and report.n_shards == 10 and report.n_rows == 34
    assert report.notes == () and all(lack.n_missing == 0 for lack in report.lacks)
    assert {lack.output: (lack.n_contents, lack.n_failed) for lack in report.lacks} == {
        "cls": (17, 0),
        "pooled": (18, 1),
    }


def test_progress_counts_every_shard(cache: Cache) -> None:
    seen: list[tuple[int, int]] = []
    verify(cache, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 10) for i in range(1, 11)]


@pytest.mark.slow
@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("what", ["key", "features", "norm"])
def test_a_flipped_bit_is_found_by_deep_which_says_what_is_lost(cache: Cache, what: str, indexed: bool) -> None:
    victim = shards_of(cache, IMAGE)[0]
    shard = read_shard(victim)
    block = {"key": shard.key, "features": shard.outputs["pooled"], "norm": shard.norms["pooled"]}[what]
    flip(victim, block.offset)
    if not indexed:
        (cache.path / "index.json").unlink()
    assert verify(cache).is_sound
    (problem,) = verify(cache, deep=True).problems
    assert problem.path == victim and f"dataset {what!r}" in problem.message.replace("/pooled", "")
    loss = problem.loss
    assert loss is not None and (loss.producer, loss.outputs) == (IMAGE.fingerprint.short, ("pooled",))
    assert loss.n_rows == shard.n_rows and loss.samples == {"d": shard.n_rows} and loss.is_exact is (what != "key")


def test_damage_before_the_index_was_rebuilt_is_found_after_it(cache: Cache) -> None:
    victim = shards_of(cache, IMAGE)[0]
    flip(victim, read_shard(victim).outputs["pooled"].offset)
    (cache.path / "index.json").unlink()
    assert victim not in update_index(cache)
    (problem,) = verify(cache, deep=True).problems
    assert problem.path == victim and "was damaged" in problem.message


def test_padding_that_no_digest_covers_is_covered_by_the_receipt(cache: Cache) -> None:
    victim = shards_of(cache, IMAGE)[0]
    shard, original = read_shard(victim), victim.read_bytes()

    def is_unnoticed(position: int) -> bool:
        victim.write_bytes(original[:position] + bytes([original[position] ^ 1]) + original[position + 1 :])
        try:
            verify_shard(read_shard(victim))
        except ShardError:
            return False
        return True

    assert any(is_unnoticed(position) for position in range(shard.key.offset - 1, 0, -1))
    (problem,) = verify(cache, deep=True).problems
    assert "another checksum than its receipt" in problem.message


def test_lost_and_truncated_shards_are_found_without_reading_data(cache: Cache) -> None:
    first, second, third = shards_of(cache, IMAGE)[:3]
    rows = [read_shard(path).n_rows for path in (first, second, third)]
    first.unlink()
    second.write_bytes(second.read_bytes()[:1000])
    third.write_bytes(b"")
    problems = {p.path: p for p in verify(cache).problems}
    assert problems.keys() == {first, second, third}
    for path, n in zip((first, second, third), rows, strict=True):
        loss = problems[path].loss
        assert loss is not None and loss.n_rows == n and not loss.is_exact and loss.samples == {"d": sum(rows)}
    assert "on disk" in problems[first].message and "0 bytes" in problems[third].message


def test_a_shard_of_another_producer_is_found(cache: Cache) -> None:
    text, image = shards_of(cache, TEXT)[0], shards_of(cache, IMAGE)[0]
    image.write_bytes(text.read_bytes())
    (cache.path / "index.json").unlink()
    (problem,) = verify(cache).problems
    assert problem.path == image and "holds rows of producer" in problem.message


def test_a_key_that_a_shard_holds_twice_is_found(cache: Cache) -> None:
    shard = read_shard(shards_of(cache, IMAGE)[0])
    keys = np.concatenate([np.array(shard.map(shard.key))] * 2)
    path = shard.path.with_name("0" * 32 + ".h5")
    write_shard(path, shard.header, keys, {"pooled": np.ones((len(keys), 3), np.float32)}, root=path.parent)
    (problem,) = verify(cache).problems
    assert problem.path == path and f"{shard.n_rows} keys more than once" in problem.message


def test_what_a_producer_lacks_is_told_and_is_no_damage(cache: Cache) -> None:
    victim = shards_of(cache, IMAGE)[0]
    n_rows = read_shard(victim).n_rows
    victim.unlink()
    (cache.path / "index.json").unlink()
    report = verify(cache)
    assert report.is_sound
    assert {lack.output: lack.n_missing for lack in report.lacks} == {"cls": 0, "pooled": n_rows}


def test_a_stale_index_strangers_and_temporary_files_are_no_damage(cache: Cache) -> None:
    shard = read_shard(shards_of(cache, IMAGE)[0])
    other = np.full((1, 32), 7, np.uint8)
    write_shard(
        shard.path.with_name("f" * 32 + ".h5"),
        shard.header,
        other,
        {"pooled": np.ones((1, 3), np.float32)},
        root=shard.path.with_name("f" * 32 + ".h5").parent,
    )
    (cache.path / "samples" / ".tmp-host-1-abcd").write_bytes(b"")
    (cache.path / "notes.txt").write_text("mine")
    report = verify(cache, deep=True)
    assert report.is_sound
    notes = {note.path.name: note.message for note in report.notes}
    assert "stale (1 shard without receipt)" in notes["index.json"]
    assert "temporary file" in notes[".tmp-host-1-abcd"] and "left alone" in notes["notes.txt"]


def test_a_damaged_index_is_told_and_not_used(cache: Cache) -> None:
    index = cache.path / "index.json"
    index.write_text(index.read_text().replace('"size": ', '"size": 1', 1))
    assert read_index(cache.path).state == "damaged"
    (problem,) = verify(cache).problems
    assert problem.path == index and "nothing is lost" in problem.message


def test_a_lost_or_edited_producer_is_found(cache: Cache) -> None:
    one, two = sorted((cache.path / "encoders").iterdir())
    one.unlink()
    two.write_text(two.read_text().replace('"w0"', '"w1"'))
    messages = [p.message for p in verify(Cache.open(cache.path)).problems]
    assert len(messages) == 2 and any("has no readable document" in m for m in messages)
    assert any("was changed" in m for m in messages)


def test_a_source_that_was_edited_in_a_document_is_found(cache: Cache) -> None:
    path = cache.path / "encoders" / f"{IMAGE.fingerprint.short}.json"
    path.write_text(path.read_text().replace("fake-w0", "fake-w9"))
    assert any("was changed or damaged" in p.message for p in verify(Cache.open(cache.path)).problems)


def test_edited_defaults_are_refused(cache: Cache) -> None:
    path = cache.path / "cache.json"
    path.write_text(path.read_text().replace('"float16"', '"float32"'))
    with pytest.raises(ShardError, match="was changed or damaged"):
        Cache.open(cache.path)


def test_damaged_failures_and_tables_are_found(cache: Cache) -> None:
    failure = next(p for p in cache.path.glob("failures/*/clean/*.json"))
    failure.write_text(failure.read_text().replace("1-beta", "1-real"))
    table = cache.sample_path("d")
    shutil.copy(table, cache.sample_path("e"))
    table.write_bytes(table.read_bytes()[:2000])
    problems = {p.path: p.message for p in verify(cache).problems}
    assert problems.keys() == {failure, table, cache.sample_path("e")}
    assert "moved or swapped" in problems[cache.sample_path("e")]


def name_sources(cache: Cache, folder: Path) -> None:
    table = read_samples(cache.sample_path("d"))
    sources = [str(folder / f"{sample}.png") for sample in table.sample_id.to_array().tolist()]
    write_samples(cache.sample_path("d"), replace(table, source=StringColumn.from_strings(sources)), root=cache.path)


def test_canaries_agree_where_model_and_pictures_are_at_hand(cache: Cache, tmp_path: Path) -> None:
    name_sources(cache, tmp_path / "d")
    results = {r.modality: r for r in check_canaries(cache, load_spec=lambda producer, outputs: IMAGE)}
    assert results["image"].is_sound and results["image"].n_checked == 4 and results["image"].errors == {"pooled": 0.0}
    assert results["text"].n_checked == 0 and results["text"].reason == "captions are not in the cache"


def test_canaries_of_an_encoder_that_computes_something_else_differ(cache: Cache, tmp_path: Path) -> None:
    class Drifted(FakeSpec):
        def load(self, device: str) -> Drifted:
            return self

        def encode(self, batch: list[bytes]) -> dict[str, np.ndarray]:
            return {"pooled": np.stack([fake_vector(content, "pooled", 3) * 1.1 for content in batch])}

    name_sources(cache, tmp_path / "d")
    drifted = Drifted("image", width=3)
    result = next(r for r in check_canaries(cache, load_spec=lambda *_: drifted) if r.modality == "image")
    assert not result.is_sound and result.errors["pooled"] == pytest.approx(0.1, abs=0.01) and "png" in result.worst


def test_a_picture_that_changed_is_no_canary_and_without_any_nothing_is_checked(cache: Cache, tmp_path: Path) -> None:
    name_sources(cache, tmp_path / "d")
    for picture in (tmp_path / "d").glob("*.png"):
        picture.write_bytes(b"other")
    result = next(r for r in check_canaries(cache, load_spec=lambda *_: IMAGE) if r.modality == "image")
    assert result.n_checked == 0 and "with the bytes that it had" in result.reason and result.is_sound


def test_without_its_model_a_producer_is_not_checked_and_the_reason_is_told(cache: Cache, tmp_path: Path) -> None:
    name_sources(cache, tmp_path / "d")
    result = next(r for r in check_canaries(cache) if r.modality == "image")
    assert result.n_checked == 0 and "does not say where its weights are" in result.reason


def write_tar(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w") as tar:
        for picture in sorted(folder.glob("*.png")):
            tar.add(picture, picture.name)
    return path


def write_parquet(folder: Path, path: Path) -> Path:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pictures = sorted(folder.glob("*.png"))
    parquet.write_table(arrow.table({"image": [p.read_bytes() for p in pictures]}), path)
    return path


@pytest.mark.parametrize("write", [write_tar, write_parquet])
def test_canaries_are_taken_from_tars_and_tables_of_pictures(
    write: Callable[[Path, Path], Path], tmp_path: Path
) -> None:
    write_dataset(tmp_path / "d", n_captions=2)
    source = write(tmp_path / "d", tmp_path / ("x.tar" if write is write_tar else "x.parquet"))
    made = make_cache(tmp_path / "c")
    extract(Manifest.from_source(source), made, [IMAGE], options=ExtractOptions(device="cpu"))
    cache = Cache.open(made.path)
    (result,) = check_canaries(cache, load_spec=lambda *_: IMAGE)
    assert result.is_sound and result.n_checked == 4 and result.reason == ""
    source.rename(tmp_path / "gone")
    (result,) = check_canaries(cache, load_spec=lambda *_: IMAGE)
    assert result.n_checked == 0 and "x cannot be read again: " in result.reason and source.name in result.reason


def test_canaries_are_found_in_columns_that_were_named_and_below_the_root(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    write_dataset(tmp_path / "d", n_captions=2)
    pictures = sorted((tmp_path / "d").glob("*.png"))
    cells = [{"bytes": p.read_bytes(), "path": None} for p in pictures[:3]]
    cells += [{"bytes": None, "path": f"/old/{p.name}"} for p in pictures[3:]]
    parquet.write_table(arrow.table({"scan": cells, "image": ["x"] * len(cells)}), tmp_path / "x.parquet")
    made = make_cache(tmp_path / "c")
    manifest = Manifest.from_source(tmp_path / "x.parquet", columns="image=scan", root=tmp_path / "d")
    extract(manifest, made, [IMAGE], options=ExtractOptions(device="cpu"))
    (result,) = check_canaries(Cache.open(made.path), n_contents=6, load_spec=lambda *_: IMAGE)
    assert result.is_sound and result.n_checked == 6 and result.reason == ""


def test_the_hub_is_not_asked_for_canaries(cache: Cache) -> None:
    table = read_samples(cache.sample_path("d"))
    names = StringColumn.from_strings([f"hf:some/pictures train[{i}]" for i in range(len(table))])
    write_samples(cache.sample_path("d"), replace(table, origin="hf:some/pictures", source=names), root=cache.path)
    result = next(r for r in check_canaries(cache, load_spec=lambda *_: IMAGE) if r.modality == "image")
    assert result.n_checked == 0 and "hf:some/pictures, which is not fetched" in result.reason


def test_the_choice_of_canaries_is_seeded(cache: Cache, tmp_path: Path) -> None:
    name_sources(cache, tmp_path / "d")
    seen: list[list[bytes]] = []

    class Recording(FakeSpec):
        def prepare(self, source: Image.Image) -> np.ndarray:
            seen[-1].append(source.tobytes())
            return fake_pixels(source)

    for seed in (1, 1, 2):
        seen.append([])
        check_canaries(cache, n_contents=3, seed=seed, load_spec=lambda *_: Recording("image", width=3))
    assert seen[0] == seen[1] != seen[2] and len(seen[0]) == 3


def test_an_index_rebuilt_from_the_shards_is_the_same(cache: Cache) -> None:
    index = cache.path / "index.json"
    before = index.read_text()
    index.unlink()
    update_index(cache)
    assert index.read_text() == before and json.loads(before)["encoders"].keys() == {
        f.short for f in cache.producers.values()
    }
