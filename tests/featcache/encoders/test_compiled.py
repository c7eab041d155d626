"""What encoders are made of: compiled forwards, copies to and from a device, padding, blocks, precision."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from featcache.encoders.blocks import BlockOutputs, find_blocks, n_blocks
from featcache.encoders.compiled import Forward
from featcache.encoders.loading import computing_in
from featcache.encoders.model_folder import resolve_model
from featcache.encoders.text import TextSpec
from featcache.encoders.towers import VisionTower
from featcache.encoders.transfer import fetch, send
from featcache.encoders.vision import ImageSpec
from featcache.errors import ModelError
from featcache.identity.outputs import layer_number
from featcache.pictures.decode import decode_rgb

from factories import write_bert, write_vision

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
TEXTS = ["a red ball", "", "caption number 7 a a a a a a a a", "ball"]


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> ImageSpec:
    folder = write_vision(tmp_path_factory.mktemp("models") / "vit", "vit")
    return ImageSpec(resolve_model(str(folder)), ("cls", "layers:1", "mean"))


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch.compile trace but not generate code, which takes seconds and a compiler."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
def test_a_compiled_encoder_of_pictures_gives_the_same_vectors_for_every_size_of_batch(vit: ImageSpec) -> None:
    plain, compiled = vit.load("cpu"), vit.load("cpu", compile=True)
    for n in (4, 2, 6, 5, 1):
        expected, found = plain.encode(PIXELS[:n]), compiled.encode(PIXELS[:n])
        for name in vit.outputs:
            assert found[name].shape == (n, 16)
            np.testing.assert_allclose(found[name], expected[name], atol=1e-6)
    assert compiled._forward.is_compiled and compiled.fallback is None
    assert compiled._sizes == {4, 6}  # two programs: smaller batches are filled up


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
def test_a_compiled_encoder_of_texts_gives_the_same_vectors(tmp_path: Path) -> None:
    spec = TextSpec(resolve_model(str(write_bert(tmp_path / "bert"))), ("cls", "mean", "layers:1"))
    plain, compiled = spec.load("cpu"), spec.load("cpu", compile=True)
    for texts in (TEXTS, TEXTS[:2]):
        expected, found = plain.encode(texts), compiled.encode(texts)
        for name in spec.outputs:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-6)
    assert compiled.fallback is None


def test_where_compiling_fails_the_forward_runs_as_it_is_and_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no C\ncompiler")

    monkeypatch.setattr(torch, "compile", lambda function, **_: broken)
    forward = Forward(lambda x: {"double": 2 * x}, compile=True, dynamic=False)
    assert forward(torch.ones(1))["double"].item() == 2
    assert forward.fallback == "RuntimeError: no C compiler" and not forward.is_compiled
    assert "runs uncompiled: RuntimeError: no C compiler" in caplog.text


def test_memory_that_runs_out_is_no_reason_to_give_up_compiling_but_to_forget_the_size(
    vit: ImageSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scarce(function: Any, **_: Any) -> Any:
        def run(pixels: torch.Tensor) -> Mapping[str, Any]:
            if len(pixels) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            vectors: Mapping[str, Any] = function(pixels)
            return vectors

        return run

    monkeypatch.setattr(torch, "compile", scarce)
    encoder = vit.load("cpu", compile=True)
    assert encoder.encode(PIXELS[:2])["cls"].shape == (2, 16)
    with pytest.raises(torch.OutOfMemoryError):
        encoder.encode(PIXELS)
    assert encoder.encode(PIXELS[:3])["cls"].shape == (3, 16)
    assert encoder._forward.is_compiled and encoder._sizes == {2, 3}


def test_vectors_of_another_width_than_stated_are_refused() -> None:
    with pytest.raises(ModelError, match=r"output 'projected' has shape \(2, 4\), expected 3 columns"):
        fetch({"projected": torch.zeros(2, 4)}, {"projected": 3}, 2)
    assert fetch({"cls": torch.zeros(2, 4)}, {}, 1)()["cls"].shape == (1, 4)


def test_copies_from_a_gpu_are_waited_for_and_do_not_stay_in_page_locked_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[str] = []

    class Event:
        def record(self) -> None:
            events.append("recorded")

        def synchronize(self) -> None:
            events.append("waited")
            filled[0].copy_(torch.arange(8.0).reshape(2, 4))

    filled: list[torch.Tensor] = []

    def empty(shape: Any, **options: Any) -> torch.Tensor:
        assert options.pop("pin_memory")
        filled.append(torch.full(tuple(shape), torch.nan, dtype=options["dtype"]))
        return filled[-1]

    class OnDevice:
        """A tensor that says that it lies on a GPU, and of which a copy has not arrived yet."""

        ndim, shape, device = 2, torch.Size((2, 4)), torch.device("cuda")

        def __getitem__(self, rows: slice) -> OnDevice:
            return self

        float = contiguous = lambda self: self

    fake = type("Fake", (), {"empty": staticmethod(empty), "float32": torch.float32})
    fake.cuda = type("Cuda", (), {"Event": Event})
    monkeypatch.setitem(__import__("sys").modules, "torch", fake)
    monkeypatch.setattr(torch.Tensor, "copy_", _copy_from_device)
    wait = fetch({"cls": OnDevice()}, {"cls": 4}, 2)  # type: ignore[dict-item]
    assert events == ["recorded"]
    vectors = wait()["cls"]
    assert events == ["recorded", "waited"]
    filled[0].fill_(-1)
    np.testing.assert_array_equal(vectors, np.arange(8.0).reshape(2, 4))


_TENSOR_COPY = torch.Tensor.copy_


def _copy_from_device(target: torch.Tensor, source: Any, non_blocking: bool = False) -> torch.Tensor:
    if isinstance(source, torch.Tensor):
        return _TENSOR_COPY(target, source)
    assert non_blocking
    return target


def test_an_array_is_not_copied_on_its_way_to_the_cpu() -> None:
    array = np.zeros(3, np.uint8)
    assert send(array, "cpu").data_ptr() == array.ctypes.data


def test_texts_are_padded_to_the_longest_of_them_and_no_further(tmp_path: Path) -> None:
    encoder = TextSpec(resolve_model(str(write_bert(tmp_path / "bert")))).load("cpu")
    ids, mask = encoder._tokeniser.pad(TEXTS)
    tokens = encoder.tokenise(TEXTS)
    assert ids.shape == mask.shape == (4, max(map(len, tokens))) and mask.sum() == sum(map(len, tokens))
    assert [row[:k].tolist() for row, k in zip(ids, mask.sum(1), strict=True)] == tokens
    assert encoder._tokeniser.pad(TEXTS, multiple=8)[0].shape == (4, 16)
    assert encoder._tokeniser.pad(["a " * 90], multiple=24)[0].shape == (1, 32)  # the model has no more positions
    np.testing.assert_array_equal(encoder.encode(tokens)["cls"], encoder.encode(TEXTS)["cls"])


def test_the_order_and_company_of_texts_hardly_change_their_vectors(tmp_path: Path) -> None:
    encoder = TextSpec(resolve_model(str(write_bert(tmp_path / "bert"))), ("cls", "mean")).load("cpu")
    together = encoder.encode(TEXTS)
    for i, text in enumerate(TEXTS):
        for name, vector in encoder.encode([text]).items():
            np.testing.assert_allclose(vector[0], together[name][i], atol=2e-6)


def test_of_a_block_only_the_first_token_stays_in_memory(vit: ImageSpec) -> None:
    encoder = vit.load("cpu")
    encoder._tower(pixel_values=torch.zeros(5, 3, 32, 32))
    (kept,) = encoder._blocks.take().values()
    assert kept.untyped_storage().nbytes() == 5 * 16 * 4
    assert encoder._blocks.take() == {}


def test_a_model_whose_blocks_cannot_be_told_is_refused() -> None:
    blocks = [torch.nn.ModuleList(torch.nn.Identity() for _ in range(2)) for _ in range(2)]
    model = torch.nn.ModuleDict({"a": torch.nn.ModuleDict({"layer": blocks[0]}), "layers": blocks[1]})
    with pytest.raises(ModelError, match="model 'm' has 2 lists of 2 blocks, expected one"):
        find_blocks(model, 2, "m")
    with pytest.raises(ModelError, match="has 0 lists of 3 blocks"):
        BlockOutputs(model, ("layers:1",), 3, "m")
    assert BlockOutputs(model, ("cls",), 3, "m").take() == {}
    assert [n_blocks(c) for c in ({}, {"n_layers": 6}, {"num_hidden_layers": True}, {"num_layers": -1})] == [0, 6, 0, 0]


def test_what_a_configuration_leaves_out_means_what_transformers_means_by_it(tmp_path: Path) -> None:
    names = {
        "clip_vision_model": "CLIPVisionConfig",
        "vit": "ViTConfig",
        "dinov2": "Dinov2Config",
        "dinov2_with_registers": "Dinov2WithRegistersConfig",
        "siglip_vision_model": "SiglipVisionConfig",
    }
    for model_type, name in names.items():
        (tmp_path / "config.json").write_text(f'{{"model_type": "{model_type}"}}')
        (tmp_path / "model.safetensors").touch()
        tower, config = VisionTower(resolve_model(str(tmp_path))), getattr(transformers, name)()
        assert (tower.hidden_size, tower.n_blocks) == (config.hidden_size, config.num_hidden_layers)
        assert tower.n_prefix == int("siglip" not in model_type) + getattr(config, "num_register_tokens", 0)
        if model_type.startswith("clip"):
            assert tower.projection_dim == config.projection_dim


def relative_error(found: np.ndarray, exact: np.ndarray) -> float:
    """Centred: what all pictures have in common is large and hides the error of what tells them apart."""
    exact = exact.astype(np.float64)
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact - exact.mean(0)))


def in_both_precisions(folder: Path, pixels: np.ndarray) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    found = []
    for dtype in ("float32", "bfloat16"):
        spec = ImageSpec(resolve_model(str(folder)), ("layers:all", "cls", "mean"), compute_dtype=dtype)
        found.append(spec.load("cpu").encode(pixels))
    return found[0], found[1]


def test_bfloat16_and_storage_cost_a_stated_share_of_what_tells_pictures_apart(tmp_path: Path) -> None:
    folder = tmp_path / "vit"
    config = transformers.ViTConfig(
        hidden_size=48, num_hidden_layers=4, num_attention_heads=3, intermediate_size=96, image_size=32, patch_size=8,
        initializer_range=0.3,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        '{"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}'
    )
    pixels = np.random.default_rng(1).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
    exact, low = in_both_precisions(folder, pixels)
    for name, vectors in exact.items():
        assert relative_error(vectors.astype(np.float16), vectors) < 1e-3, name
        assert 0 < relative_error(low[name].astype(np.float16), vectors) < 5e-2, name


MATERIAL = Path(os.environ.get("FEATCACHE_TEST_MATERIAL", Path(__file__).resolve().parents[4] / "shared"))
DEIT, PICTURES = MATERIAL / "models" / "deit-tiny", MATERIAL / "data" / "aigen" / "images"


@pytest.mark.slow
@pytest.mark.skipif(
    not (DEIT.exists() and PICTURES.exists()),
    reason=f"needs real weights and pictures in {MATERIAL} (or where FEATCACHE_TEST_MATERIAL points)",
)
def test_on_real_pictures_storage_costs_less_the_deeper_the_layer() -> None:
    """Class tokens of early blocks hardly differ, so that rounding takes more of their difference."""
    files = sorted(path for path in PICTURES.rglob("*") if path.is_file())[::90][:32]
    spec = ImageSpec(resolve_model(str(DEIT)), ("cls",))
    exact, low = in_both_precisions(DEIT, np.stack([spec.prepare(decode_rgb(p.read_bytes())) for p in files]))
    for name, vectors in exact.items():
        is_early = (layer_number(name) or 12) < 9
        assert relative_error(vectors.astype(np.float16), vectors) < (5e-3 if is_early else 1e-3), name
        assert relative_error(low[name].astype(np.float16), vectors) < 6e-2, name


NEWER = pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="needs torch 2.9")


def precisions() -> dict[str, object]:
    """Whether torch rounds factors on a GPU, by its older names and, where it has them, its newer ones."""
    backends, found = torch.backends, dict[str, object]()
    for name, read in {
        "products": torch.get_float32_matmul_precision,
        "convolutions": lambda: backends.cudnn.allow_tf32,
        "new products": lambda: backends.cuda.matmul.fp32_precision,
        "new convolutions": lambda: backends.cudnn.conv.fp32_precision,
        "on a CPU": lambda: backends.mkldnn.matmul.fp32_precision,
    }.items():
        with contextlib.suppress(AttributeError, RuntimeError):  # too old for the name; set by the other names
            found[name] = read()
    return found


@pytest.fixture
def settings() -> Iterator[None]:
    yield
    backends: Any = torch.backends
    if hasattr(backends.cuda.matmul, "fp32_precision"):
        for place in (backends, backends.cudnn, backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul):
            place.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    backends.cudnn.allow_tf32 = True


@pytest.mark.parametrize(
    ("place", "precision"),
    [
        (None, "highest"),
        (None, "high"),
        (None, "medium"),
        *(pytest.param(place, "tf32", marks=NEWER) for place in ("", "cudnn", "cuda.matmul", "cudnn.conv")),
        pytest.param("cudnn.conv", "ieee", marks=NEWER),
    ],
)
def test_float32_is_float32_whatever_torch_is_set_to_and_settings_come_back(
    settings: None, place: str | None, precision: str
) -> None:
    if place is None:
        torch.set_float32_matmul_precision(precision)
    else:
        attrgetter(f"backends.{place}".rstrip("."))(torch).fp32_precision = precision
    before = precisions()
    with computing_in("cpu", "float32"):
        assert {"high", "medium", "tf32", "bf16"}.isdisjoint(map(str, precisions().values()))
        assert precisions().get("convolutions") is not True or place is not None
        assert torch.is_inference_mode_enabled() and not torch.is_autocast_enabled("cpu")
    with computing_in("cpu", "bfloat16"):
        assert torch.is_autocast_enabled("cpu")
    assert precisions() == before and not torch.is_inference_mode_enabled()
