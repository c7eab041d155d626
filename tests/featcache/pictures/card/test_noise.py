"""Noise that a kernel adds is that of `perturbations.noise`: on a GPU, and where Triton interprets."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from featcache.pictures.perturbations import noise

pytest.importorskip("triton", reason="Triton comes with CUDA builds of torch")

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU that torch can use")
DEVICES = [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=[pytest.mark.cuda, NEEDS_GPU])]
SIZES = [(1, 1), (1, 7), (5, 3), (17, 33), (64, 70), (130, 180)]
SEEDS = [bytes(range(16)), b"", b"\xff" * 16, b"short", b"longer than a key is", bytes(8) + b"\x80" * 8]


def add_noise(device: str, pictures: list[Tensor], value: float, seeds: list[bytes]) -> list[Tensor]:
    from featcache.pictures.card import noise

    if device == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("needs TRITON_INTERPRET=1")
    return noise.add_noise(pictures, value, seeds)


def draw(*size: int) -> np.ndarray:
    return np.random.default_rng(size).integers(0, 256, (*size, 3), dtype=np.uint8)


def by_numpy(pictures: list[np.ndarray], value: float, seeds: list[bytes]) -> list[np.ndarray]:
    return [
        np.asarray(noise(Image.fromarray(picture), value, seed)) for picture, seed in zip(pictures, seeds, strict=True)
    ]


def check(found: list[Tensor], expected: list[np.ndarray]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.uint8 and one.is_contiguous()
        np.testing.assert_array_equal(one.cpu().numpy(), other)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("value", [0.001, 0.05, 1])
def test_noise_of_pictures_of_any_size_is_numpys(device: str, value: float) -> None:
    pictures = [draw(*size) for size in SIZES]
    found = add_noise(device, [torch.from_numpy(each).to(device) for each in pictures], value, SEEDS)
    check(found, by_numpy(pictures, value, SEEDS))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", SEEDS)
def test_noise_is_numpys_under_every_seed(device: str, seed: bytes) -> None:
    pictures = [draw(9, 11), draw(31, 41)]
    found = add_noise(device, [torch.from_numpy(each).to(device) for each in pictures], 0.3, [seed] * 2)
    check(found, by_numpy(pictures, 0.3, [seed] * 2))


@pytest.mark.parametrize("device", DEVICES)
def test_rows_of_a_picture_may_be_apart_and_it_stays_as_it_was(device: str) -> None:
    whole = draw(70, 90)
    on_device = torch.from_numpy(whole).to(device)
    parts = [(slice(2, 18), slice(1, 30)), (slice(0, 70), slice(89, 90)), (slice(69, 70), slice(0, 90))]
    found = add_noise(device, [on_device[part] for part in parts], 0.1, SEEDS[:3])
    check(found, by_numpy([whole[part] for part in parts], 0.1, SEEDS[:3]))
    np.testing.assert_array_equal(on_device.cpu().numpy(), draw(70, 90))


@pytest.mark.cuda
@NEEDS_GPU
def test_noise_of_a_picture_that_numpy_cuts_into_strips_goes_on_with_the_words() -> None:
    picture = draw(1025, 1027)  # takes an interpreter half a minute
    found = add_noise("cuda", [torch.from_numpy(picture).cuda()], 0.05, SEEDS[:1])
    check(found, by_numpy([picture], 0.05, SEEDS[:1]))


@pytest.mark.parametrize("device", DEVICES)
def test_no_pictures_are_no_pictures(device: str) -> None:
    assert add_noise(device, [], 0.1, []) == []
