from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from featcache.cache.folder import Cache
from featcache.cache.orphans import scan_folder, write_orphans
from featcache.commands.status import status as status_command
from featcache.dataset.manifest import Manifest
from featcache.encoders.build import encoder_options
from featcache.errors import ShardError
from featcache.extraction.partition import Partition
from featcache.extraction.run import ExtractOptions, extract
from featcache.files.sealed import read_sealed, replace_sealed
from featcache.identity.fingerprint import Fingerprint
from featcache.store.export import export_store
from featcache.store.opening import open_store
from featcache.upkeep.repair import repair
from featcache.upkeep.status import cache_status
from featcache.upkeep.steps import next_steps
from featcache.upkeep.verify import verify

from factories import FakeSpec, make_cache, read_manifest, write_dataset


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    data = write_dataset(tmp_path / "d", caption=["", *[f"c{i}" for i in range(17)]])
    (tmp_path / "d" / "1-beta.png").write_bytes(b"broken")
    specs = [FakeSpec("text", ("cls",)), FakeSpec("image", width=3)]
    made = make_cache(tmp_path / "c")
    extract(read_manifest(data), made, specs, options=ExtractOptions(device="cpu", unit_rows=4))
    return Cache.open(made.path)


def a_shard(cache: Cache) -> Path:
    return sorted(cache.path.glob("features/**/*.h5"))[0]


def test_status_counts_what_is_there_and_what_is_not(cache: Cache) -> None:
    status = cache_status(cache)
    (dataset,) = status.datasets
    assert dataset.n_samples == 18 and dataset.splits == {"train": 12, "valid": 3, "test": 3}
    assert dataset.classes == {"real": 6, "alpha": 6, "beta": 6} and dataset.audit.n_without == {"text": 1, "image": 0}
    covered = {c.output: (c.n_contents, c.n_stored, c.n_failed, c.n_missing) for c in dataset.coverage}
    assert covered == {"cls": (17, 17, 0, 0), "pooled": (18, 17, 1, 0)}
    assert sum(p.n_rows for p in status.producers) == 34 and status.n_missing == 0
    json.dumps(status.to_dict(), allow_nan=False)


def output(*arguments: object) -> str:
    """What a command prints on a terminal of 80 columns."""
    app = typer.Typer()
    app.command()(status_command)
    app.callback()(lambda: None)
    result = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["status", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def commands(text: str) -> list[list[str]]:
    """The commands that a text ends with, as a shell would split them."""
    _, _, last = text.partition("Next:")
    lines = last.replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.strip() and not line.strip().startswith("#")]


def test_status_of_an_empty_cache_says_how_to_begin(tmp_path: Path) -> None:
    made = make_cache(tmp_path / "a b")
    assert cache_status(made).n_missing == 0
    assert commands(output(made.path)) == [["featcache", "extract", "DATA", "--cache", str(made.path)]]


def test_status_of_an_extraction_that_found_no_data_set_yet_keeps_its_models(tmp_path: Path) -> None:
    made = make_cache(tmp_path / "c")
    made.add_producer(FakeSpec("image").fingerprint)
    (step,) = next_steps(cache_status(Cache.open(made.path)))
    assert step.command[-4:] == ("--text-model", "none", "--image-model", "fake-w0")


def test_status_of_a_complete_cache_ends_with_training(cache: Cache) -> None:
    status = cache_status(cache)
    assert [step.command[:2] for step in next_steps(status)] == [("featcache", "failures"), ("heads", "train")]
    text = output(cache.path)
    assert "Complete, but 1 failed." in text and "18 different pictures" in text


def test_status_gives_the_exact_command_that_finishes_a_cache(cache: Cache, tmp_path: Path) -> None:
    a_shard(cache).unlink()
    origin = tmp_path / "d" / "manifest.csv"
    words = ["featcache", "extract", str(origin), "--cache", str(cache.path), "--name", "d"]
    words += ["--text-model", "none", "--image-model", "fake-w0"]
    assert commands(output(cache.path))[0] == words


def test_a_command_names_whatever_its_producer_has_that_is_no_default(tmp_path: Path) -> None:
    made = make_cache(tmp_path / "c")
    spec = FakeSpec("image", ("pooled", "cls"), storage_dtype="float32")
    source = {"model": "org/name", "revision": "abc", "path": None}
    options = encoder_options(Fingerprint(spec.fingerprint.identity, source), spec.outputs, ("float32", "float16"))
    assert options == {
        "--image-model": "org/name@abc", "--image-outputs": "cls,pooled", "--storage-dtype": "float32"
    }  # fmt: skip
    identity = FakeSpec("text").fingerprint.identity | {"template": "-a {caption}"}
    local = Fingerprint(identity, {"model": "m", "revision": None, "path": "/my models/m"})
    made.add_producer(local)
    command = next_steps(cache_status(Cache.open(made.path)))[0].command
    assert "/my models/m" in command and "--text-template=-a {caption}" in command


def test_a_producer_of_another_data_set_is_no_debt(cache: Cache, tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "e", caption=[f"other {i}" for i in range(18)])
    other = FakeSpec("text", ("cls",), weights="w1")
    extract(read_manifest(data), cache, [other], options=ExtractOptions(device="cpu"))
    status = cache_status(Cache.open(cache.path))
    _, second = status.datasets
    run = {c.producer: c.is_wanted for c in second.coverage if c.modality == "text"}
    assert run == {other.fingerprint.short: True, FakeSpec("text", ("cls",)).fingerprint.short: False}
    assert "not run" in output(cache.path)
    (changed,) = {p.changes for p in status.producers if p.fingerprint == other.fingerprint.digest}
    assert [c.field for c in changed] == ["model.weights"]


def test_missing_contents_are_counted_once_however_many_outputs_lack_them(cache: Cache, tmp_path: Path) -> None:
    made = make_cache(tmp_path / "two")
    spec = FakeSpec("image", ("pooled", "cls"))
    extract(read_manifest(tmp_path / "d" / "manifest.csv"), made, [spec], options=ExtractOptions("cpu", unit_rows=4))
    a_shard(made).unlink()
    status = cache_status(Cache.open(made.path))
    assert {c.n_missing for c in status.datasets[0].coverage} == {status.n_missing} != {0}


def test_status_warns_of_leaks_and_names_samples(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d")
    (tmp_path / "d" / "0-real.png").write_bytes((tmp_path / "d" / "4-real.png").read_bytes())
    made = make_cache(tmp_path / "c")
    extract(read_manifest(data), made, [FakeSpec("image")], options=ExtractOptions(device="cpu"))
    text = output(made.path)
    assert "1 picture in several splits: 0-real (train) = 4-real (test)" in " ".join(text.split())
    leaked = json.loads(output(made.path, "--json"))["datasets"][0]["audit"]["leaked_images"]
    assert leaked["examples"][0]["sample_ids"] == ["0-real", "4-real"]


def test_status_stays_readable_and_harmless_whatever_the_names(tmp_path: Path) -> None:
    folder = tmp_path / ("red \x1b[31m 'quoted' " + "long" * 30)
    ids = [f"{i}\x1b[2J[bold]" for i in range(60)]
    names = ["real", *[f"class-{i:02}\u202e" for i in range(59)]]
    data = write_dataset(folder, n_captions=20, sample_id=ids, label_b=names, label_a=[0, *[1] * 59])
    (folder / "1-beta.png").write_bytes((folder / "4-real.png").read_bytes())
    made = make_cache(tmp_path / "c")
    spec = FakeSpec("image", weights="\x1b[31m")
    extract(read_manifest(data), made, [spec], options=ExtractOptions("cpu", unit_rows=8))
    write_orphans(scan_folder(made, cache_status(made).datasets[0].name) / "orphans.json", ["x"], root=made.path)
    a_shard(made).unlink()
    text = output(made.path)
    assert not any(c in text for c in "\x1b\u202e") and "and 49 more classes" in " ".join(text.split())
    above = text[: text.index("Next:")].splitlines()
    assert max(len(line) for line in above if "Cache" not in line and "Data set" not in line) <= 80
    bash = shutil.which("bash")
    if bash:
        command = text[text.index("  featcache extract") :]
        script = f"featcache() {{ printf '%s\\0' \"$@\"; }}\n{command}"
        words = subprocess.run([bash, "-c", script], capture_output=True, check=True).stdout.decode().split("\0")[:-1]
        assert tuple(words) == next_steps(cache_status(Cache.open(made.path)))[0].command[1:]
        assert words[1] == str(data) and words[-2:] == ["--on-orphan", "skip"]


def test_status_counts_claims_and_stays_jsonable(cache: Cache) -> None:
    for folder in ("x/clean", "scan"):
        (cache.path / "claims" / folder).mkdir(parents=True)
        (cache.path / "claims" / folder / "unit.json").write_text("{}")
    assert "1 work unit claimed" in output(cache.path)
    document = json.loads(output(cache.path, "--json"))
    assert document["n_claims"] == 1 and document["next"][0]["command"][0] == "featcache"


def test_status_says_what_a_lost_shard_costs(cache: Cache) -> None:
    a_shard(cache).unlink()
    assert cache_status(Cache.open(cache.path)).n_missing == 4


def test_an_export_holds_aligned_rows_and_nan_where_a_side_is_missing(cache: Cache, tmp_path: Path) -> None:
    export_store(open_store(cache.path), tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as out:
        assert out["text"].dtype == out["image"].dtype == np.float32 and out["text"].shape == (18, 4)
        assert np.flatnonzero(~out["text_present"]).tolist() == [0]
        assert out["sample_id"][~out["image_present"]].tolist() == ["1-beta"]
        np.testing.assert_array_equal(np.isnan(out["image"]).all(1), ~out["image_present"])
        assert out["label_b"].tolist() == [0, 1, 2] * 6 and out["class_names"].tolist() == ["real", "alpha", "beta"]
        assert set(out["split"].tolist()) == {"train", "valid", "test"}


def test_layers_and_views_do_not_flood_the_listing(tmp_path: Path) -> None:
    made = make_cache(tmp_path / "c")
    layers = tuple(f"layers:{k}" for k in range(1, 13))
    spec = FakeSpec("image", ("pooled", *layers))
    views = ("clean", "hflip", "jpeg:75", "blur:1")
    data = write_dataset(tmp_path / "d")
    specs = [spec, FakeSpec("spectral", ("noise",), width=3)]
    extract(read_manifest(data), made, specs, views=views, options=ExtractOptions(device="cpu", unit_rows=7))
    text = output(made.path)
    listed = text[: text.index("Next:")].splitlines()
    assert " ".join(text.split()).count("blur:1, clean, hflip, jpeg:75: 18 of 18 each") == 2
    assert "pooled, layers:1..12 4;" in text and max(map(len, listed[2:])) <= 80


def test_the_command_that_finishes_says_views_outputs_spectra_and_seed(tmp_path: Path) -> None:
    made = make_cache(tmp_path / "c")
    data = write_dataset(tmp_path / "d", split=[""] * 18)
    specs = [
        FakeSpec("text", ("cls",)),
        FakeSpec("image", ("cls", "layers:1", "layers:2")),
        FakeSpec("spectral", ("a",)),
    ]
    options = ExtractOptions(device="cpu", unit_rows=7, seed=5)
    extract(read_manifest(data), made, specs, views=("clean", "jpeg:50+blur:1"), options=options)
    for path in made.path.glob("features/*/*/*.h5"):
        path.unlink() if "clean" not in str(path) or "text" in str(path) else None
    (words,) = (words for words in commands(output(made.path)) if words[:2] == ["featcache", "extract"])
    assert words[-2:] == ["--seed", "5"] and words[words.index("--views") + 1] == "clean,jpeg:50+blur:1"
    assert "--spectral" in words and words[words.index("--spectral-outputs") + 1] == "a"
    assert words[words.index("--image-outputs") + 1] == "cls,layers:1-2"
    assert words[words.index("--text-model") + 1] == "none"


def test_what_was_asked_for_is_missing_before_anything_of_it_is_stored(tmp_path: Path) -> None:
    made = make_cache(tmp_path / "c")
    manifest = read_manifest(write_dataset(tmp_path / "d"))
    options = ExtractOptions(device="cpu", unit_rows=7)
    extract(manifest, made, [FakeSpec("image", ("cls",))], options=options)
    assert cache_status(Cache.open(made.path)).n_missing == 0
    both = FakeSpec("image", ("cls", "layers:4"))
    with pytest.raises(ZeroDivisionError):
        extract(
            manifest,
            made,
            [both],
            views=("clean", "hflip"),
            options=options,
            progress=lambda p: 1 // (p.stage == "scan"),
        )
    status = cache_status(Cache.open(made.path))
    assert status.datasets[0].missing == {(both.fingerprint.short, view): 18 for view in ("clean", "hflip")}
    text = " ".join(output(made.path).split())
    assert "Incomplete: 36 to do." in text and "18 pictures in 2 views" in text
    assert "--image-outputs cls,layers:4 --views clean,hflip" in text
    extract(manifest, made, [FakeSpec("image", ("cls",))], options=options)
    assert cache_status(Cache.open(made.path)).n_missing == 0


@pytest.mark.parametrize(("label_a", "command"), [([0, 1] * 9, "heads train"), ([1] * 18, "featcache export")])
def test_a_head_is_trained_on_what_there_is_if_there_is_something_to_tell_apart(
    tmp_path: Path, label_a: list[int], command: str
) -> None:
    made = make_cache(tmp_path / "c")
    data = write_dataset(tmp_path / "d", label_a=label_a, label_b=["real" if a == 0 else "alpha" for a in label_a])
    extract(read_manifest(data), made, [FakeSpec("spectral", ("a",))], options=ExtractOptions(device="cpu"))
    (step,) = next_steps(cache_status(made))
    assert " ".join(step.command).startswith(f"{command} {made.path}")
    assert ("--fusion spectral" in " ".join(step.command)) == (command == "heads train")


def test_producers_with_other_views_get_commands_of_their_own(tmp_path: Path) -> None:
    made = make_cache(tmp_path / "c")
    manifest = read_manifest(write_dataset(tmp_path / "d"))
    options = ExtractOptions(device="cpu")
    extract(manifest, made, [FakeSpec("image")], views=("clean", "hflip"), options=options)
    extract(manifest, made, [FakeSpec("spectral", ("a",))], options=options)
    for path in made.path.glob("features/*/*/*.h5"):
        path.unlink()
    found = [words for words in commands(output(made.path)) if words[:2] == ["featcache", "extract"]]
    assert [("--spectral" in words, "--views" in words) for words in found] == [(False, True), (True, False)]


def test_missing_parts_are_an_array_expression_and_a_command(tmp_path: Path) -> None:
    made = make_cache(tmp_path / "c")
    manifest = read_manifest(write_dataset(tmp_path / "d"))
    spec = FakeSpec("image", ("pooled", "cls"))
    for index in (1, 2, 4):
        options = ExtractOptions(device="cpu", unit_rows=2, partition=Partition(index, 6))
        extract(manifest, made, [spec], views=("clean", "hflip"), options=options)
    (division,) = cache_status(Cache.open(made.path)).datasets[0].divisions
    assert (division.count, division.unit_rows, division.missing) == (6, 2, "0,3,5")
    text = output(made.path)
    assert "of 6 parts missing: --array=0,3,5" in text
    parts, whole = commands(text)
    assert parts[-6:] == ["--views", "clean,hflip", "--shard", "auto/6", "--shard-rows", "2"]
    assert "--shard" not in whole and json.loads(output(made.path, "--json"))["datasets"][0]["divisions"]
    extract(manifest, made, [spec], views=("clean", "hflip"), options=ExtractOptions(device="cpu"))
    assert cache_status(Cache.open(made.path)).datasets[0].divisions == ()


def test_what_two_data_sets_share_is_told_and_called_a_leak_where_one_tests_on_it(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from cli import featcache_app

    cache = make_cache(tmp_path / "c")
    for name, split in (("one", "train"), ("two", "test")):
        data = write_dataset(tmp_path / name, n_captions=2, split=[split] * 6)
        extract(Manifest.from_source(data, name=name), cache, [FakeSpec("image")])
    pictures = next(o for o in cache_status(cache).overlaps if o.modality == "image")
    assert pictures.datasets == ("one", "two") and pictures.n_contents == pictures.n_leaks == 6
    shown = CliRunner().invoke(featcache_app, ["status", str(tmp_path / "c")]).output
    assert "one and two: 6 pictures, 6 of them tested in one" in " ".join(shown.split())


def test_a_folder_named_as_a_picture_is_not_said_to_be_missing(cache: Cache) -> None:
    write_orphans(
        scan_folder(cache, "d") / "orphans.json", ["'a' is not a regular file", "there is no file 'b'"], root=cache.path
    )
    assert "2 orphans left out (no regular file there)" in output(cache.path)


@pytest.mark.parametrize("across", ["producers", "views"])
def test_a_shard_swapped_behind_the_index_is_refused_by_every_command(across: str, tmp_path: Path) -> None:
    made, specs = make_cache(tmp_path / "c"), [FakeSpec("image"), FakeSpec("image", weights="w1")]
    manifest = read_manifest(write_dataset(tmp_path / "d"))
    for spec in specs:
        extract(manifest, made, [spec], views=("clean", "hflip"), options=ExtractOptions(device="cpu"))
    own, other = (made.path / "features" / spec.fingerprint.short for spec in specs)
    (victim,) = (own / "clean").glob("*.h5")
    (stranger,) = (other / "clean" if across == "producers" else own / "hflip").glob("*.h5")
    assert victim.stat().st_size == stranger.stat().st_size
    shutil.copyfile(stranger, victim)
    cache, store, encoder = Cache.open(made.path), open_store(made.path), specs[0].fingerprint.short
    for use in (
        lambda: cache_status(cache),
        lambda: export_store(store, tmp_path / "x.npz", selections={"image": store.select("image", encoder=encoder)}),
        lambda: extract(manifest, cache, specs[:1], options=ExtractOptions(device="cpu")),
    ):
        with pytest.raises(ShardError, match=f"{victim.name} holds rows of .* run `featcache verify`"):
            use()


@pytest.mark.parametrize("place", ["features/*/*/*.h5", "samples/*.h5"])
def test_what_is_cut_off_is_told_with_what_to_do(cache: Cache, place: str) -> None:
    victim = next(cache.path.glob(place))
    victim.write_bytes(victim.read_bytes()[:-200])
    with pytest.raises(ShardError, match=f"{victim.name} cannot be read: .*; `featcache repair` moves it aside"):
        cache_status(cache)


@pytest.mark.slow
@pytest.mark.parametrize("view", ["../../elsewhere", "a/b", "..", "nul\0", ""])
def test_a_request_that_names_another_folder_is_refused(view: str, tmp_path: Path) -> None:
    made = make_cache(tmp_path / "c")
    extract(read_manifest(write_dataset(tmp_path / "d")), made, [FakeSpec("image")], options=ExtractOptions("cpu"))
    (path,) = made.path.glob("requests/d/*.json")
    document, _ = read_sealed(path)
    replace_sealed(path, document | {"views": [view]}, root=path.parent)
    with pytest.raises(ShardError, match="names the view"):
        cache_status(made)
    assert [problem.path for problem in verify(made).problems] == [path]
    assert [moved.problem.path for moved in repair(made.path).moved] == [path]
    assert cache_status(Cache.open(made.path)).n_missing == 0
