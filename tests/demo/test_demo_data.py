"""The example's pictures: reproducible, fair, and with the fingerprints that the generators claim."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.__main__ import main
from demo.dataset import SIZE, SOURCES, make_picture, write_dataset
from demo.generators import GENERATORS
from demo.scenes import WORDS, compose_scenes

N_CAPTIONS = 10
Spectra = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), captions=N_CAPTIONS, seed=0).parent


@pytest.fixture(scope="module")
def spectra() -> Spectra:
    """Mean log power spectrum of the grey pictures of each source, zero frequency first."""
    found = {}
    for label, source in enumerate(SOURCES):
        pictures = [
            make_picture(scene, source, rng=np.random.default_rng([label, index]))
            for index, scene in enumerate(compose_scenes(8, seed=5))
        ]
        grey = np.stack(pictures).mean(axis=-1)
        found[source] = np.log(np.abs(np.fft.fft2(grey)) ** 2 + 1e-9).mean(axis=0)
    return found


def read_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def peak(spectrum: np.ndarray, y: int, x: int) -> float:
    """How far a frequency stands out from those around it, in nats."""
    around = [spectrum[(y + dy) % SIZE, (x + dx) % SIZE] for dy in range(-3, 4) for dx in range(-3, 4)]
    return float(spectrum[y, x] - np.median(around))


@pytest.mark.slow
def test_same_seed_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path, captions=N_CAPTIONS, seed=0)
    assert read_bytes(tmp_path) == read_bytes(folder)


def test_another_seed_gives_other_pictures_and_captions(folder: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path, captions=2, seed=1)
    assert not set(read_bytes(tmp_path).values()) & set(read_bytes(folder).values())
    assert not {row["caption"] for row in read_rows(tmp_path)} & {row["caption"] for row in read_rows(folder)}


def test_every_caption_has_one_picture_of_each_source_in_one_split(folder: Path) -> None:
    rows = read_rows(folder)
    groups: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    assert len(groups) == len({row["caption"] for row in rows}) == N_CAPTIONS
    for members in groups.values():
        assert sorted(row["generator"] for row in members) == sorted(SOURCES)
        assert len({row["split"] for row in members}) == len({row["caption"] for row in members}) == 1
    assert Counter(row["split"] for row in rows) == {"train": 36, "valid": 12, "test": 12}


def test_labels_agree_with_the_generator(folder: Path) -> None:
    for row in read_rows(folder):
        assert int(row["label_b"]) == SOURCES.index(row["generator"])
        assert row["label_a"] == ("0" if row["generator"] == "real" else "1")


def test_files_differ_in_their_pixels_only(folder: Path) -> None:
    kinds = set()
    for row in read_rows(folder):
        with Image.open(folder / row["image"]) as image:
            tables = tuple(map(tuple, image.quantization.values()))  # type: ignore[attr-defined]
            kinds.add((image.format, image.mode, image.size, tables, tuple(image.info)))
    assert len(kinds) == 1
    assert next(iter(kinds))[2] == (SIZE, SIZE)


def test_sample_ids_and_names_do_not_give_the_source_away(folder: Path) -> None:
    rows = read_rows(folder)
    assert len({row["sample_id"] for row in rows}) == len(rows)
    for source in SOURCES:
        positions = {row["sample_id"][-1] for row in rows if row["generator"] == source}
        assert len(positions) > 2


def test_words_are_those_of_the_captions() -> None:
    used = {word for scene in compose_scenes(800, seed=2) for word in scene.caption.split()}
    assert used == set(WORDS)


def test_a_scene_is_laid_out_anew_for_each_picture() -> None:
    (scene,) = compose_scenes(1, seed=3)
    first, second = (make_picture(scene, "real", rng=np.random.default_rng(seed)) for seed in (0, 1))
    assert first.shape == (SIZE, SIZE, 3)
    assert first.dtype == np.float32
    assert first.min() >= 0
    assert first.max() <= 1
    assert np.abs(first - second).mean() > 0.02


def test_brightness_and_colour_do_not_depend_on_the_source() -> None:
    scenes = compose_scenes(8, seed=4)
    means = {}
    for source in SOURCES:
        rngs = (np.random.default_rng(index) for index in range(len(scenes)))
        pictures = [make_picture(scene, source, rng=rng) for scene, rng in zip(scenes, rngs, strict=True)]
        means[source] = np.stack(pictures).mean(axis=(0, 1, 2))
    for source in SOURCES[1:]:
        np.testing.assert_allclose(means[source], means["real"], atol=0.04)


def test_transposed_convolution_leaves_a_checkerboard(spectra: Spectra) -> None:
    half = SIZE // 2
    for source in set(SOURCES) - {"deconv_up"}:
        for y, x in ((half, 0), (0, half)):
            assert peak(spectra["deconv_up"], y, x) > peak(spectra[source], y, x) + 1


def test_subpixel_convolution_leaves_a_grid_of_four_pixels(spectra: Spectra) -> None:
    quarter = SIZE // 4
    for source in set(SOURCES) - {"subpixel_up"}:
        for y, x in ((quarter, quarter), (0, quarter)):
            assert peak(spectra["subpixel_up"], y, x) > peak(spectra[source], y, x) + 0.7


@pytest.mark.parametrize("source", ["nearest_up", "bilinear_up", "smooth_latent"])
def test_a_bottleneck_loses_the_finest_detail(source: str) -> None:
    rng = np.random.default_rng(0)
    noise = np.clip(0.5 + 0.15 * rng.standard_normal((SIZE, SIZE, 3)), 0, 1).astype(np.float32)
    before, after = (
        np.abs(np.fft.fft2(picture.mean(axis=-1))) ** 2 for picture in (noise, GENERATORS[source](noise, rng))
    )
    passed = after / before[1:, 1:].mean()
    high, low = np.s_[SIZE // 2 - 12 : SIZE // 2 + 12], np.s_[1:12]
    assert passed[low, low].mean() > 0.5
    assert passed[high, high].mean() < 0.1 * passed[low, low].mean()


def test_smooth_latent_leaves_no_grid(spectra: Spectra) -> None:
    for y in (0, SIZE // 4, SIZE // 2):
        for x in (SIZE // 4, SIZE // 2):
            assert peak(spectra["smooth_latent"], y, x) < 1.5


def test_demo_leaves_a_folder_alone_that_it_did_not_make(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "data" / "mine.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    assert main(["--out", str(tmp_path)]) == 1
    assert "did not make" in capsys.readouterr().err
    assert read_bytes(tmp_path) == {"data/mine.txt": b"mine"}
