"""Models of timm against timm's own forward, on the pixels of timm's own transforms."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm_models import TIMM_MODELS, import_timm

from featcache.encoders import vision as vision_module
from featcache.encoders.model_folder import resolve_model
from featcache.encoders.vision import ImageSpec
from featcache.errors import ModelError
from featcache.pictures.decode import decode_rgb
from tests.test_cli import run

from factories import png, write_dataset

SIZES = [(32, 32), (50, 40), (33, 97), (64, 64), (120, 9)]
FILES = [png(i, size) for i, size in enumerate(SIZES)]
PICTURES = [Image.open(io.BytesIO(data)).convert("RGB") for data in FILES]
TOKENS = [name for name, model in TIMM_MODELS.items() if model.prefix is not None]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    import_timm()
    root = tmp_path_factory.mktemp("timm")
    return {name: model.write(root / name) for name, model in TIMM_MODELS.items()}


def spec_of(folder: Path, *outputs: str, **options: Any) -> ImageSpec:
    return ImageSpec(resolve_model(str(folder)), outputs or ("pooled",), **options)


def whole_spec(folder: Path, **options: Any) -> ImageSpec:
    return spec_of(folder, *spec_of(folder).tower.outputs, **options)


def prepared(spec: ImageSpec) -> np.ndarray:
    return np.stack([spec.prepare(decode_rgb(data)) for data in FILES])


@pytest.mark.parametrize("name", TIMM_MODELS)
def test_every_output_equals_that_of_timm(folders: dict[str, Path], name: str) -> None:
    spec = whole_spec(folders[name])
    ours = spec.load("cpu").encode(prepared(spec))
    expected = TIMM_MODELS[name].reference(TIMM_MODELS[name].pixels_of(PICTURES))
    assert set(ours) == set(expected) == set(spec.outputs)
    for output, vectors in ours.items():
        assert spec.widths.get(output, vectors.shape[1]) == vectors.shape[1]
        spread = np.linalg.norm(expected[output] - expected[output].mean(0))
        assert np.linalg.norm(vectors - expected[output]) < 1e-5 * spread, output


def test_what_has_no_tokens_is_pooled_only_and_its_width_comes_with_the_vectors(folders: dict[str, Path]) -> None:
    spec = spec_of(folders["resnet"])
    assert spec.tower.outputs == ("pooled",) and spec.widths == {}
    with pytest.raises(ModelError, match="has no output 'mean'"):
        spec_of(folders["resnet"], "mean")


@pytest.mark.parametrize("name", ["vit", "pe-core", "resnet"])
def test_what_transformers_wrote_has_the_vectors_of_what_timm_wrote(
    folders: dict[str, Path], tmp_path: Path, name: str
) -> None:
    wrapped = whole_spec(TIMM_MODELS[name].write_wrapped(tmp_path / "wrapped"))
    plain = whole_spec(folders[name])
    ours, expected = (one.load("cpu").encode(prepared(one)) for one in (wrapped, plain))
    assert wrapped.folder.model_type == plain.folder.model_type == "timm_wrapper"
    assert wrapped.outputs == plain.outputs
    for output in plain.outputs:
        np.testing.assert_array_equal(ours[output], expected[output], err_msg=output)


@pytest.mark.parametrize("name", TIMM_MODELS)
def test_a_picture_has_the_vectors_of_its_own_in_any_batch(folders: dict[str, Path], name: str) -> None:
    spec = whole_spec(folders[name])
    encoder, batch = spec.load("cpu"), prepared(spec)
    together = encoder.encode(batch)
    for i in (0, len(batch) - 1):
        alone = encoder.encode(batch[i : i + 1])
        for output in spec.outputs:
            np.testing.assert_allclose(alone[output][0], together[output][i], rtol=1e-4, atol=1e-5, err_msg=output)


@pytest.mark.parametrize("name", TOKENS)
def test_layers_alone_come_of_a_model_that_is_cut_off_behind_them(folders: dict[str, Path], name: str) -> None:
    cut = spec_of(folders[name], "layers_mean:1")
    whole = spec_of(folders[name], "layers_mean:1", "pooled")
    ours, expected = (one.load("cpu").encode(prepared(one)) for one in (cut, whole))
    np.testing.assert_array_equal(ours["layers_mean:1"], expected["layers_mean:1"])


@pytest.mark.parametrize("name", TIMM_MODELS)
def test_storing_weights_in_the_dtype_of_the_forward_changes_no_bit(
    folders: dict[str, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = whole_spec(folders[name], compute_dtype="bfloat16")
    lowered = spec.load("cpu").encode(prepared(spec))
    monkeypatch.setattr(vision_module, "lower", lambda model, dtype, but: model)
    cast = spec.load("cpu").encode(prepared(spec))
    for output in spec.outputs:
        np.testing.assert_array_equal(lowered[output], cast[output], err_msg=output)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pe-core", "resnet"])
def test_pictures_are_extracted_learnt_from_detected_and_verified(
    folders: dict[str, Path], tmp_path: Path, name: str
) -> None:
    data = write_dataset(tmp_path / "data", n_captions=12)
    words = ("extract", data, "--text-model", "none", "--image-model", folders[name], "--device", "cpu")
    done = run("featcache", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    checked = run("featcache", "verify", "--canary", "--json", cwd=tmp_path)
    (canary,) = json.loads(checked.stdout)["canaries"]
    assert checked.returncode == 0 and canary["n_checked"] > 0
    trained = run("heads", "train", "--fusion", "image", "--head", "linear", "--out", "run", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    verdict = run("heads", "detect", "run", "--image", data.parent / "0-alpha.png", "--json", cwd=tmp_path)
    assert verdict.returncode == 0, verdict.stderr
    assert json.loads(verdict.stdout)["verdict"] in ("ai", "real")


def test_identities_need_no_timm_and_a_forward_says_what_to_install(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    spec = whole_spec(folders["pe-core"])
    assert spec.fingerprint.identity["model"]["type"] == "timm_wrapper"
    assert prepared(spec).shape == (len(FILES), 32, 32, 3)
    with pytest.raises(
        ModelError, match=r"needs timm, .*pip install 'featcache\[timm\]', with a torchvision"
    ) as caught:
        spec.check()
    assert "\n" not in str(caught.value)


def test_weights_configuration_and_architecture_are_in_the_identity(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["vit"], tmp_path / "other")
    found = [spec_of(folder).fingerprint.short]
    change(folder, lambda config: config["model_args"].update(qk_norm=True))
    found.append(spec_of(folder).fingerprint.short)
    change(folder, lambda config: config.update(architecture="vit_small_patch16_224"))
    found.append(spec_of(folder).fingerprint.short)
    weights = load_file(folder / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, folder / "model.safetensors")
    found.append(spec_of(folder).fingerprint.short)
    assert len(set(found)) == 4


def change(folder: Path, how: Callable[[Any], object]) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    how(config)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (lambda c: c.pop("pretrained_cfg"), "has no pretrained_cfg, which says how pictures"),
        (lambda c: c["pretrained_cfg"].update(crop_mode="border"), "crop_mode is 'border', expected center or squash"),
        (lambda c: c["pretrained_cfg"].update(crop_pct=1.5), "crop_pct is 1.5, expected more than 0 and at most 1"),
        (lambda c: c["pretrained_cfg"].update(input_size=[1, 32, 32]), "expected 3 channels of a square"),
        (lambda c: c["pretrained_cfg"].update(interpolation="random"), "interpolation is 'random', expected one of"),
        (lambda c: c.update(architecture="hf-hub:org/name"), "expected a name of timm's"),
        (lambda c: c.update(architecture="no_such_model"), "cannot be made by timm .*: .*no_such_model"),
        (lambda c: c["model_args"].update(features_only=True), "features_only, which cannot be pooled"),
        (lambda c: c["model_args"].update(checkpoint_path="x.bin"), "multiple values for keyword .*checkpoint_path"),
        (lambda c: c["model_args"].update(depth=3), "lacks 12 parameters of timm's model, first 'blocks.2"),
        (lambda c: c["model_args"].update(depth=1), "has 12 parameters that timm's model has not, first 'blocks.1"),
        (lambda c: c["model_args"].update(embed_dim=32), "cannot be loaded as timm's: .*size mismatch"),
    ],
)
def test_what_cannot_be_honoured_is_refused_in_one_line(
    folders: dict[str, Path], tmp_path: Path, how: Callable[[Any], object], message: str
) -> None:
    folder = shutil.copytree(folders["vit"], tmp_path / "odd")
    change(folder, how)
    with pytest.raises(ModelError, match=message) as caught:
        spec_of(folder).check()
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_tell_their_names_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["vit"], tmp_path / "bin")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"has no model\.safetensors, whose names tell"):
        spec_of(folder)


def test_tokens_that_are_others_than_the_weights_tell_are_refused(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(folders["vit"])
    create = import_timm().create_model

    def create_other(*arguments: Any, **options: Any) -> Any:
        model = create(*arguments, **options)
        model.num_prefix_tokens = 1
        return model

    monkeypatch.setattr(import_timm(), "create_model", create_other)
    with pytest.raises(ModelError, match=r"before the patches\) \(2, 16, 1\), its weights are of \(2, 16, 4\)"):
        spec.check()
