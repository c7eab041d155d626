"""Views of pictures on a device are those that a CPU makes, in every bit."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from featcache.errors import ImageError
from featcache.pictures import perturbations
from featcache.pictures.card import views
from featcache.pictures.card.views import CardViews
from featcache.pictures.resample import COLUMNS_FIRST, resize_crop
from featcache.pictures.views import parse_view

SIZES = [(1, 1), (1, 7), (7, 1), (5, 3), (17, 33), (40, 25), (40, 9)]
LARGE = [(500, 375), (333, 500), (480, 11), (3, 1400), (97, 101)]
OF_TORCH = [
    *("clean", "hflip", "crop:0.05", "crop:0.8", "crop:0.9999"),
    *("brightness:0.05", "brightness:0.75", "brightness:1.0001", "brightness:10"),
    *("crop:0.5+hflip", "hflip+brightness:0.35", "brightness:1.3+crop:0.7+hflip", "crop:0.9+brightness:2+crop:0.6"),
]
OF_TRITON = [
    *("rescale:0.05", "rescale:0.5", "rescale:0.75", "rescale:1.0001", "rescale:2", "blur:0.25", "blur:1"),
    *("crop:0.6+blur:1+hflip", "rescale:0.5+blur:0.5+brightness:0.8", "blur:0.7+rescale:0.75+crop:0.5"),
    *("hflip+rescale:1.5+blur:0.25", "crop:0.5+rescale:2", "blur:0.25+blur:0.5"),
    *("noise:0.05", "crop:0.7+noise:0.2+hflip"),
]
OF_LONG_KERNELS = ["blur:3", "blur:7.7", "blur:20"]
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU that torch can use")


@pytest.fixture
def interpreter() -> None:
    """Have Triton interpret: it looks at this where the kernels are defined."""
    pytest.importorskip("triton", reason="Triton comes with CUDA builds of torch")
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("needs TRITON_INTERPRET=1")


def draw(sizes: list[tuple[int, int]]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def keys_of(pictures: list[np.ndarray]) -> list[bytes]:
    return [hashlib.sha256(bytes([i])).digest() for i in range(len(pictures))]


def check(name: str, levels: list[np.ndarray], device: str = "cpu", *, card: CardViews | None = None) -> None:
    """Compare a view of pictures of a device, every other one with rows that are apart, with that of the CPU."""
    view, card = parse_view(name), card or CardViews(torch.device(device))
    whole = [torch.from_numpy(each).to(device) for each in levels]
    pictures = [apart(each) if i % 2 else each for i, each in enumerate(whole)]
    assert card.takes(view)
    found = card.apply(view, pictures, keys_of(levels))
    for own, picture, made, key in zip(levels, pictures, found, keys_of(levels), strict=True):
        assert made is not None and made.dtype == torch.uint8 and made.device == picture.device
        assert made.stride(2) == 1 and (made.stride(1) == 3 or made.shape[1] == 1)
        expected = np.asarray(view.apply(Image.fromarray(own), key))
        np.testing.assert_array_equal(made.cpu().numpy(), expected, err_msg=f"{name} of {own.shape}")
        np.testing.assert_array_equal(picture.cpu().numpy(), own)


def apart(picture: Tensor) -> Tensor:
    height, width, _ = picture.shape
    room = torch.full((height + 3, width + 5, 3), 99, dtype=torch.uint8, device=picture.device)
    part = room[2 : 2 + height, 4 : 4 + width]
    part.copy_(picture)
    return part


@pytest.mark.parametrize("name", OF_TORCH)
def test_views_that_need_no_kernel_are_those_of_the_cpu(name: str) -> None:
    check(name, draw(SIZES))


def test_levels_are_looked_up_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "_LEVELS_AT_ONCE", 100)
    check("brightness:0.6", draw(SIZES))


@pytest.mark.slow
@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize("name", OF_TRITON)
def test_views_by_kernels_are_those_of_the_cpu(name: str) -> None:
    for window in ([(1, 1), (1, 7), (5, 3)], [(17, 33)], [(40, 25)]):  # a row of each for every row of the tallest
        check(name, draw(window))


@pytest.mark.slow
@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize("name", OF_LONG_KERNELS)
def test_kernels_that_are_longer_than_the_picture_mirror_it_again_and_again(name: str) -> None:
    check(name, draw([(1, 1), (1, 7), (5, 3), (4, 33)]))


@pytest.mark.slow
@pytest.mark.usefixtures("interpreter")
def test_rows_of_more_values_than_a_program_makes_are_whole() -> None:
    for name in ("blur:0.25", "rescale:0.5", "rescale:2"):
        check(name, draw([(2, 700), (3, 20)]))


@pytest.mark.slow
@pytest.mark.usefixtures("interpreter")
def test_windows_one_after_the_other_give_the_same() -> None:
    card, pictures = CardViews(torch.device("cpu")), draw([(12, 9), (9, 12), (5, 7)])
    for window in (pictures[:2], pictures, pictures[1:]):
        for name in ("rescale:0.5", "blur:0.5", "rescale:0.75", "blur:0.25", "crop:0.5"):
            check(name, window, card=card)


@pytest.mark.slow
@pytest.mark.usefixtures("interpreter")
def test_a_window_may_have_pictures_whose_rows_come_first_and_others() -> None:
    check("rescale:0.5", draw([(24, 5), (5, 9), (24, 6)]))


@pytest.mark.slow
@pytest.mark.usefixtures("interpreter")
def test_rescaled_pictures_follow_the_passes_of_the_pillow_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    from featcache.pictures.card import resampling

    (levels,) = draw([(60, 9)])
    made = []
    for order in (COLUMNS_FIRST, "rows first"):
        monkeypatch.setattr(resampling, "pass_order", lambda order=order: order)
        card = CardViews(torch.device("cpu"))
        (found,) = card.apply(parse_view("rescale:0.6"), [torch.from_numpy(levels)], [b""])
        image, filter = Image.fromarray(levels), Image.Resampling.BICUBIC
        expected = resize_crop(image, (36, 5), (0, 0, 36, 5), filter=filter, passes=order)
        np.testing.assert_array_equal(found, expected)
        made.append(expected)
    assert (made[0] != made[1]).any()


@pytest.mark.slow
@pytest.mark.usefixtures("interpreter")
def test_what_a_cpu_refuses_is_left_to_it_and_the_others_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (perturbations, views):
        monkeypatch.setattr(module, "MAX_PIXELS", 400)
    view, levels = parse_view("crop:0.9+rescale:2"), draw([(12, 11), (11, 11), (5, 3)])
    pictures, keys = [torch.from_numpy(each) for each in levels], keys_of(levels)
    with pytest.raises(ImageError, match="rescaled to 20 × 22 pixels"):
        view.apply(Image.fromarray(levels[0]), keys[0])
    first, *others = CardViews(torch.device("cpu")).apply(view, pictures, keys)
    assert first is None
    for made, own, key in zip(others, levels[1:], keys[1:], strict=True):
        np.testing.assert_array_equal(made, np.asarray(view.apply(Image.fromarray(own), key)))


@pytest.mark.parametrize(
    ("name", "size", "is_made"),
    [
        ("rescale:2", (9500, 9500), False),  # too many pixels
        ("rescale:2", (40_000, 500), False),  # too many rows for CUDA
        ("hflip", (101, 1), False),  # Pillow below 13 resizes it otherwise
        ("crop:0.34", (300, 3), False),  # 102 × 1
        ("hflip", (100, 1), True),
        ("crop:0.34", (3, 300), True),
    ],
)
def test_pictures_of_odd_sizes_are_for_the_cpu(name: str, size: tuple[int, int], is_made: bool) -> None:
    picture = torch.empty((*size, 3), dtype=torch.uint8)
    (found,) = CardViews(torch.device("cpu")).apply(parse_view(name), [picture], [b""])
    assert (found is not None) == is_made


def test_views_are_taken_whose_parts_all_are() -> None:
    taken = ("clean", *OF_TORCH, *OF_TRITON, *OF_LONG_KERNELS)
    assert all(CardViews.takes(parse_view(name)) for name in taken)
    assert not any(CardViews.takes(parse_view(name)) for name in ("jpeg:50", "rescale:0.5+jpeg:50"))


@pytest.mark.parametrize("name", ["clean", "hflip", "brightness:2", "blur:1"])
def test_no_pictures_have_no_views(name: str) -> None:
    assert CardViews(torch.device("cpu")).apply(parse_view(name), [], []) == []


@pytest.mark.cuda
@NEEDS_GPU
@pytest.mark.parametrize("name", [*OF_TORCH, *OF_TRITON, *OF_LONG_KERNELS])
def test_views_that_a_gpu_makes_are_those_of_the_cpu(name: str) -> None:
    check(name, draw([*SIZES, *LARGE]), "cuda")
