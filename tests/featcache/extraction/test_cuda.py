"""What only a GPU shows: its vectors are those of the CPU, however they are batched, also when it is full."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from featcache.cache.folder import Cache
from featcache.encoders.base import EncoderSpec
from featcache.encoders.model_folder import resolve_model
from featcache.encoders.text import TextSpec
from featcache.encoders.vision import ImageSpec
from featcache.errors import FeatcacheError
from featcache.extraction.encoding.loaded import LoadedEncoder, probe_rows
from featcache.extraction.fleet import extract_on, visible_gpus
from featcache.extraction.partition import Partition
from featcache.extraction.preparing import find_card
from featcache.extraction.run import ExtractOptions, extract
from featcache.pictures.nvjpeg_library import find_nvjpeg
from featcache.store.opening import open_store

from factories import make_cache, read_manifest, write_bert, write_dataset, write_vision

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU that torch can use"),
]

DEVICE = "cuda"
EXACT, LOW = 1e-4, 5e-2
TEXTS = ["a red ball", "caption number 1", "a", "a red ball a red ball a red ball number 9"]
PIXELS = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)


def relative_error(found: np.ndarray, exact: np.ndarray) -> float:
    """Centred: what all contents have in common hides the error of what tells them apart."""
    exact = exact.astype(np.float64)
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact - exact.mean(0)))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_bert(folder / "bert")
    for kind in ("clip", "clip-full", "vit", "dinov2", "siglip"):
        write_vision(folder / kind, kind)
    return folder


def image_spec(models: Path, kind: str, dtype: str = "float32", outputs: tuple[str, ...] = ()) -> ImageSpec:
    own = {"siglip": ("pooled", "mean"), "clip-full": ("pooled", "projected", "layers:all")}
    spec_outputs = outputs or own.get(kind, ("cls", "mean", "layers:all"))
    return ImageSpec(resolve_model(str(models / kind)), spec_outputs, compute_dtype=dtype)


def text_spec(models: Path, dtype: str = "float32") -> TextSpec:
    return TextSpec(resolve_model(str(models / "bert")), ("cls", "mean", "layers:all"), compute_dtype=dtype)


@pytest.mark.parametrize(("dtype", "most"), [("float32", EXACT), ("bfloat16", LOW), ("float16", LOW)])
@pytest.mark.parametrize("kind", ["clip", "clip-full", "vit", "dinov2", "siglip"])
def test_pictures_have_the_vectors_of_the_cpu(models: Path, kind: str, dtype: str, most: float) -> None:
    expected = image_spec(models, kind).load("cpu").encode(PIXELS)
    found = image_spec(models, kind, dtype).load(DEVICE).encode(list(PIXELS))
    assert found.keys() == expected.keys()
    for name, vectors in found.items():
        assert relative_error(vectors, expected[name]) < most, name


@pytest.mark.parametrize(("dtype", "most"), [("float32", EXACT), ("bfloat16", LOW), ("float16", LOW)])
def test_captions_have_the_vectors_of_the_cpu(models: Path, dtype: str, most: float) -> None:
    expected = text_spec(models).load("cpu").encode(TEXTS)
    for name, vectors in text_spec(models, dtype).load(DEVICE).encode(TEXTS).items():
        assert relative_error(vectors, expected[name]) < most, name


@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_forwards_give_the_same_and_are_not_given_up(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        image = image_spec(models, "clip-full").load(DEVICE, compile=True)
        text = text_spec(models).load(DEVICE, compile=True)
        plain = image_spec(models, "clip-full").load(DEVICE), text_spec(models).load(DEVICE)
        for n in (6, 9, 4, 6):
            for name, vectors in image.encode(PIXELS[:n]).items():
                assert relative_error(vectors, plain[0].encode(PIXELS[:n])[name]) < EXACT, name
        for texts in (TEXTS, TEXTS[:2], TEXTS * 3):
            for name, vectors in text.encode(texts).items():
                assert relative_error(vectors, plain[1].encode(texts)[name]) < EXACT, name
    assert image.fallback is None and text.fallback is None and not caplog.records


def test_batches_in_flight_are_their_own_whatever_becomes_of_their_input(models: Path) -> None:
    encoder = image_spec(models, "clip").load(DEVICE)
    batches = [np.random.default_rng(seed).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8) for seed in range(8)]
    expected = [encoder.encode(batch)["cls"] for batch in batches]
    waits = []
    for batch in batches:
        given = list(batch.copy())
        waits.append(encoder.start(given))
        for pixels in given:
            pixels[:] = 255
    for wait, vectors in zip(waits, expected, strict=True):
        np.testing.assert_array_equal(wait()["cls"], vectors)


@pytest.fixture
def _little_memory() -> Iterator[None]:
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (256 << 20)) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


@pytest.mark.usefixtures("_little_memory")
def test_a_gpu_that_runs_out_of_memory_takes_smaller_batches_of_the_same_rows(models: Path) -> None:
    encoder = image_spec(models, "clip").load(DEVICE)
    pixels = np.random.default_rng(1).integers(0, 256, (30_000, 32, 32, 3), dtype=np.uint8)
    with pytest.raises(torch.OutOfMemoryError):
        encoder.encode(pixels)
    forward = LoadedEncoder(encoder, len(pixels))
    found = forward.start(pixels)()["cls"]
    assert 1 < forward.n_rows <= len(pixels) // 2
    expected = np.concatenate([encoder.encode(part)["cls"] for part in np.split(pixels, 30)])
    assert relative_error(found, expected) < EXACT


@pytest.mark.usefixtures("_little_memory")
def test_a_gpu_that_cannot_hold_one_content_is_an_error_with_a_way_out() -> None:
    class Hungry:
        def start(self, batch: object) -> object:
            return torch.empty(1 << 30, dtype=torch.uint8, device=DEVICE)

    with pytest.raises(FeatcacheError, match=r"not enough memory for a single content .* --device cpu"):
        LoadedEncoder(Hungry(), 1).start([0])  # type: ignore[arg-type]


def test_a_batch_that_is_tried_out_is_one_of_those_tried(models: Path) -> None:
    assert probe_rows(image_spec(models, "clip").load(DEVICE), PIXELS[0]) in (32, 64, 128, 256, 512)


def specs_of(models: Path) -> list[EncoderSpec]:
    return [text_spec(models), image_spec(models, "clip-full")]


def stored(cache: Cache) -> dict[str, np.ndarray]:
    store = open_store(cache.path)
    found = {}
    for view in ("clean", "hflip"):
        image = store.select("image", outputs="pooled,projected", view=view)
        found[f"image/{view}"] = store.arrays(selections={"image": image}).features["image"]
    return found | {"text": store.arrays(selections={"text": store.select("text")}).features["text"]}


def assert_alike(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, vectors in one.items():
        # Stored as float16: half a unit of the last place, 2^-11 of the value, may go either way.
        assert relative_error(vectors, other[name]) < 2e-3, name


@pytest.fixture(scope="module")
def on_cpu(models: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("data")
    manifest = write_dataset(folder / "d", n_captions=12)
    cache = make_cache(folder / "cpu")
    extract(read_manifest(manifest), cache, specs_of(models), views="clean,hflip", options=ExtractOptions(device="cpu"))
    return manifest, stored(cache)


@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize(
    "options",
    [
        ExtractOptions(device="cuda"),
        ExtractOptions(device="cuda", batch_size=5, processes=True, workers=2),
        ExtractOptions(device="cuda", batch_size=7, unit_rows=10, processes=False, workers=3),
        ExtractOptions(device="cuda", batch_size=8, compile=True),
    ],
    ids=["probed", "processes", "units", "compiled"],
)
def test_an_extraction_on_a_gpu_stores_what_one_on_a_cpu_does(
    models: Path, on_cpu: tuple[Path, dict[str, np.ndarray]], tmp_path: Path, options: ExtractOptions
) -> None:
    manifest, expected = on_cpu
    cache = make_cache(tmp_path / "gpu")
    result = extract(read_manifest(manifest), cache, specs_of(models), views="clean,hflip", options=options)
    assert result.n_failed == 0
    assert_alike(stored(cache), expected)


def test_an_extraction_whose_pictures_the_gpu_prepared_stores_what_one_by_pillow_does(
    models: Path, tmp_path: Path
) -> None:
    if find_nvjpeg() is None:
        pytest.skip("needs the extra gpu")
    path = write_dataset(tmp_path / "d", n_captions=12)
    rng = np.random.default_rng(0)
    for number, file in enumerate(sorted((tmp_path / "d").glob("*.png"))[1:]):
        levels = rng.integers(0, 256, (int(rng.integers(30, 300)), int(rng.integers(30, 300)), 3), dtype=np.uint8)
        Image.fromarray(levels).save(file, "JPEG", progressive=number == 3, quality=int(rng.integers(40, 100)))
    found = {}
    for decoder in ("pillow", "card"):
        cache, options = make_cache(tmp_path / decoder), ExtractOptions(device="cuda", batch_size=8, decoder=decoder)
        spec = image_spec(models, "clip-full")
        result = extract(read_manifest(path), cache, [spec], options=options)
        assert result.n_failed == 0 and not any(each.doubts for each in result.passes)
        store = open_store(cache.path)
        chosen = {"image": store.select("image", outputs="pooled,projected")}
        found[decoder] = store.arrays(selections=chosen).features["image"]
        (ways,) = (each.ways for each in result.passes)
    assert ways["nvjpeg"] > 20
    np.testing.assert_array_equal(found["card"], found["pillow"])


@pytest.mark.parametrize("processes", [False, True])
def test_an_extraction_whose_pictures_the_gpu_only_resized_stores_what_one_by_pillow_does(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: bool
) -> None:
    monkeypatch.setattr(find_card, "find_nvjpeg", lambda: None)
    path, rng = write_dataset(tmp_path / "d", n_captions=24), np.random.default_rng(0)
    for number, file in enumerate(sorted((tmp_path / "d").glob("*.png"))):
        levels = rng.integers(0, 256, (int(rng.integers(30, 300)), int(rng.integers(30, 300)), 3), dtype=np.uint8)
        Image.fromarray(levels).save(file, ("JPEG", "PNG", "WEBP")[number % 3])
    found = {}
    for decoder in ("pillow", "card"):
        cache, own = make_cache(tmp_path / decoder), ExtractOptions(device="cuda", batch_size=8, decoder=decoder)
        spec, views = image_spec(models, "clip-full"), "clean,crop:0.8+hflip,blur:1"
        result = extract(
            read_manifest(path), cache, [spec], views=views, options=replace(own, processes=processes, workers=2)
        )
        assert result.n_failed == 0 and not any(each.doubts for each in result.passes)
        store, found[decoder] = open_store(cache.path), {}
        for view in views.split(","):
            chosen = {"image": store.select("image", outputs="pooled,projected", view=view)}
            found[decoder][view] = store.arrays(selections=chosen).features["image"]
        (ways,) = (each.ways for each in result.passes)
    assert ways == {"pillow+triton": 72}
    for view, vectors in found["pillow"].items():
        np.testing.assert_array_equal(found["card"][view], vectors)


def test_parts_and_processes_on_gpus_store_what_one_does(
    models: Path, on_cpu: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    path, expected = on_cpu
    manifest, parts, fleet = read_manifest(path), make_cache(tmp_path / "parts"), make_cache(tmp_path / "fleet")
    for i in range(2):
        options = ExtractOptions(device="cuda", unit_rows=8, partition=Partition(i, 2))
        extract(manifest, parts, specs_of(models), views="clean,hflip", options=options)
    assert_alike(stored(parts), expected)
    options = ExtractOptions(device="cuda", unit_rows=8)
    extract_on(visible_gpus(), manifest, fleet, specs_of(models), views="clean,hflip", options=options)
    assert_alike(stored(fleet), expected)
