"""Our encoders against transformers' own models and processors."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from featcache.encoders import vision as vision_module
from featcache.encoders.loading import resolve_device
from featcache.encoders.model_folder import resolve_model
from featcache.encoders.single import encode_caption, encode_image
from featcache.encoders.text import TextSpec
from featcache.encoders.vision import ImageSpec
from featcache.errors import FeatcacheError, FingerprintMismatch, ModelError
from featcache.identity.outputs import abbreviate
from featcache.pictures.decode import decode_rgb

from factories import png, write_bert, write_vision

CAPTIONS = ["a red ball", "caption number 7", "a a a a a a a a a a", "zzz", ""]
CLASSES = {
    "clip": "CLIPVisionModel",
    "clip-full": "CLIPVisionModel",
    "vit": "ViTModel",
    "dinov2": "Dinov2Model",
    "siglip": "SiglipVisionModel",
    "dinov2-registers": "Dinov2WithRegistersModel",
}
PROCESSORS = {
    "vit": "ViTImageProcessorPil",
    "siglip": "SiglipImageProcessorPil",
    "dinov2": "BitImageProcessorPil",
    "dinov2-registers": "BitImageProcessorPil",
}
N_PREFIX = {"siglip": 0, "dinov2-registers": 4}
OUTPUTS = ("pooled", "cls", "mean", "projected", "layers:1", "layers:2", "layers_mean:1", "layers_mean:2")
HAS = {kind: set(OUTPUTS) - {"projected"} for kind in CLASSES}
HAS |= {"clip-full": set(OUTPUTS), "siglip": {"pooled", "mean", "layers_mean:1", "layers_mean:2"}}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    kinds = [kind for kind in (*CLASSES, "vit-bare") if kind != "dinov2-registers"]
    folders = {kind: write_vision(root / kind, kind) for kind in kinds}
    return folders | {"dinov2-registers": write_registers(root / "dinov2-registers", folders["dinov2"])}


def write_registers(folder: Path, plain: Path) -> Path:
    """Save a tiny random DINOv2 with three register tokens."""
    config = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.Dinov2WithRegistersModel(
            transformers.Dinov2WithRegistersConfig(**config, num_register_tokens=3)
        )
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_bytes((plain / "preprocessor_config.json").read_bytes())
    return folder


def prepared(spec: ImageSpec, *files: bytes) -> np.ndarray:
    return np.stack([spec.prepare(decode_rgb(data)) for data in files])


def image_spec(folder: Path, *outputs: str, **options: Any) -> ImageSpec:
    return ImageSpec(resolve_model(str(folder)), outputs or ("pooled",), **options)


def load_reference(kind: str, folder: Path) -> Any:
    return getattr(transformers, CLASSES[kind]).from_pretrained(folder).eval()


@pytest.mark.parametrize("output", ["cls", "mean", "pooler", "layers:1", "layers:2"])
def test_text_vectors_equal_those_of_transformers(bert: Path, output: str) -> None:
    encoder = TextSpec(resolve_model(str(bert)), (output,)).load("cpu")
    ours = encoder.encode(CAPTIONS)[output]
    model = transformers.AutoModel.from_pretrained(bert).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(bert)
    for caption, vector in zip(CAPTIONS, ours, strict=True):
        with torch.no_grad():
            states = model(**tokenizer(caption, return_tensors="pt"), output_hidden_states=True)
        last = states.last_hidden_state[0]
        pooled = {"cls": last[0], "mean": last.mean(0), "pooler": states.pooler_output[0]}
        expected = pooled | {f"layers:{k}": states.hidden_states[k][0, 0] for k in (1, 2)}
        expected = expected[output]
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
    assert prefixed.prepare("ball {x}") == "a ball {x}"
    assert plain.fingerprint.digest != prefixed.fingerprint.digest
    with pytest.raises(ModelError, match=r"does not contain \{caption\}"):
        TextSpec(resolve_model(str(bert)), template="caption")


@pytest.mark.parametrize("kind", list(CLASSES))
def test_image_vectors_equal_those_of_transformers(vision: dict[str, Path], kind: str) -> None:
    spec = image_spec(vision[kind], *(output for output in OUTPUTS if output in HAS[kind]))
    files = [png(i, size) for i, size in enumerate([(32, 32), (50, 40), (33, 97), (8, 8)])]
    ours = spec.load("cpu").encode(prepared(spec, *files))
    processor = getattr(transformers, PROCESSORS.get(kind, "CLIPImageProcessorPil")).from_pretrained(vision[kind])
    pictures = [Image.open(io.BytesIO(data)).convert("RGB") for data in files]
    pixels = processor(pictures, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        states = load_reference(kind, vision[kind])(pixel_values=pixels, output_hidden_states=True)
    last = states.last_hidden_state
    expected = {"pooled": states.pooler_output, "cls": last[:, 0], "mean": last[:, N_PREFIX.get(kind, 1) :].mean(1)}
    expected |= {f"layers:{k}": states.hidden_states[k][:, 0] for k in (1, 2)}
    expected |= {f"layers_mean:{k}": states.hidden_states[k][:, N_PREFIX.get(kind, 1) :].mean(1) for k in (1, 2)}
    if kind == "clip-full":
        with torch.no_grad():
            whole = transformers.CLIPModel.from_pretrained(vision[kind]).eval()
            expected["projected"] = whole.get_image_features(pixel_values=pixels).pooler_output
    assert set(ours) == HAS[kind]
    for output, vectors in ours.items():
        np.testing.assert_allclose(vectors, expected[output].numpy(), atol=5e-6, err_msg=output)
        assert vectors.shape == (4, spec.widths[output])
        assert vectors.base is None or vectors.base.nbytes == vectors.nbytes  # keeps no hidden states in memory


@pytest.mark.parametrize("kind", list(CLASSES))
def test_what_a_model_does_not_have_is_refused_with_what_it_has(vision: dict[str, Path], kind: str) -> None:
    why = {("clip", "projected"): ": it has no weights of a projection"}
    for output in (set(OUTPUTS) - HAS[kind]) | {"layers:3", "best"}:
        said = f"has no output '{output}'{why.get((kind, output), '')}; it has: {abbreviate(HAS[kind])}"
        with pytest.raises(ModelError, match=rf"^model '{kind}' \(\w+\) {said}$"):
            image_spec(vision[kind], output)


UNTRAINED = [
    ("clip", "projected", "it has no weights of a projection; it has: cls, mean, pooled, layers:1-2, layers_mean:1-2"),
    ("vit", "pooled", "its pooling layer has no weights; it has: cls, mean, layers:1-2, layers_mean:1-2"),
    ("bert", "pooler", "its pooling layer has no weights; it has: cls, last, mean, layers:1-2"),
]


def untrained(folder: Path, source: Path, *, as_bin: bool) -> Path:
    """Copy a model without the weights of its pooling layer."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, folder)
    weights = {name: x for name, x in load_file(source / "model.safetensors").items() if "pooler" not in name}
    if as_bin:
        (folder / "model.safetensors").unlink()
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(("kind", "output", "message"), UNTRAINED)
def test_an_output_of_which_there_are_no_weights_is_refused_by_their_names(
    vision: dict[str, Path], bert: Path, tmp_path: Path, kind: str, output: str, message: str
) -> None:
    folder = resolve_model(str(untrained(tmp_path / kind, (vision | {"bert": bert})[kind], as_bin=False)))
    spec: Any = TextSpec if kind == "bert" else ImageSpec
    with pytest.raises(ModelError, match=rf"^model '{kind}' \(\w+\) has no output '{output}': {message}$"):
        spec(folder, (output,))
    spec(folder, ("cls",)).check()


@pytest.mark.parametrize(("kind", "output", "message"), UNTRAINED)
def test_an_output_of_which_torchs_own_file_has_no_weights_is_refused_by_a_check(
    vision: dict[str, Path], bert: Path, tmp_path: Path, kind: str, output: str, message: str
) -> None:
    folder = resolve_model(str(untrained(tmp_path / kind, (vision | {"bert": bert})[kind], as_bin=True)))
    spec: Any = TextSpec if kind == "bert" else ImageSpec
    with pytest.raises(ModelError, match=f"^model '{kind}' has no output '{output}': {message}$"):
        spec(folder, (output,)).check()
    spec(folder, ("cls",)).check()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": "wide"}, "model 'odd' cannot be loaded|tokenizer of model 'odd' cannot be loaded"),
        ({"hidden_size": 32}, "model 'odd' cannot be loaded as AutoModel"),
        ({"hidden_act": "odd"}, "model 'odd' cannot be loaded as AutoModel: 'odd'"),
        ({"max_position_embeddings": "many"}, "model 'odd' states no number as its longest input"),
    ],
)
def test_a_configuration_that_means_nothing_is_an_error_in_one_line(
    bert: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    shutil.copytree(bert, tmp_path / "odd")
    config = json.loads((bert / "config.json").read_text()) | change
    (tmp_path / "odd" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=message) as caught:
        TextSpec(resolve_model(str(tmp_path / "odd"))).check()
    assert "\n" not in str(caught.value)


def test_a_tower_saved_with_its_projection_gives_what_the_whole_clip_gives(
    vision: dict[str, Path], tmp_path: Path
) -> None:
    kind: Any = transformers.CLIPVisionModelWithProjection
    config = kind.config_class.from_pretrained(vision["clip-full"])
    config.projection_dim = 8
    kind.from_pretrained(vision["clip-full"], config=config).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_bytes((vision["clip"] / "preprocessor_config.json").read_bytes())
    for outputs in (("projected", "pooled"), ("pooled",)):
        specs = [image_spec(folder, *outputs) for folder in (vision["clip-full"], tmp_path)]
        whole, alone = (spec.load("cpu").encode(prepared(spec, png(0), png(1))) for spec in specs)
        for output in outputs:
            np.testing.assert_array_equal(whole[output], alone[output])


def test_a_projection_of_another_width_than_stated_is_refused(vision: dict[str, Path], tmp_path: Path) -> None:
    for file in vision["clip-full"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"projection_dim": 16}))
    with pytest.raises(ModelError):
        image_spec(tmp_path, "projected").load("cpu")


def test_layers_are_asked_for_in_short_and_stored_by_name(vision: dict[str, Path], bert: Path) -> None:
    assert image_spec(vision["vit"], "layers:all", "cls").outputs == ("layers:1", "layers:2", "cls")
    text = TextSpec(resolve_model(str(bert)), ("cls,layers:2-1",))
    assert text.outputs == ("cls", "layers:2", "layers:1")
    with pytest.raises(FeatcacheError, match=r"model 'vit' \(vit\) has no output 'layers:3'; it has: .*layers:1-2"):
        image_spec(vision["vit"], "layers:3")
    with pytest.raises(
        FeatcacheError, match=r"model 'bert' \(bert\) has no output 'layers:12'; it has: .*, layers:1-2"
    ):
        TextSpec(resolve_model(str(bert)), ("layers:12",))


def test_a_model_of_which_only_an_early_layer_is_wanted_stops_there(vision: dict[str, Path]) -> None:
    one, all_ = (image_spec(vision["vit"], *outputs) for outputs in (("layers:1",), ("layers:1", "cls")))
    pixels = prepared(one, png(0), png(1))
    short, whole = one.load("cpu"), all_.load("cpu")
    assert len(short._tower.layers) == 1 and len(whole._tower.layers) == 2
    np.testing.assert_array_equal(short.encode(pixels)["layers:1"], whole.encode(pixels)["layers:1"])


def test_one_forward_serves_all_outputs(vision: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    spec = image_spec(vision["clip-full"], *OUTPUTS)
    encoder, calls = spec.load("cpu"), []
    forward = encoder._tower.forward
    monkeypatch.setattr(encoder._tower, "forward", lambda **inputs: (calls.append(1), forward(**inputs))[1])
    assert set(encoder.encode(prepared(spec, png(0)))) == set(OUTPUTS)
    assert len(calls) == 1


@pytest.mark.parametrize("kind", list(CLASSES))
def test_storing_weights_in_the_dtype_of_the_forward_changes_no_bit(
    vision: dict[str, Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = [output for output in OUTPUTS if output in HAS[kind]]
    spec = image_spec(vision[kind], *outputs, compute_dtype="bfloat16")
    pixels = prepared(spec, png(0), png(1), png(2))
    lowered = spec.load("cpu").encode(pixels)
    monkeypatch.setattr(vision_module, "lower", lambda model, dtype, but: model)
    cast = spec.load("cpu").encode(pixels)
    for output in outputs:
        np.testing.assert_array_equal(lowered[output], cast[output])


def test_attention_is_scaled_dot_product_attention(vision: dict[str, Path]) -> None:
    for kind in CLASSES:
        assert image_spec(vision[kind]).load("cpu")._tower.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("width", [1, 3])
def test_a_batch_may_be_one_array_a_list_read_only_memory_or_of_tensors(vision: dict[str, Path], width: int) -> None:
    spec = image_spec(vision["clip"])
    encoder, pixels = spec.load("cpu"), prepared(spec, *(png(i) for i in range(width)))
    frozen = pixels.copy()
    frozen.flags.writeable = False
    tensors = torch.from_numpy(pixels.copy()).unbind()
    for batch in (list(pixels), frozen, tensors, [*tensors[:1], *pixels[1:]], [*pixels[:1], *tensors[1:]]):
        np.testing.assert_array_equal(encoder.encode(pixels)["pooled"], encoder.encode(batch)["pooled"])
    wait = encoder.start(pixels)
    expected = encoder.encode(pixels)["pooled"]
    pixels[:] = 0
    np.testing.assert_array_equal(wait()["pooled"], expected)


def test_the_pooled_output_of_a_whole_clip_is_before_the_projection(vision: dict[str, Path]) -> None:
    spec = ImageSpec(resolve_model(str(vision["clip-full"])))
    vector = spec.load("cpu").encode(prepared(spec, png(0)))["pooled"]
    assert vector.shape == (1, 16)  # the projected vector has 8


def test_an_output_without_trained_weights_is_refused_with_those_there_are(vision: dict[str, Path]) -> None:
    bare = resolve_model(str(vision["vit-bare"]))
    with pytest.raises(
        ModelError, match="has no output 'pooled': its pooling layer has no weights; it has: cls, mean, layers:1-2"
    ):
        ImageSpec(bare, ("pooled",)).load("cpu")
    assert ImageSpec(bare, ("cls",)).load("cpu") is not None


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
    pixels = prepared(one, png(3))
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
    assert {p.dtype for p in encoder._forward._function._model.parameters()} == {torch.float32}
    assert encoder.encode(["a"])["cls"].dtype == np.float32


def test_bfloat16_is_close_to_float32_and_another_producer(vision: dict[str, Path]) -> None:
    folder = resolve_model(str(vision["clip"]))
    exact, fast = ImageSpec(folder), ImageSpec(folder, compute_dtype="bfloat16")
    assert exact.fingerprint.digest != fast.fingerprint.digest
    pixels = prepared(exact, *(png(i, (40, 40)) for i in range(8)))
    a, b = (spec.load("cpu").encode(pixels)["pooled"] for spec in (exact, fast))
    centred = a - a.mean(0)
    assert 0 < np.linalg.norm(a - b) < 0.1 * np.linalg.norm(centred)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (
            "clip",
            {"model_type": "resnet"},
            "has type 'resnet', expected one of aimv2, .*clip.*; models of texts are named with --text-model",
        ),
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


def test_what_a_text_model_cannot_serve_is_refused(bert: Path, vision: dict[str, Path]) -> None:
    with pytest.raises(
        FeatcacheError, match=r"model 'bert' \(bert\) has no output 'max'; it has: cls, last, mean, pooler, lay"
    ):
        TextSpec(resolve_model(str(bert)), ("max",))
    with pytest.raises(ModelError, match="the text tower of a CLIP is taken by --image-model, --clip-text"):
        TextSpec(resolve_model(str(vision["clip-full"])))


def test_cuda_without_cuda_names_the_installed_torch() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ModelError, match=f"no usable CUDA device; torch {torch.__version__.split('+')[0]}"):
        resolve_device("cuda")
    assert resolve_device("auto") == "cpu"


def test_one_picture_encoded_alone_equals_the_row_of_its_batch(vision: dict[str, Path], bert: Path) -> None:
    spec = image_spec(vision["vit"], "pooled", "layers:all", "cls")
    files = [png(i) for i in range(3)]
    batch = spec.load("cpu").encode(prepared(spec, *files))
    alone = encode_image(spec.fingerprint.to_document(), files[1], outputs=["cls", "layers:all"], device="cpu")
    expected = np.concatenate([batch[name][1] for name in ("cls", "layers:1", "layers:2")]).astype(np.float16)
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
