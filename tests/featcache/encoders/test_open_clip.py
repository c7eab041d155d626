"""Vision towers in OpenCLIP's files against OpenCLIP's forward."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip_models as models
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from featcache.encoders.model_folder import resolve_model
from featcache.encoders.vision import ImageSpec
from featcache.errors import ModelError
from featcache.pictures.decode import decode_rgb
from tests.test_cli import run

from factories import png, write_dataset

SIZES = [(32, 32), (50, 40), (33, 97), (8, 8), (120, 9)]
FILES = [png(i, size) for i, size in enumerate(SIZES)]
PICTURES = [Image.open(io.BytesIO(data)).convert("RGB") for data in FILES]


def spec_of(folder: Path, *outputs: str, **options: Any) -> ImageSpec:
    return ImageSpec(resolve_model(str(folder)), outputs or ("pooled",), **options)


def whole_spec(folder: Path) -> ImageSpec:
    return spec_of(folder, *spec_of(folder).tower.outputs)


def encode(spec: ImageSpec) -> dict[str, np.ndarray]:
    return dict(spec.load("cpu").encode(np.stack([spec.prepare(decode_rgb(data)) for data in FILES])))


@pytest.mark.parametrize("as_bin", [False, True])
@pytest.mark.parametrize("quick_gelu", [False, True])
def test_every_output_equals_that_of_open_clip(tmp_path: Path, quick_gelu: bool, as_bin: bool) -> None:
    folder = models.write(tmp_path / "m", as_bin=as_bin, model_cfg={"quick_gelu": quick_gelu})
    spec = whole_spec(folder)
    expected = models.reference(PICTURES, quick_gelu=quick_gelu)
    ours = encode(spec)
    assert set(ours) == set(expected)
    for output, vectors in ours.items():
        assert vectors.shape == (len(FILES), spec.widths[output])
        spread = np.linalg.norm(expected[output] - expected[output].mean(0))
        assert np.linalg.norm(vectors - expected[output]) < 1e-5 * spread, output


def test_a_picture_has_the_vectors_of_its_own_in_any_batch(tmp_path: Path) -> None:
    spec = whole_spec(models.write(tmp_path / "m"))
    encoder, batch = spec.load("cpu"), np.stack([spec.prepare(decode_rgb(data)) for data in FILES])
    together = encoder.encode(batch)
    for i in range(len(batch)):
        alone = encoder.encode(batch[i : i + 1])
        for output in spec.outputs:
            np.testing.assert_allclose(alone[output][0], together[output][i], rtol=1e-4, atol=1e-5, err_msg=output)


def test_pictures_are_extracted_learnt_from_detected_and_verified(tmp_path: Path) -> None:
    data, model = write_dataset(tmp_path / "data", n_captions=12), models.write(tmp_path / "model")
    outputs = ("--image-outputs", "projected")
    words = ("extract", data, "--text-model", "none", "--image-model", model, "--device", "cpu", *outputs)
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


def test_the_identity_covers_the_files_of_open_clip(tmp_path: Path) -> None:
    folder = models.write(tmp_path / "a")
    found = [spec_of(folder).fingerprint]
    found.append(spec_of(models.write(tmp_path / "b", model_cfg={"quick_gelu": True})).fingerprint)
    save_file({k: v + 1 for k, v in models.make_weights().items()}, folder / "open_clip_model.safetensors")
    found.append(spec_of(folder).fingerprint)
    assert len({one.short for one in found}) == 3
    assert {one.identity["model"]["type"] for one in found} == {"open_clip"}


def test_files_of_transformers_are_taken_before_those_of_open_clip(tmp_path: Path) -> None:
    folder = models.write(tmp_path / "m")
    (folder / "config.json").write_text(json.dumps({"model_type": "clip"}), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"weights")
    found = resolve_model(str(folder))
    assert found.model_type == "clip" and found.weight_files[0].name == "model.safetensors"


@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
def test_pictures_are_brought_to_the_size_as_open_clip_says(tmp_path: Path, resize_mode: str) -> None:
    spec = spec_of(models.write(tmp_path / "m", preprocess_cfg={"resize_mode": resize_mode, "size": [32, 32]}))
    for data, picture in zip(FILES, PICTURES, strict=True):
        expected = models.timm_resized(picture, 32, 1.0, "squash" if resize_mode == "squash" else "center")
        np.testing.assert_array_equal(spec.prepare(decode_rgb(data)), np.array(expected))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision_cfg": {"timm_model_name": "vit_medium"}}, "has a vision tower of timm, 'vit_medium', in OpenCLIP's"),
        ({"vision_cfg": {"layers": [3, 4, 6, 3]}}, r"has layers \[3, 4, 6, 3\], .*only plain vision transformers"),
        ({"vision_cfg": {"pool_type": "avg"}}, "has pool_type 'avg', which transformers' CLIP has not; use a plain"),
        ({"vision_cfg": {"no_ln_pre": True}}, "has no_ln_pre True, which transformers' CLIP has not"),
        ({"vision_cfg": {"attentional_pool": True}}, "has attentional_pool True, which"),
        ({"vision_cfg": {"of_tomorrow": 1}}, "has of_tomorrow 1, which"),
        ({"vision_cfg": {"mlp_ratio": "4"}}, "has mlp_ratio '4', expected a number"),
        ({"vision_cfg": {"head_width": 64}}, "has width 16, expected a multiple of head_width 64"),
        (
            {"vision_cfg": {"layers": 3}},
            "lacks 16 parameters of CLIPVisionModelWithProjection, first '.*encoder.layers.2",
        ),
        (
            {"vision_cfg": {"layers": 1}},
            "has 16 weights that .* leaves out, first 'encoder.layers.1.*is of another model",
        ),
        ({"vision_cfg": {"mlp_ratio": 4.0}}, "cannot be loaded as CLIPVisionModelWithProjection: .*size mismatch"),
        ({"model_cfg": {"embed_dim": None}}, "has embed_dim None, expected a whole number"),
        ({"model_cfg": {"vision_cfg": None}}, "has no model_cfg with a vision_cfg"),
        ({"preprocess_cfg": {"resize_mode": "longest"}}, "resize_mode is 'longest', expected shortest or squash"),
        ({"preprocess_cfg": {"size": 48}}, "size is 48, expected that of the model, 32 × 32"),
    ],
)
def test_what_transformers_clip_is_not_is_refused_in_one_line(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        spec_of(models.write(tmp_path / "odd", **changes), "projected").check()
    assert "\n" not in str(caught.value)


def test_another_picture_size_is_that_of_transformers_clip(tmp_path: Path) -> None:
    import transformers

    spec = spec_of(models.write(tmp_path / "m"), "pooled", image_size=48)
    encoder = spec.load("cpu")
    batch = np.stack([spec.prepare(decode_rgb(data)) for data in FILES])
    assert batch.shape[1:] == (48, 48, 3)
    inputs = encoder._feed(torch.from_numpy(batch))
    tower = transformers.CLIPVisionModel(encoder._tower.config).eval()
    tower.load_state_dict(encoder._tower.state_dict())
    with torch.no_grad():
        expected = tower(inputs["pixel_values"], interpolate_pos_encoding=True).pooler_output.numpy()
    np.testing.assert_allclose(encoder.encode(batch)["pooled"], expected, rtol=1e-4, atol=1e-5)


def test_settings_that_change_nothing_are_taken(tmp_path: Path) -> None:
    plain = {"patch_dropout": 0.5, "output_tokens": True, "pool_type": "tok", "no_ln_pre": False, "timm_pool": "avg",
             "ls_init_value": None, "attn_pooler_heads": 8}  # fmt: skip
    ours = encode(spec_of(models.write(tmp_path / "a", vision_cfg=plain)))
    np.testing.assert_array_equal(ours["pooled"], encode(spec_of(models.write(tmp_path / "b")))["pooled"])


def test_weights_that_are_damaged_or_a_program_are_refused(tmp_path: Path) -> None:
    folder = models.write(tmp_path / "cut", as_bin=True)
    file = folder / "open_clip_pytorch_model.bin"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ModelError, match="is damaged or cut off: "):
        spec_of(folder).check()
    torch.save({"visual.proj": Path("x")}, file)
    with pytest.raises(ModelError, match="a pickle that holds more than tensors: refused"):
        spec_of(folder).check()


def test_a_tower_without_weights_of_its_projection_has_the_other_outputs(tmp_path: Path) -> None:
    folder = models.write(tmp_path / "m")
    weights = load_file(folder / "open_clip_model.safetensors")
    del weights["visual.proj"]
    save_file(weights, folder / "open_clip_model.safetensors")
    with pytest.raises(ModelError, match="no output 'projected': it has no weights of a projection"):
        spec_of(folder, "projected")
    spec_of(folder, "pooled").check()
