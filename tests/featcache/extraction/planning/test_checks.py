"""What cannot be done as it is asked for is refused before anything is hashed or written, by command and library."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import cli
from featcache.cache.folder import Cache, Defaults
from featcache.dataset.manifest import Manifest
from featcache.encoders.model_folder import resolve_model
from featcache.encoders.spectral.encoder import SpectralSpec
from featcache.encoders.vision import ImageSpec
from featcache.errors import FeatcacheError, ManifestError, ModelError
from featcache.extraction.fleet import extract_on
from featcache.extraction.forecast import forecast_extraction
from featcache.extraction.partition import Partition
from featcache.extraction.run import ExtractOptions, extract
from featcache.extraction.survey import survey
from featcache.files.string_column import StringColumn

from factories import FakeSpec, read_manifest, write_bert, write_dataset, write_vision

CPU = ["--device", "cpu", "--workers", "2"]
SMALL = ExtractOptions(device="cpu", workers=2, unit_rows=4)
IMAGE = FakeSpec("image")


def run(*arguments: object, cwd: Path) -> tuple[int, str]:
    """Run ``featcache`` in this process: how it exits, and what it says on stderr."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["featcache", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.featcache_main()
    return int(exit_.value.code or 0), " ".join(err.getvalue().replace("│", " ").split())


def without(folder: Path, source: Path, part: str) -> Path:
    """Copy a model without the weights of a part."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, folder)
    weights = load_file(source / "model.safetensors")
    assert any(part in name for name in weights)
    kept = {name: tensor for name, tensor in weights.items() if part not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def edited(folder: Path, source: Path, file: str, **changes: Any) -> Path:
    """Copy a model with other values in a JSON file; None: without."""
    shutil.copytree(source, folder)
    document = json.loads((folder / file).read_text()) | changes
    document = {name: value for name, value in document.items() if value is not None}
    (folder / file).write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, models of which some lack something, and a cache that is being filled in two parts."""
    root = tmp_path_factory.mktemp("project")
    write_dataset(root / "data")
    (root / "captions.csv").write_text("sample_id,caption\na,one\nb,two\n")
    (root / "empty.csv").write_text("sample_id,image,caption\n")
    bert, clip = write_bert(root / "bert"), write_vision(root / "clip")
    for kind in ("vit", "vit-bare", "clip-full"):
        write_vision(root / kind, kind)
    without(root / "bert-bare", bert, "pooler")
    without(root / "bert-holes", bert, "layer.1.attention")
    without(root / "clip-holes", clip, "layers.1.mlp")
    shutil.copytree(bert, root / "bert-cut")
    os.truncate(root / "bert-cut" / "model.safetensors", 5000)
    edited(root / "bert-nopad", bert, "tokenizer_config.json", pad_token=None)
    edited(root / "bert-odd", bert, "tokenizer.json", model={"type": "Odd"})
    edited(root / "clip-lanczos", clip, "preprocessor_config.json", resample=1)
    (root / "featcache.toml").write_text('data = "data/manifest.csv"\ntext_model = "bert"\nimage_model = "clip"\n')
    assert run("extract", *CPU, "--cache", "old", "--shard", "0/2", cwd=root) == (0, "")
    return root


@pytest.fixture
def _unhashed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("the data set was hashed")

    monkeypatch.setattr(survey, "scan", fail)


def state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything in a folder: when it was touched, which file it is, and what is in it."""
    paths = [folder, *sorted(folder.rglob("*"))]
    found = {path: path.stat() for path in paths}
    return {
        str(path): (status.st_mtime_ns, status.st_ino, path.read_bytes() if path.is_file() else b"")
        for path, status in found.items()
    }


MODELS = [
    (["--image-model", "vit-bare"], "has no weights; name some of its own with --image-outputs: cls, mean, layers"),
    (["--image-model", "vit-bare", "--image-outputs", "pooled"], "its pooling layer has no weights; it has: cls, mean"),
    (["--image-outputs", "layers:99"], "no output 'layers:99'"),
    (["--image-outputs", "projected"], "no output 'projected': it has no weights of a projection; it has: cls, mean"),
    (["--image-model", "vit", "--image-outputs", "projected"], "no output 'projected'; it has: cls, mean, pooled"),
    (["--image-outputs", ","], "0 outputs are named"),
    (["--text-model", "bert-bare", "--text-outputs", "pooler"], "no output 'pooler': its pooling layer has no weights"),
    (["--text-outputs", "projected"], "no output 'projected'; it has: cls, last, mean, pooler"),
    (["--spectral-outputs", "colour"], "spectral output 'colour' is unknown"),
    (["--spectral-outputs", ","], "no spectral output is named"),
    (["--clip-text"], "expected a CLIP with a text tower"),
    (["--image-model", "clip-full", "--clip-text"], "has no tokenizer files"),
    (["--text-model", "bert-holes"], "lacks 10 parameters of AutoModel"),
    (["--image-model", "clip-holes"], "lacks 4 parameters of CLIPVisionModel"),
    (["--text-model", "bert-cut"], "model.safetensors is damaged or cut off"),
    (["--text-model", "bert-nopad"], "has no padding token"),
    (["--text-model", "bert-odd"], "tokenizer of model 'bert-odd' cannot be loaded"),
    (["--image-model", "bert"], "has type 'bert', expected one of"),
    (["--text-model", "clip"], "is no text-only model"),
]
OPTIONS = [
    (["--views", "jpeg:0"], "jpeg takes whole numbers"),
    (["--views", "clean,hflip", "--decode", "fast"], "fast decoding"),
    (["--spectral", "--decode", "fast"], "fast decoding"),
    (["--image-model", "clip-lanczos", "--resize", "torch"], "torch resizes with bicubic or bilinear"),
    (["--text-template", "hello"], "{caption}"),
    (["--text-template", ""], "--text-template: it is empty"),
    (["--text-model", ""], "--text-model: it is empty"),
    (["--name", " "], "--name: it is empty"),
    (["--gpus", "2"], "--gpus: there is none on --device cpu"),
    (["--shard-rows", str(1 << 41)], "expected at most 1099511627776"),
    (["--shard", "2/2"], "does not exist"),
    (["--refreeze"], "--refreeze: nothing is divided without --shard"),
    (["--max-failures", "few"], "neither a number like 20"),
    (["--json-log", "nowhere/log"], "log 'nowhere/log' cannot be written: 'nowhere' is no folder"),
    (["--json-log", "data"], "log 'data' cannot be written: 'data' is a folder"),
    (["--text-model", "none", "--image-model", "none"], "no encoder is left"),
    (["captions.csv", "--text-model", "none"], "has no pictures, expected some for image encoder clip"),
    (["empty.csv"], "empty.csv has no rows"),
]


@pytest.mark.slow
@pytest.mark.usefixtures("_unhashed")
@pytest.mark.parametrize(("arguments", "message"), MODELS + OPTIONS)
def test_a_command_that_is_refused_has_hashed_nothing_and_leaves_nothing(
    project: Path, arguments: list[str], message: str
) -> None:
    shutil.rmtree(project / "new", ignore_errors=True)
    before = state(project)
    for cache in ("new", "old"):
        for how in ([], ["--dry-run"]):
            code, said = run("extract", *arguments, *CPU, "--cache", cache, *how, cwd=project)
            assert code in (1, 2) and message in said, said
            assert state(project) == before


@pytest.mark.slow
@pytest.mark.usefixtures("_unhashed")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shard", "0/3"], "in 2 parts, expected --shard i/2, found 0/3"),
        (["--shard", "1/2", "--shard-rows", "5"], "found 5 (--shard-rows)"),
        (["--shard", "1/2", "--image-outputs", "pooled,cls"], "with outputs pooled of encoder"),
        (["--shard", "1/2", "--views", "clean,hflip"], "with views clean of encoder"),
    ],
)
def test_another_division_than_the_frozen_one_is_refused_before_the_data_set_is_hashed(
    project: Path, arguments: list[str], message: str
) -> None:
    before = state(project)
    for how in ([], ["--dry-run"]):
        code, said = run("extract", *arguments, *CPU, "--cache", "old", *how, cwd=project)
        assert code == 1 and message in said and "--refreeze" in said, said
        assert state(project) == before


def test_a_log_may_lie_in_the_cache_that_is_made(project: Path, tmp_path: Path) -> None:
    for how, n_files in (["--dry-run"], 0), ([], 1):
        arguments = (project / "data", "--cache", "c", "--json-log", "c/log", "--text-model", "none", *CPU, *how)
        assert run("extract", *arguments, "--image-model", project / "clip", cwd=tmp_path)[0] == 0
        assert len(list(tmp_path.rglob("log"))) == n_files
    events = [json.loads(line)["event"] for line in (tmp_path / "c" / "log").read_text().splitlines()]
    assert events[0] == "start" and events[-1] == "end"


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return read_manifest(write_dataset(tmp_path / "d"))


@pytest.fixture
def imagined(tmp_path: Path) -> Cache:
    return Cache.open_or_imagine(tmp_path / "deep" / "c", Defaults("float32", "float16"))


def refusals(manifest: Manifest, cache: Cache, specs: list[Any], **how: Any) -> Iterator[str]:
    """Yield what extraction, forecast and fleet say; each must leave nothing behind."""
    options = how.pop("options", SMALL)
    for call in (
        lambda: extract(manifest, cache, specs, options=options, **how),
        lambda: forecast_extraction(manifest, cache, specs, options=options, **how),
        lambda: extract_on(("0", "1"), manifest, cache, specs, options=options, **how),
    ):
        with pytest.raises(FeatcacheError) as caught:
            call()
        assert not cache.path.parent.exists()
        yield str(caught.value)


@pytest.mark.usefixtures("_unhashed")
@pytest.mark.parametrize("outputs", [(), ("pooled", "pooled"), ("layers:all",), ("../x",), ("Pooled",), ("layers:0",)])
def test_outputs_that_are_no_names_are_refused_before_anything_is_written(
    manifest: Manifest, imagined: Cache, outputs: tuple[str, ...]
) -> None:
    for said in refusals(manifest, imagined, [FakeSpec("text", ("cls",)), FakeSpec("image", outputs)]):
        assert said.startswith(f"image encoder fake-w0 has the outputs {list(outputs)!r}, expected one or more names")


@pytest.mark.usefixtures("_unhashed")
def test_a_data_set_without_contents_is_refused_before_anything_is_written(manifest: Manifest, imagined: Cache) -> None:
    empty = replace(manifest, samples=manifest.samples.select([]))
    for said in refusals(empty, imagined, [IMAGE]):
        assert said == "data set 'd' has no samples, expected at least one"
    with pytest.raises(ManifestError):
        extract(empty, imagined, [], options=SMALL)


@dataclass(frozen=True)
class Checked(FakeSpec):
    """An encoder that can say whether it can be loaded."""

    fault: str = ""

    def check(self) -> None:
        self.log.append(0)
        if self.fault:
            raise ModelError(self.fault)


@pytest.mark.usefixtures("_unhashed")
def test_an_encoder_that_cannot_be_loaded_is_refused_before_anything_is_written(
    manifest: Manifest, imagined: Cache
) -> None:
    for said in refusals(manifest, imagined, [FakeSpec("text", ("cls",)), Checked("image", fault="no weights")]):
        assert said == "no weights"


def test_an_encoder_is_checked_until_each_of_its_outputs_was_stored_once(manifest: Manifest, imagined: Cache) -> None:
    one = Checked("image", ("pooled",))
    forecast_extraction(manifest, imagined, [one], options=SMALL)
    extract(manifest, imagined, [one], options=SMALL)
    assert one.log.count(0) == 2
    extract(manifest, Cache.open(imagined.path), [one], views="clean,hflip", options=SMALL)
    assert one.log.count(0) == 2
    two = Checked("image", ("pooled", "cls"))
    extract(manifest, Cache.open(imagined.path), [two], options=SMALL)
    extract(manifest, Cache.open(imagined.path), [two], options=SMALL)
    assert two.log.count(0) == 1
    captions = Checked("text", ("cls",), fault="nobody looks")
    pictures = replace(manifest, samples=manifest.samples.select([0]))
    pictures = replace(pictures, samples=replace(pictures.samples, caption=StringColumn.from_strings([""])))
    assert extract(pictures, Cache.open(imagined.path), [captions, two], options=SMALL).n_encoded == 0


def test_what_only_loading_tells_of_torchs_own_files_is_refused_too(
    manifest: Manifest, imagined: Cache, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    folder = write_vision(tmp_path / "bare", "vit-bare")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    spec = ImageSpec(resolve_model(str(folder)))
    for said in refusals(manifest, imagined, [spec]):
        assert said.startswith("model 'bare' has no output 'pooled': its pooling layer has no weights")


def test_another_division_is_refused_before_anything_is_hashed(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache.open_or_create(tmp_path / "c", Defaults("float32", "float16"))
    extract(manifest, cache, [IMAGE], options=replace(SMALL, partition=Partition(0, 2)))
    before = state(cache.path)
    with monkeypatch.context() as patch:
        patch.setattr(survey, "scan", None)
        with pytest.raises(FeatcacheError, match=r"in 2 parts, expected --shard i/2, found 0/3"):
            extract(manifest, cache, [IMAGE], options=replace(SMALL, partition=Partition(0, 3)))
    assert state(cache.path) == before
    again = replace(SMALL, partition=Partition(0, 3), refreeze=True)
    assert extract(manifest, cache, [IMAGE], options=again).n_encoded > 0


def test_spectral_outputs_are_some_and_each_once() -> None:
    with pytest.raises(ModelError, match="no spectral output is named, expected some of radial"):
        SpectralSpec(())
    assert SpectralSpec(("grid", "dct", "grid")).outputs == ("grid", "dct")


def test_a_decoder_that_is_not_there_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    data = read_manifest(write_dataset(tmp_path / "d"))
    with pytest.raises(FeatcacheError, match=r"--decoder card .*--decoder"):
        extract(
            data, Cache(tmp_path / "c", Defaults("float32", "float16")), [IMAGE], options=replace(SMALL, decoder="card")
        )
    assert not (tmp_path / "c").exists()
