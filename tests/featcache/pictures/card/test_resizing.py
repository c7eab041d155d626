"""Kernels on a CPU, where Triton interprets them: every bit is Pillow's."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.Image import Resampling

from featcache.pictures.preprocess import Preprocessor
from featcache.pictures.resample import COLUMNS_FIRST, resize_crop

pytestmark = pytest.mark.slow

WAYS = {
    "shorter side, cropped": Preprocessor(resize=12, crop=(12, 12)),
    "exact": Preprocessor(resize=(9, 14), filter=Resampling.BILINEAR),
    "larger": Preprocessor(resize=40, crop=(36, 36), filter=Resampling.LANCZOS),
    "square": Preprocessor(resize=(8, 8), filter=Resampling.BOX, square_crop=True),
    "padded": Preprocessor(resize=(12, 12), filter=Resampling.HAMMING, fit="pad", mean=(0.5, 0.4, 0.3)),
    "not resized": Preprocessor(resize=None, crop=(20, 20)),
    "cropped to more than there is": Preprocessor(resize=8, crop=(12, 12)),
}
SIZES = [(25, 30), (61, 9), (5, 6)]


@pytest.fixture(autouse=True)
def interpreter() -> None:
    """Have Triton interpret: it looks at this where the kernels are defined."""
    pytest.importorskip("triton", reason="Triton comes with CUDA builds of torch")
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("needs TRITON_INTERPRET=1")


def draw(sizes: list[tuple[int, int]]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_pixels_of_pictures_of_any_size_are_pillows(way: Preprocessor) -> None:
    from featcache.pictures.card.resizing import CardResizer

    pictures = draw(SIZES)
    found = CardResizer(way, torch.device("cpu")).resize([torch.from_numpy(each) for each in pictures])
    np.testing.assert_array_equal(found, np.stack([way.pixels(Image.fromarray(each)) for each in pictures]))


def test_columns_come_first_where_pillow_has_them_first(monkeypatch: pytest.MonkeyPatch) -> None:
    from featcache.pictures.card import resampling, resizing

    way, (picture,) = Preprocessor(resize=(9, 14)), draw([(61, 15)])
    expected = [
        resize_crop(Image.fromarray(picture), (9, 14), (0, 0, 9, 14), filter=way.filter, passes=order)
        for order in (COLUMNS_FIRST, "rows first")
    ]
    assert (expected[0] != expected[1]).any()
    for order, pixels in zip((COLUMNS_FIRST, "rows first"), expected, strict=True):
        monkeypatch.setattr(resampling, "pass_order", lambda order=order: order)
        found = resizing.CardResizer(way, torch.device("cpu")).resize([torch.from_numpy(picture)])
        np.testing.assert_array_equal(found[0], pixels)


def test_shapes_that_were_seen_before_and_those_that_were_forgotten_give_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from featcache.pictures.card import resampling, resizing

    way, pictures = Preprocessor(resize=8, crop=(8, 8)), draw([(12, 9), (9, 12), (20, 7), (12, 9)])
    monkeypatch.setattr(resampling, "_MOST_SIZES", 2)
    resizer = resizing.CardResizer(way, torch.device("cpu"))
    for window in (pictures[:2], pictures[1:], pictures, pictures[:1]):
        found = resizer.resize([torch.from_numpy(each) for each in window])
        np.testing.assert_array_equal(found, np.stack([way.pixels(Image.fromarray(each)) for each in window]))


def test_rows_of_a_picture_may_be_apart() -> None:
    from featcache.pictures.card.resizing import CardResizer

    way, (picture,) = Preprocessor(resize=(9, 14)), draw([(20, 40)])
    part = torch.from_numpy(picture)[2:18, :30]
    found = CardResizer(way, torch.device("cpu")).resize([part])
    np.testing.assert_array_equal(found[0], way.pixels(Image.fromarray(picture[2:18, :30])))
