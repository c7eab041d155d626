"""Our encoders against transformers' own models and processors."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from featcache.encoders.loading import resolve_device
from featcache.encoders.text import TextSpec
from featcache.encoders.vision import ImageSpec
from featcache.errors import FingerprintMismatch, ModelError
from featcache.models import resolve_model
from featcache.single import encode_caption, encode_image

from factories import png, write_bert, write_vision

CAPTIONS = ["a red ball", "caption number 7", "a a a a a a a a a a", "zzz", ""]
CLASSES = {
    "clip": "CLIPVisionModel",
    "clip-full": "CLIPVisionModel",
    "vit": "ViTModel",
    "dinov2": "Dinov2Model",
    "siglip": "SiglipVisionModel",
}
PROCESSORS = {"vit": "ViTImageProcessorPil", "siglip": "SiglipImageProcessorPil", "dinov2": "BitImageProcessorPil"}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {kind: write_vision(root / kind, kind) for kind in (*CLASSES, "vit-bare")}


def load_reference(kind: str, folder: Path) -> Any:
    return getattr(transformers, CLASSES[kind]).from_pretrained(folder).eval()


@pytest.mark.parametrize("output", ["cls", "mean", "pooler"])
def test_text_vectors_equal_those_of_transformers(bert: Path, output: str) -> None:
    encoder = TextSpec(resolve_model(str(bert)), (output,)).load("cpu")
    ours = encoder.encode(CAPTIONS)[output]
    model = transformers.AutoModel.from_pretrained(bert).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(bert)
    for caption, vector in zip(CAPTIONS, ours, strict=True):
        with torch.no_grad():
            states = model(**tokenizer(caption, return_tensors="pt"))
        last = states.last_hidden_state[0]
        expected = {"cls": last[0], "mean": last.mean(0), "pooler": states.pooler_output[0]}[output]
        np.testing.assert_allclose(vector, expected.numpy(), atol=2e-6)


def test_a_text_longer_than_the_model_is_cut_on_the_right(bert: Path) -> None:
    spec = TextSpec(resolve_model(str(bert)))
    assert spec.max_length == 32
    encoder = spec.load("cpu")
    long, longer = ("a " * 40).strip(), ("a " * 40 + "red ball").strip()
    vectors = encoder.encode([long, longer])["cls"]
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


def test_the_template_is_what_is_encoded_and_part_of_the_identity(bert: Path) -> None:
    plain, prefixed = (TextSpec(resolve_model(str(bert)), template=t) for t in ("{caption}", "a {caption}"))
    assert prefixed.prepare(b"ball {x}") == "a ball {x}"
    assert plain.fingerprint.digest != prefixed.fingerprint.digest
    with pytest.raises(ModelError, match=r"does not contain \{caption\}"):
        TextSpec(resolve_model(str(bert)), template="caption")


@pytest.mark.parametrize("kind", list(CLASSES))
@pytest.mark.parametrize("output", ["pooled", "cls"])
def test_image_vectors_equal_those_of_transformers(vision: dict[str, Path], kind: str, output: str) -> None:
    if (kind, output) == ("siglip", "cls"):
        pytest.skip("SigLIP has no class token; see the test that it is refused")
    folder = vision[kind]
    spec = ImageSpec(resolve_model(str(folder)), (output,))
    files = [png(i, size) for i, size in enumerate([(32, 32), (50, 40), (33, 97), (8, 8)])]
    ours = spec.load("cpu").encode([spec.prepare(data) for data in files])[output]
    processor = getattr(transformers, PROCESSORS.get(kind, "CLIPImageProcessorPil")).from_pretrained(folder)
    pictures = [Image.open(io.BytesIO(data)).convert("RGB") for data in files]
    pixels = processor(pictures, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        states = load_reference(kind, folder)(pixel_values=pixels)
    expected = states.pooler_output if output == "pooled" else states.last_hidden_state[:, 0]
    np.testing.assert_allclose(ours, expected.numpy(), atol=5e-6)


def test_the_pooled_output_of_a_whole_clip_is_before_the_projection(vision: dict[str, Path]) -> None:
    spec = ImageSpec(resolve_model(str(vision["clip-full"])))
    vector = spec.load("cpu").encode([spec.prepare(png(0))])["pooled"]
    assert vector.shape == (1, 16)  # the projected vector has 8


def test_an_output_without_trained_weights_is_refused_with_those_there_are(vision: dict[str, Path]) -> None:
    bare = resolve_model(str(vision["vit-bare"]))
    with pytest.raises(ModelError, match="has no output 'pooled': its pooling layer has no weights; it has: cls"):
        ImageSpec(bare, ("pooled",)).load("cpu")
    assert ImageSpec(bare, ("cls",)).load("cpu") is not None
    with pytest.raises(ModelError, match="has no output 'cls'; it has: pooled"):
        ImageSpec(resolve_model(str(vision["siglip"])), ("cls",))


def test_weights_of_which_a_needed_part_is_missing_are_refused(vision: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "holes"
    folder.mkdir()
    for file in vision["clip"].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if "patch_embedding" in name)
    save_file({k: v for k, v in weights.items() if k != lost}, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"lacks 1 parameters of CLIPVisionModel, first .*patch_embedding"):
        ImageSpec(resolve_model(str(folder))).load("cpu")


def test_weights_as_bin_go_through_the_weights_only_loader(vision: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        (folder / name).write_bytes((vision["clip"] / name).read_bytes())
    torch.save(load_file(vision["clip"] / "model.safetensors"), folder / "pytorch_model.bin")
    one, two = (ImageSpec(resolve_model(str(f))) for f in (vision["clip"], folder))
    pixels = [one.prepare(png(3))]
    np.testing.assert_array_equal(one.load("cpu").encode(pixels)["pooled"], two.load("cpu").encode(pixels)["pooled"])


def test_a_pickle_with_code_in_it_is_refused(vision: dict[str, Path], tmp_path: Path) -> None:
    folder, trap = tmp_path / "evil", tmp_path / "owned"
    folder.mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        (folder / name).write_bytes((vision["clip"] / name).read_bytes())

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (trap,)

    torch.save({"x": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="a pickle that holds more than tensors"):
        ImageSpec(resolve_model(str(folder))).load("cpu")
    assert not trap.exists()


def test_half_precision_weights_are_computed_in_the_dtype_that_was_asked_for(bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "half"
    model = transformers.AutoModel.from_pretrained(bert).half()
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((bert / name).read_bytes())
    encoder = TextSpec(resolve_model(str(folder))).load("cpu")
    assert {p.dtype for p in encoder._model.parameters()} == {torch.float32}
    assert encoder.encode(["a"])["cls"].dtype == np.float32


def test_bfloat16_is_close_to_float32_and_another_producer(vision: dict[str, Path]) -> None:
    folder = resolve_model(str(vision["clip"]))
    exact, fast = ImageSpec(folder), ImageSpec(folder, compute_dtype="bfloat16")
    assert exact.fingerprint.digest != fast.fingerprint.digest
    pixels = [exact.prepare(png(i, (40, 40))) for i in range(8)]
    a, b = (spec.load("cpu").encode(pixels)["pooled"] for spec in (exact, fast))
    centred = a - a.mean(0)
    assert 0 < np.linalg.norm(a - b) < 0.1 * np.linalg.norm(centred)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("clip", {"model_type": "resnet"}, "has type 'resnet', expected one of clip"),
        ("clip", {"image_size": 48}, "takes 48 × 48 pixels, its preprocessor_config.json makes 32 × 32"),
    ],
)
def test_a_model_that_cannot_serve_is_refused_before_it_is_loaded(
    vision: dict[str, Path], tmp_path: Path, kind: str, change: dict[str, Any], message: str
) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    for file in vision[kind].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ModelError, match=message):
        ImageSpec(resolve_model(str(folder)))


def test_unknown_outputs_are_refused(bert: Path, vision: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match="text output 'max' is unknown, expected one of cls, mean, pooler"):
        TextSpec(resolve_model(str(bert)), ("max",))
    with pytest.raises(ModelError, match="image output 'projected' is unknown"):
        ImageSpec(resolve_model(str(vision["clip"])), ("projected",))
    with pytest.raises(ModelError, match="no BERT-family text encoder"):
        TextSpec(resolve_model(str(vision["clip-full"])))


def test_cuda_without_cuda_names_the_installed_torch() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ModelError, match=f"no usable CUDA device; torch {torch.__version__.split('+')[0]}"):
        resolve_device("cuda")
    assert resolve_device("auto") == "cpu"


def test_one_picture_encoded_alone_equals_the_row_of_its_batch(vision: dict[str, Path], bert: Path) -> None:
    spec = ImageSpec(resolve_model(str(vision["vit"])), ("pooled", "cls"))
    files = [png(i) for i in range(3)]
    batch = spec.load("cpu").encode([spec.prepare(f) for f in files])
    alone = encode_image(spec.fingerprint.to_document(), files[1], outputs=["cls", "pooled"], device="cpu")
    expected = np.concatenate([batch["cls"][1], batch["pooled"][1]]).astype(np.float16)
    np.testing.assert_allclose(alone, expected, rtol=2e-3, atol=1e-6)
    text = TextSpec(resolve_model(str(bert)))
    vector = encode_caption(text.fingerprint.to_document(), "a red ball", outputs=["cls"], device="cpu")
    np.testing.assert_allclose(vector, text.load("cpu").encode(["a red ball"])["cls"][0], rtol=2e-3, atol=1e-5)


def test_another_model_is_refused_by_the_field_that_differs(vision: dict[str, Path], tmp_path: Path) -> None:
    spec = ImageSpec(resolve_model(str(vision["clip"])))
    other = write_vision(tmp_path / "other", "clip", seed=1)
    with pytest.raises(FingerprintMismatch, match=r"model.weights: .* → "):
        encode_image(spec.fingerprint.to_document(), png(0), outputs=["pooled"], model=str(other), device="cpu")
    with pytest.raises(ModelError, match="name its place with --image-model"):
        encode_image(spec.fingerprint.to_document(), png(0), outputs=["pooled"], model="/gone", device="cpu")
