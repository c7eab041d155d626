from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cli import featcache_app
from featcache.cache.folder import Cache, Defaults
from featcache.dataset.manifest import Manifest
from featcache.errors import FeatcacheError
from featcache.extraction.run import ExtractOptions, extract
from featcache.identity.fingerprint import Fingerprint
from featcache.store.opening import open_store
from featcache.upkeep.repair import repair
from featcache.upkeep.status import cache_status
from featcache.upkeep.steps import next_steps
from featcache.upkeep.verify import verify

from factories import FakeSpec, make_cache, read_manifest, write_dataset, write_vision

TEXT, IMAGE = FakeSpec("text", ("cls",)), FakeSpec("image")
OPTIONS = ExtractOptions(device="cpu", unit_rows=4)


def build(tmp_path: Path) -> Path:
    extract(read_manifest(write_dataset(tmp_path / "d")), make_cache(tmp_path / "c"), [TEXT, IMAGE], options=OPTIONS)
    return tmp_path / "c"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def shards(cache: Path, spec: FakeSpec = IMAGE) -> list[Path]:
    return sorted((cache / "features" / spec.fingerprint.short).glob("*/*.h5"))


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def test_a_sound_cache_is_left_as_it_is(tmp_path: Path) -> None:
    cache = build(tmp_path)
    before = contents(cache)
    report = repair(cache)
    assert contents(cache) == before
    assert report.moved == report.missing == report.commands == () and report.after.is_sound


def test_damaged_shards_move_to_the_quarantine_and_the_extract_brings_their_rows_back(tmp_path: Path) -> None:
    cache = build(tmp_path)
    before, reference = contents(cache), open_store(cache).arrays()
    flipped, short, gone = shards(cache)[:3]
    damage(flipped)
    short.write_bytes(short.read_bytes()[:500])
    gone.unlink()
    broken = {p: p.read_bytes() for p in (flipped, short)}
    report = repair(cache)
    assert {m.problem.path: m.path.read_bytes() for m in report.moved} == broken
    for moved in report.moved:
        relative = moved.path.relative_to(cache).parts
        assert relative[0] == "quarantine" and Path(*relative[2:]) == moved.problem.path.relative_to(cache)
    assert [p.path for p in report.missing] == [gone]
    assert verify(Cache.open(cache), deep=True).is_sound
    (command,) = report.commands
    words = shlex.split(command)
    assert words[:3] == ["featcache", "extract", str(tmp_path / "d" / "manifest.csv")]
    options = dict(zip(words[3::2], words[4::2], strict=True))
    assert options == {
        "--cache": str(cache), "--name": "d", "--image-model": "fake-w0", "--text-model": "none",
    }  # fmt: skip
    after = contents(cache)
    assert repair(cache).moved == () and contents(cache) == after
    extract(read_manifest(tmp_path / "d" / "manifest.csv"), Cache.open(cache), [IMAGE], options=OPTIONS)
    again = open_store(cache).arrays()
    for modality, vectors in reference.features.items():
        np.testing.assert_array_equal(again.features[modality], vectors)
    assert {name: data for name, data in contents(cache).items() if name.startswith("features/")} == {
        name: data for name, data in before.items() if name.startswith("features/")
    }


def test_a_damaged_document_of_an_encoder_is_restored_from_its_copy(tmp_path: Path) -> None:
    cache = build(tmp_path)
    path = cache / "encoders" / f"{IMAGE.fingerprint.short}.json"
    before = path.read_bytes()
    damage(path)
    report = repair(cache)
    assert path.read_bytes() == before and report.after.is_sound and report.commands == ()
    assert [(m.problem.path, m.is_restored) for m in report.moved] == [(path, True)]
    path.unlink()
    assert repair(cache).after.is_sound and path.read_bytes() == before


def test_a_document_without_a_copy_comes_back_with_the_next_extract_and_no_row_is_lost(tmp_path: Path) -> None:
    cache = build(tmp_path)
    path = cache / "encoders" / f"{IMAGE.fingerprint.short}.json"
    before = contents(cache / "features")
    (cache / "index.json").unlink()
    path.write_bytes(b"{")
    report = repair(cache)
    assert not report.after.is_sound and "has no readable document" in report.after.problems[0].message
    status = cache_status(Cache.open(cache))
    assert status.nameless == (IMAGE.fingerprint.short,) and next_steps(status) == ()
    told = {name: CliRunner().invoke(featcache_app, [name, str(cache)]).output for name in ("status", "repair")}
    assert f"no document of encoder {IMAGE.fingerprint.short}" in told["status"] and "Next" not in told["repair"]
    result = extract(read_manifest(tmp_path / "d" / "manifest.csv"), Cache.open(cache), [IMAGE], options=OPTIONS)
    assert result.n_encoded == 0 and contents(cache / "features") == before
    assert verify(Cache.open(cache), deep=True).is_sound


def test_what_a_shard_cost_is_told_right_below_it(tmp_path: Path) -> None:
    cache = build(tmp_path)
    damage(shards(cache)[0])
    shards(cache, TEXT)[0].unlink()
    lines = CliRunner().invoke(featcache_app, ["repair", str(cache)]).output.splitlines()
    after = {
        word: lines[at:] for at, line in enumerate(lines) for word in ("moved", "missing") if line.startswith(word)
    }
    assert after["moved"][3].startswith("  lost: ") and " rows of image encoder" in after["moved"][3]
    assert after["missing"][1].startswith("  lost: ") and " rows of text encoder" in after["missing"][1]


@pytest.mark.parametrize("indexed", [True, False])
def test_damaged_defaults_are_restored_from_index_or_encoders(tmp_path: Path, indexed: bool) -> None:
    cache = build(tmp_path)
    defaults = Cache.open(cache).defaults
    damage(cache / "cache.json")
    if not indexed:
        (cache / "index.json").unlink()
    with pytest.raises(FeatcacheError, match=r"cache\.json"):
        Cache.open(cache)
    report = repair(cache)
    assert Cache.open(cache).defaults == defaults and report.after.is_sound and report.moved[0].is_restored


@pytest.mark.parametrize("indexed", [True, False])
def test_a_lost_marker_is_made_anew_from_index_or_encoders(tmp_path: Path, indexed: bool) -> None:
    cache = build(tmp_path)
    defaults, reference = Cache.open(cache).defaults, open_store(cache).arrays()
    (cache / "cache.json").unlink()
    if not indexed:
        (cache / "index.json").unlink()
    printed = CliRunner().invoke(featcache_app, ["repair", str(cache)])
    assert printed.exit_code == 0 and f"made anew {cache / 'cache.json'}" in printed.output.replace("\n", "")
    (cache / "cache.json").unlink()
    report = repair(cache)
    assert report.remade == (cache / "cache.json",) and report.moved == () and report.after.is_sound
    assert Cache.open(cache).defaults == defaults and verify(Cache.open(cache), deep=True).is_sound
    for modality, vectors in reference.features.items():
        np.testing.assert_array_equal(open_store(cache).arrays().features[modality], vectors)


@pytest.mark.parametrize("put", ["folder", "encoder", "link"])
def test_what_is_in_the_place_of_the_marker_is_moved_aside(tmp_path: Path, put: str) -> None:
    cache = build(tmp_path)
    marker, defaults = cache / "cache.json", Cache.open(cache).defaults
    marker.unlink()
    if put == "folder":
        marker.mkdir()
    elif put == "encoder":
        marker.write_bytes((cache / "encoders" / f"{IMAGE.fingerprint.short}.json").read_bytes())
    else:
        marker.symlink_to(tmp_path / "nowhere")
    report = repair(cache)
    assert [(m.problem.path, m.is_restored) for m in report.moved] == [(marker, True)]
    assert Cache.open(cache).defaults == defaults and report.after.is_sound


def test_spectral_features_do_not_tell_the_defaults(tmp_path: Path) -> None:
    cache = Cache.open_or_create(tmp_path / "c", Defaults("bfloat16", "float16"))
    spectral = Fingerprint({"modality": "spectral", "compute_dtype": "float32", "storage_dtype": "float16"}, {})
    image = Fingerprint({"modality": "image", "compute_dtype": "bfloat16", "storage_dtype": "float16"}, {})
    for producer in (spectral, image):
        cache.add_producer(producer)
    (cache.path / "cache.json").unlink()
    assert repair(cache.path).after.is_sound and Cache.open(cache.path).defaults == cache.defaults
    cache.add_producer(Fingerprint(dict(image.identity) | {"storage_dtype": "float32"}, {}))
    for lost in ("cache.json", "index.json"):
        (cache.path / lost).unlink()
    with pytest.raises(FeatcacheError, match=r"its defaults are lost: .* the 2 different dtypes .* extract into a new"):
        repair(cache.path)


def test_a_repair_that_died_after_moving_the_marker_is_finished_by_the_next(tmp_path: Path) -> None:
    cache = build(tmp_path)
    (cache / "quarantine" / "t").mkdir(parents=True)
    (cache / "cache.json").rename(cache / "quarantine" / "t" / "cache.json")
    assert repair(cache).after.is_sound


def test_a_folder_that_is_no_cache_or_of_another_version_is_not_repaired(tmp_path: Path) -> None:
    from featcache.files.sealed import replace_sealed

    (tmp_path / "x").mkdir()
    with pytest.raises(FeatcacheError, match="is no cache"):
        repair(tmp_path / "x")
    replace_sealed(tmp_path / "x" / "cache.json", {"format_version": 9}, root=tmp_path)
    with pytest.raises(FeatcacheError, match="format version 9"):
        repair(tmp_path / "x")
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["cache.json"]


def test_a_damaged_table_and_damaged_failures_move_and_the_command_names_the_origin(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d")
    (tmp_path / "d" / "0-real.png").write_bytes(b"broken")
    extract(read_manifest(data), make_cache(tmp_path / "c"), [TEXT, IMAGE], options=OPTIONS)
    cache = tmp_path / "c"
    table, failure = cache / "samples" / "d.h5", next(cache.glob("failures/*/clean/*.json"))
    damaged = table.read_bytes().replace(b"alpha", b"omega")
    table.write_bytes(damaged)
    failure.write_bytes(failure.read_bytes()[:-3])
    report = repair(cache)
    assert {m.problem.path for m in report.moved} == {table, failure} and report.after.is_sound
    words = ["featcache", "extract", str(data), "--cache", str(cache), "--name", "d"]
    assert report.commands == (shlex.join([*words, "--text-model", "fake-w0", "--image-model", "fake-w0"]),)
    (step,) = next_steps(cache_status(Cache.open(cache)))
    assert shlex.join(step.command) == report.commands[0] and "no sample table" in step.why


def test_the_command_for_lost_rows_is_the_one_that_made_them(tmp_path: Path) -> None:
    """Outputs, views and seed, and what is to be skipped, also where nothing is left that could tell."""
    data = write_dataset(tmp_path / "d", split=[""] * 18)
    (tmp_path / "d" / "1-beta.png").unlink()
    manifest = Manifest.from_source(data, on_orphan="skip")
    cache, spec = make_cache(tmp_path / "c"), FakeSpec("image", ("pooled", "cls"))
    options = ExtractOptions("cpu", unit_rows=4, seed=7)
    extract(manifest, cache, [spec], views=["jpeg:50"], options=options)
    for path in shards(cache.path, spec):
        path.write_bytes(b"")
    report = repair(cache.path)
    words = ["featcache", "extract", str(data), "--cache", str(cache.path), "--name", "d", "--text-model", "none"]
    words += ["--image-model", "fake-w0", "--image-outputs", "cls,pooled", "--views", "jpeg:50"]
    assert report.commands == (shlex.join([*words, "--on-orphan", "skip", "--seed", "7"]),)
    assert {lack.view for lack in report.after.lacks} == {"jpeg:50"}


@pytest.mark.slow
def test_the_index_is_rebuilt(tmp_path: Path) -> None:
    cache = build(tmp_path)
    before = (cache / "index.json").read_bytes()
    for garbage in (b"", b"{}", b"\xff\x00", b'{"checksum": 1}', before[:-20]):
        (cache / "index.json").write_bytes(garbage)
        assert repair(cache).after.is_sound and (cache / "index.json").read_bytes() == before


def test_the_command_that_repair_names_works_as_it_stands(tmp_path: Path) -> None:
    data, model = write_dataset(tmp_path / "d", n_captions=2), write_vision(tmp_path / "clip model")
    runner, cache = CliRunner(), tmp_path / "c"
    arguments = ["extract", str(data), "--cache", str(cache), "--image-model", str(model), "--text-model", "none"]
    assert runner.invoke(featcache_app, [*arguments, "--device", "cpu", "--shard-rows", "4"]).exit_code == 0
    reference = open_store(cache).arrays().features["image"]
    damage(sorted(cache.glob("features/**/*.h5"))[0])
    (command,) = repair(cache).commands
    assert np.isnan(open_store(cache).arrays().features["image"]).any()
    done = runner.invoke(featcache_app, [*shlex.split(command)[1:], "--device", "cpu", "--shard-rows", "4"])
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(open_store(cache).arrays().features["image"], reference)
