"""Every family of vision models against transformers' own models and processors."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from featcache.encoders import vision as vision_module
from featcache.encoders.model_folder import resolve_model
from featcache.encoders.vision import ImageSpec
from featcache.errors import ModelError
from featcache.pictures.decode import decode_rgb
from tests.families import FAMILIES

from factories import png, write_vision

SIZES = [(32, 32), (50, 40), (33, 97), (8, 8), (120, 9)]
FILES = [png(i, size) for i, size in enumerate(SIZES)]
PICTURES = [Image.open(io.BytesIO(data)).convert("RGB") for data in FILES]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {name: family.write(root / name) for name, family in FAMILIES.items()}


def spec_of(folder: Path, *outputs: str, **options: Any) -> ImageSpec:
    return ImageSpec(resolve_model(str(folder)), outputs or ("mean",), **options)


def all_outputs(folder: Path) -> tuple[str, ...]:
    return spec_of(folder).tower.outputs


def prepared(spec: ImageSpec) -> np.ndarray:
    return np.stack([spec.prepare(decode_rgb(data)) for data in FILES])


def assert_close(ours: np.ndarray, expected: np.ndarray, within: float, name: str) -> None:
    """Compare relative to how much pictures differ from each other."""
    spread = np.linalg.norm(expected - expected.mean(0))
    assert np.linalg.norm(ours - expected) < within * spread, name


def check_outputs(name: str, folder: Path, spec: ImageSpec, inputs: Any, within: float, **options: Any) -> None:
    ours = spec.load("cpu").encode(prepared(spec))
    expected = FAMILIES[name].reference(folder, inputs, **options)
    assert set(ours) == set(expected) == set(spec.outputs)
    for output, vectors in ours.items():
        assert vectors.shape == (len(FILES), spec.widths[output])
        assert_close(vectors, expected[output], within, output)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_output_equals_that_of_transformers(folders: dict[str, Path], name: str) -> None:
    folder = folders[name]
    spec = spec_of(folder, *all_outputs(folder))
    # DINOv3's own pixels are not rounded to levels before they are normalised.
    within = 0.02 if name == "dinov3" else 1e-5
    check_outputs(name, folder, spec, FAMILIES[name].inputs(folder, PICTURES), within)


def test_dinov3_on_our_pixels_is_exactly_dinov3(folders: dict[str, Path]) -> None:
    spec = spec_of(folders["dinov3"], *all_outputs(folders["dinov3"]))
    feed = spec.load("cpu")._feed
    check_outputs("dinov3", folders["dinov3"], spec, feed(torch.from_numpy(prepared(spec))), 1e-5)


@pytest.mark.parametrize("name", ["dinov3", "naflex", "aimv2"])
def test_a_picture_has_the_vectors_of_its_own_in_any_batch(folders: dict[str, Path], name: str) -> None:
    spec = spec_of(folders[name], *all_outputs(folders[name]))
    encoder, batch = spec.load("cpu"), prepared(spec)
    together = encoder.encode(batch)
    for i in range(len(batch)):
        alone = encoder.encode(batch[i : i + 1])
        for output in spec.outputs:
            np.testing.assert_allclose(alone[output][0], together[output][i], rtol=1e-4, atol=1e-5, err_msg=output)


@pytest.mark.parametrize("name", FAMILIES)
def test_storing_weights_in_the_dtype_of_the_forward_changes_no_bit(
    folders: dict[str, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(folders[name], *all_outputs(folders[name]), compute_dtype="bfloat16")
    lowered = spec.load("cpu").encode(prepared(spec))
    monkeypatch.setattr(vision_module, "lower", lambda model, dtype, but: model)
    cast = spec.load("cpu").encode(prepared(spec))
    for output in spec.outputs:
        np.testing.assert_array_equal(lowered[output], cast[output], err_msg=output)


@pytest.mark.parametrize("name", ["dinov3", "metaclip2", "metaclip2-tower", "deit", "beit", "aimv2", "naflex"])
def test_a_model_of_which_a_part_is_missing_is_refused_in_one_line(
    folders: dict[str, Path], tmp_path: Path, name: str
) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "half"
    shutil.copytree(folders[name], folder)
    weights = load_file(folder / "model.safetensors")
    lost = next(key for key in weights if "text_model" not in key and "patch_embed" in key and key.endswith("weight"))
    save_file({k: v for k, v in weights.items() if k != lost}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"^model 'half' lacks 1 parameters of \w+, first ") as caught:
        spec_of(folder).check()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "other"), [("dinov3", "deit"), ("aimv2", "naflex"), ("naflex", "metaclip2")])
def test_weights_of_another_family_are_refused_in_one_line(
    folders: dict[str, Path], tmp_path: Path, name: str, other: str
) -> None:
    shutil.copytree(folders[name], tmp_path / name)
    shutil.copy(folders[other] / "model.safetensors", tmp_path / name / "model.safetensors")
    with pytest.raises(
        ModelError, match=rf"^model '{name}' (lacks \d+ parameters of|cannot be loaded as) \w+"
    ) as caught:
        spec_of(tmp_path / name).check()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["deit", "beit", "data2vec", "aimv2", "naflex"])
def test_what_has_no_weights_of_its_pooling_layer_has_the_other_outputs(
    folders: dict[str, Path], tmp_path: Path, name: str
) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "bare"
    shutil.copytree(folders[name], folder)
    weights = load_file(folder / "model.safetensors")
    part = ("pooler.", "head.")
    kept = {k: v for k, v in weights.items() if not any(f".{p}" in f".{k}" for p in part)}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="has no output 'pooled': its pooling layer has no weights; it has: "):
        spec_of(folder, "pooled")
    spec = spec_of(folder, *all_outputs(folder))
    whole = spec_of(folders[name], *spec.outputs)
    ours, expected = (one.load("cpu").encode(prepared(one)) for one in (spec, whole))
    for output in spec.outputs:
        np.testing.assert_array_equal(ours[output], expected[output])


def test_a_forward_over_patches_is_not_compiled_and_says_why(folders: dict[str, Path]) -> None:
    encoder = spec_of(folders["naflex-tower"]).load("cpu", compile=True)
    assert encoder.fallback == "each picture has a shape of its own"


def test_rows_that_say_nothing_of_their_shape_are_encoded_all_the_same(folders: dict[str, Path]) -> None:
    spec = spec_of(folders["naflex-tower"], "mean", "pooled")
    shape = spec.prepare(PICTURES[0]).shape
    made_up = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    for batch in (made_up, np.zeros_like(made_up)):
        assert all(np.isfinite(vectors).all() for vectors in spec.load("cpu").encode(batch).values())


@pytest.mark.parametrize("name", ["dinov3", "metaclip2", "metaclip2-tower", "deit", "aimv2-tower"])
def test_pictures_of_another_size_have_interpolated_positions(folders: dict[str, Path], name: str) -> None:
    folder = folders[name]
    spec = spec_of(folder, *(output for output in all_outputs(folder) if output != "projected"), image_size=64)
    feed = spec.load("cpu")._feed(torch.from_numpy(prepared(spec)))
    inputs = {"pixel_values": feed["pixel_values"]}
    if name != "dinov3":
        edges = (
            {"shortest_edge": 72} if FAMILIES[name].processor == "CLIPImageProcessor" else {"height": 72, "width": 72}
        )
        crop = {"height": 64, "width": 64}
        reference = FAMILIES[name].inputs(folder, PICTURES, size=edges, crop_size=crop)
        np.testing.assert_allclose(inputs["pixel_values"], reference["pixel_values"], atol=1e-5)
    assert inputs["pixel_values"].shape[2:] == (64, 64)
    ours = spec.load("cpu").encode(prepared(spec))
    options = {} if name in ("dinov3", "aimv2-tower") else {"interpolate_pos_encoding": True}
    expected = replace(FAMILIES[name], lacks=frozenset({"projected"})).reference(folder, inputs, **options)
    for output, vectors in ours.items():
        assert_close(vectors, expected[output], 1e-5, output)


@pytest.mark.parametrize(
    ("kind", "model", "prefix"),
    [("clip-full", "CLIPVisionModel", 1), ("vit", "ViTModel", 1), ("siglip", "SiglipVisionModel", 0),
     ("dinov2", "Dinov2Model", 1)],
)  # fmt: skip
def test_families_that_were_there_before_take_another_size_too(
    tmp_path: Path, kind: str, model: str, prefix: int
) -> None:
    folder = write_vision(tmp_path / kind, kind)
    spec = spec_of(folder, "mean", "pooled", image_size=64)
    pixels = spec.load("cpu")._feed(torch.from_numpy(prepared(spec)))["pixel_values"]
    reference = getattr(transformers, model).from_pretrained(folder).eval()
    with torch.no_grad():
        options = {} if kind == "dinov2" else {"interpolate_pos_encoding": True}
        states = reference(pixel_values=pixels, **options)
    assert pixels.shape[2:] == (64, 64)
    ours = spec.load("cpu").encode(prepared(spec))
    np.testing.assert_allclose(ours["pooled"], states.pooler_output, atol=5e-6)
    np.testing.assert_allclose(ours["mean"], states.last_hidden_state[:, prefix:].mean(1), atol=5e-6)


@pytest.mark.parametrize(
    ("name", "chosen", "message"),
    [
        ("beit", {"image_size": 64}, "takes 32 × 32 pixels only: its positions are not interpolated"),
        ("aimv2", {"image_size": 64}, "takes 32 × 32 pixels only: its positions are not interpolated"),
        ("deit", {"image_size": 50}, "image size 50 is no multiple of 16, the side of a patch of model 'deit'"),
        ("naflex", {"image_size": 64}, "neither image size nor fit can be chosen"),
        ("naflex", {"fit": "pad"}, "neither image size nor fit can be chosen"),
        ("dinov3", {"fit": "stretch"}, "fit 'stretch' is unknown"),
    ],
)
def test_a_size_that_a_model_cannot_take_is_refused(
    folders: dict[str, Path], name: str, chosen: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        spec_of(folders[name], **chosen)


def test_without_a_head_the_mean_of_the_patches_is_what_is_meant(folders: dict[str, Path]) -> None:
    defaults = {name: spec_of(folders[name]).tower.default_output for name in FAMILIES}
    assert {name for name, output in defaults.items() if output == "mean"} == {"aimv2-tower"}
    assert set(defaults.values()) == {"mean", "pooled"}
    with pytest.raises(ModelError, match="has no output 'pooled'; it has: mean, layers_mean:1-2"):
        spec_of(folders["aimv2-tower"], "pooled")


def changed(folder: Path, target: Path, file: str, **changes: Any) -> Path:
    shutil.copytree(folder, target)
    config = json.loads((target / file).read_text(encoding="utf-8"))
    (target / file).write_text(json.dumps(config | changes), encoding="utf-8")
    return target


@pytest.mark.parametrize(("name", "change"), [("deit", {"crop_size": 24}), ("naflex", {"max_num_patches": 16})])
def test_two_files_on_pictures_may_say_the_same_but_no_two_things(
    folders: dict[str, Path], tmp_path: Path, name: str, change: dict[str, Any]
) -> None:
    folder = shutil.copytree(folders[name], tmp_path / "m")
    own = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    expected = spec_of(folder).fingerprint.digest
    both = folder / "processor_config.json"
    both.write_text(json.dumps({"image_processor": own | {"do_convert_rgb": None}}), encoding="utf-8")
    assert spec_of(folder).fingerprint.digest == expected
    both.write_text(json.dumps({"image_processor": own | change}), encoding="utf-8")
    with pytest.raises(ModelError, match=r"in two ways: remove the one that is wrong"):
        spec_of(folder)


@pytest.mark.parametrize(
    ("name", "file", "changes", "message"),
    [
        ("dinov3", "config.json", {"model_type": "dinov3_convnext"}, "has no tokens; use one of DINOv3's vision tran"),
        ("beit", "config.json", {"image_size": 48}, "takes 48 × 48 pixels, its preprocessor_config.json makes 32 × 32"),
        ("naflex-tower", "config.json", {"patch_size": 16}, "takes patches of side 16, its preprocessing makes 8"),
        ("naflex", "preprocessor_config.json", {"image_processor_type": "ViTImageProcessor"},
         "expected Siglip2ImageProcessor for a model that takes patches"),
        ("naflex", "preprocessor_config.json", {"do_resize": False}, "not to resize, or to crop"),
        ("naflex", "preprocessor_config.json", {"max_num_patches": 0}, "max_num_patches is 0"),
        ("deit", "preprocessor_config.json", {"image_processor_type": "Siglip2ImageProcessor", "crop_size": None},
         "image_processor_type is 'Siglip2ImageProcessor', expected one of"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused_before_it_is_loaded(
    folders: dict[str, Path], tmp_path: Path, name: str, file: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        spec_of(changed(folders[name], tmp_path / "odd", file, **changes))
