from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from featcache.cache.folder import Defaults
from featcache.commands.bench import _render
from featcache.dataset.sample_list import SampleList
from featcache.encoders.base import loading_check
from featcache.errors import FeatcacheError
from featcache.extraction import rates
from featcache.extraction.bench import BenchResult, _Stages, bench, thin
from featcache.extraction.options import ExtractOptions
from featcache.extraction.preloaded import Preloaded
from featcache.extraction.preparing.recipe import STEPS, Prepared, Reading, Recipe
from featcache.extraction.rates import ForwardRate, ReadingCost
from featcache.extraction.results import Progress
from featcache.pictures.checked_decoder import CheckedDecoder
from featcache.pictures.views import parse_view

from factories import FakeSpec, read_manifest, write_bert, write_dataset, write_vision

DEFAULTS = Defaults("float32", "float16")


def result(forward: float, reading: float, *, device: str = "cuda", workers: int = 4) -> BenchResult:
    """Of 100 pictures: seconds of the forwards, and of the reading on one core."""
    rates = (ForwardRate("image", "f" * 64, "m", "float32", 32, 100, 2, 200 / forward),)
    cost = ReadingCost(10, 0, {"read": 0.0, "decode": reading / 100})
    return BenchResult("d", device, 4, workers, 100, 20, 100, rates, cost, 1.0, {"image": 1.0})


def test_on_a_gpu_the_slower_part_binds_and_on_a_cpu_both_share_the_cores() -> None:
    assert result(1.0, 8.0).bound == pytest.approx(2.0) and result(1.0, 8.0).binds == "reading"
    assert result(3.0, 8.0).bound == pytest.approx(3.0) and result(3.0, 8.0).binds == "forward"
    assert result(3.0, 8.0, device="cpu").bound == pytest.approx(5.0)


def test_as_many_workers_are_needed_as_keep_up_with_the_forwards() -> None:
    assert [result(1.0, seconds).workers_needed for seconds in (0.0, 0.5, 1.0, 7.9, 8.0, 8.1)] == [1, 1, 1, 8, 8, 9]


def test_a_sample_too_small_for_a_gpu_that_prepares_pictures_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    for device, decoder, is_told in (("cuda", "auto", True), ("cuda", "pillow", False), ("cpu", "auto", False)):
        _render(result(1.0, 8.0, device=device), decoder)
        assert ("do so from 2,000 inputs on: --samples 1000 " in capsys.readouterr().out) == is_told


def test_more_workers_than_cores_read_no_faster() -> None:
    assert result(1.0, 8.0, workers=64).reading_seconds == result(1.0, 8.0, workers=4).reading_seconds


def test_a_sample_is_from_all_over_and_keeps_neighbours_together(tmp_path: Path) -> None:
    manifest = read_manifest(write_dataset(tmp_path / "d", n_captions=100))
    assert thin(manifest, 300) is manifest
    some = thin(manifest, 96)
    ids = [sample.sample_id for sample in manifest.samples]
    rows = [ids.index(sample.sample_id) for sample in some.samples]
    assert rows == [*range(48), *range(252, 300)] and len(thin(manifest, 5).samples) == 5


def test_everything_is_measured_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = read_manifest(write_dataset(tmp_path / "d"))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    specs = [FakeSpec("text", ("cls",)), FakeSpec("image")]
    told: list[str] = []
    options = ExtractOptions(device="cpu", workers=2)
    found = bench(
        manifest, specs, DEFAULTS, views=("clean", "hflip"), options=options, seconds=0.01, progress=told.append
    )
    assert told == ["reading", "text forward", "image forward", "extraction"] and not list(scratch.iterdir())
    assert [(f.modality, f.n_contents, f.n_views) for f in found.forwards] == [("text", 6, 1), ("image", 18, 2)]
    assert (found.n_samples, found.n_captions, found.n_pictures, found.workers) == (18, 6, 18, 2)
    assert all(f.rate > 0 for f in found.forwards) and found.end_to_end > 0 and found.reading.n_failed == 0
    assert list(found.stages) == ["scan", "text", "image"] and sum(found.stages.values()) <= found.end_to_end
    assert set(found.reading.seconds) == set(STEPS)
    json.dumps(found.to_dict(), allow_nan=False)


def test_passes_in_turns_count_as_long_as_each_took_itself() -> None:
    stages = _Stages()
    for name, seconds in (("scan", 0.0), ("text", 1.0), ("image", 2.0), ("text", 1.5), ("image", 4.0)):
        stages(Progress(name, 0, 1, seconds={"forward": seconds} if seconds else {}))
    assert stages.seconds.pop("scan") < 1 and stages.seconds == {"text": 1.5, "image": 4.0}


def test_what_fails_is_counted_and_is_no_part_of_any_rate(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d")
    for name in ("0-real", "2-alpha", "5-beta"):
        (tmp_path / "d" / f"{name}.png").write_bytes(b"broken " + name.encode())
    specs = [FakeSpec("text", ("cls",)), FakeSpec("image"), FakeSpec("spectral")]
    options = ExtractOptions(device="cpu", workers=2)
    found = bench(read_manifest(data), specs, DEFAULTS, views="clean,hflip", options=options, seconds=60e-3)
    assert (found.n_samples, found.n_captions, found.n_pictures, found.n_failed) == (18, 6, 15, 3)
    assert [(f.n_contents, f.n_views) for f in found.forwards] == [(6, 1), (15, 2), (15, 2)]
    assert found.reading_seconds == pytest.approx(15 / found.reading.rate / min(2, found.cores))
    assert found.to_dict()["n_failed"] == 3


def test_pictures_that_cannot_be_used_cost_no_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_dataset(tmp_path / "d")
    pictures = [s.image for s in read_manifest(data).samples if s.image]
    for path in sorted((tmp_path / "d").glob("*.png"))[:9]:
        path.write_bytes(b"broken " + path.name.encode())
    recipe = Recipe.of([(parse_view("clean"), FakeSpec("image"))])
    real = rates.prepare

    def prepare(recipe: Recipe, reading: Reading, *, decoder: CheckedDecoder) -> Prepared:
        return replace(real(recipe, reading, decoder=decoder), seconds=(1.0, 2.0, 0.0, 0.0, 1.0, 0.0))

    monkeypatch.setattr(rates, "prepare", prepare)
    cost = rates.measure_reading(pictures, recipe, seconds=1000)
    assert (cost.n_pictures, cost.n_failed) == (18, 9) and cost.rate == pytest.approx(1 / 4)


@pytest.mark.parametrize(("batch_size", "expected"), [(None, [6, 18]), (1, [2, 1])])
def test_the_batches_told_of_are_those_that_are_encoded(
    tmp_path: Path, batch_size: int | None, expected: list[int]
) -> None:
    specs = [FakeSpec("text", ("cls",)), FakeSpec("image")]
    options = ExtractOptions(device="cpu", batch_size=batch_size)
    found = bench(read_manifest(write_dataset(tmp_path / "d")), specs, DEFAULTS, options=options, seconds=0.01)
    assert [f.n_rows for f in found.forwards] == expected


def test_preparing_takes_its_share_of_the_cores_on_a_cpu() -> None:
    assert result(1.0, 4.0, device="cpu").reading_share == pytest.approx(0.5)
    assert result(1.0, 0.0, device="cpu").reading_share == 0


def test_captions_alone_need_no_reading(tmp_path: Path) -> None:
    manifest = read_manifest(write_dataset(tmp_path / "d"))
    found = bench(manifest, [FakeSpec("text", ("cls",))], DEFAULTS, options=ExtractOptions("cpu"), seconds=0.01)
    assert found.n_pictures == 0 and found.reading_seconds == 0 and found.binds == "forward"
    json.dumps(found.to_dict(), allow_nan=False)


def test_data_of_which_nothing_can_be_read_are_refused(tmp_path: Path) -> None:
    manifest = read_manifest(write_dataset(tmp_path / "d", n_captions=1))
    for path in (tmp_path / "d").glob("*.png"):
        path.write_bytes(b"broken")
    with pytest.raises(FeatcacheError, match="none of the 3 pictures"):
        bench(manifest, [FakeSpec("image")], DEFAULTS, options=ExtractOptions("cpu"), seconds=0.01)
    text_only = replace(manifest, samples=SampleList.of(replace(s, caption=None) for s in manifest.samples))
    with pytest.raises(FeatcacheError, match="no captions"):
        bench(text_only, [FakeSpec("text", ("cls",))], DEFAULTS, options=ExtractOptions("cpu"), seconds=0.01)


def test_a_loaded_encoder_is_not_taken_to_another_process() -> None:
    spec = FakeSpec("image")
    loaded = Preloaded(spec, spec.load("cpu"))
    assert loaded.load("cpu", compile=True) is loaded.load() and loaded.fingerprint == spec.fingerprint
    assert loading_check(loaded) == loaded.check and loading_check(spec) is None
    assert pickle.loads(pickle.dumps(loaded)) == spec


@pytest.mark.slow
def test_the_command_prints_a_table_of_80_columns_or_json(tmp_path: Path) -> None:
    from cli import featcache_app

    data = write_dataset(tmp_path / "d")
    words = ["bench", str(data), "--text-model", str(write_bert(tmp_path / "bert")), "--image-model"]
    words += [str(write_vision(tmp_path / "clip")), "--device", "cpu", "--seconds", "0.01", "--views", "clean,hflip"]
    run = CliRunner(env={"COLUMNS": "80"})
    shown = run.invoke(featcache_app, words, catch_exceptions=False)
    assert shown.exit_code == 0 and max(map(len, shown.stdout.splitlines())) <= 80
    assert all(word in shown.stdout for word in ("text", "image", "decode", "end to end", "binds"))
    assert "preparing" in shown.stdout and "could not" not in shown.stdout
    (tmp_path / "d" / "0-real.png").write_bytes(b"broken")
    assert "1 could not be read or encoded" in run.invoke(featcache_app, words, catch_exceptions=False).stdout
    document = json.loads(run.invoke(featcache_app, [*words, "--json"], catch_exceptions=False).stdout)
    assert document["device"] == "cpu" and len(document["forwards"]) == 2
