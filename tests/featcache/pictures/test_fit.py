"""Other sizes than the model's own, and other ways to bring pictures of another aspect to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.Image import Resampling

from featcache.errors import ModelError
from featcache.pictures.preprocess import Preprocessor

MEAN = (0.5, 0.25, 0.75)
CROP = Preprocessor(resize=36, crop=(32, 32), mean=MEAN)
SQUASH = Preprocessor(resize=(32, 32), filter=Resampling.BILINEAR, mean=MEAN)
MARGIN = Preprocessor(resize=(36, 36), crop=(32, 32))
SHAPES = [(40, 60), (60, 40), (33, 33), (10, 300), (300, 10)]


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("own", [CROP, SQUASH, MARGIN])
def test_what_the_model_does_by_itself_is_not_chosen(own: Preprocessor) -> None:
    way: Any = "crop" if own is CROP else "squash"
    assert own.sized(32).fitted(way) == own == own.sized(None).fitted(None)
    assert not {"image_size", "fit", "fill"} & own.document().keys()


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (CROP, Preprocessor(resize=72, crop=(64, 64), mean=MEAN)),
        (SQUASH, Preprocessor(resize=(64, 64), filter=Resampling.BILINEAR, mean=MEAN)),
        (MARGIN, Preprocessor(resize=(72, 72), crop=(64, 64))),
    ],
)
def test_another_size_scales_resize_and_crop_alike(own: Preprocessor, expected: Preprocessor) -> None:
    made = own.sized(64)
    for shape in SHAPES:
        np.testing.assert_array_equal(made.pixels(picture(*shape)), expected.pixels(picture(*shape)))
    assert made.document() == expected.document() | {"image_size": 64}


@pytest.mark.parametrize("backend", ["pillow", "torch"])
def test_pictures_are_cropped_or_squashed_as_asked(backend: Any) -> None:
    cropped, squashed = (
        Preprocessor(resize=resize, crop=crop, backend=backend, mean=MEAN)
        for resize, crop in ((32, (32, 32)), ((32, 32), None))
    )
    for shape in SHAPES:
        image = picture(*shape)
        np.testing.assert_array_equal(cropped.fitted("squash").pixels(image), squashed.pixels(image))
        np.testing.assert_array_equal(squashed.fitted("crop").pixels(image), cropped.pixels(image))
    assert cropped.fitted("squash").document() == squashed.document() | {"fit": "squash"}
    assert CROP.fitted("squash").resize == (32, 32)  # without the margin that the crop cuts off
    assert MARGIN.fitted("crop").resize == 36


@pytest.mark.parametrize("own", [CROP, SQUASH, MARGIN])
def test_a_padded_picture_is_whole_and_keeps_its_aspect_in_the_mean_colour(own: Preprocessor) -> None:
    padded = own.fitted("pad")
    fill = [round(255 * mean) for mean in own.mean]
    for height, width in SHAPES:
        image = picture(height, width)
        made = padded.pixels(image)
        longest = max(height, width)
        inner = (max(1, round(32 * height / longest)), max(1, round(32 * width / longest)))
        top, left = (32 - inner[0] + 1) // 2, (32 - inner[1] + 1) // 2
        box = (slice(top, top + inner[0]), slice(left, left + inner[1]))
        np.testing.assert_array_equal(made[box], np.asarray(image.resize(inner[::-1], own.filter)))
        around = np.ones((32, 32), bool)
        around[box] = False
        assert (made[around] == fill).all()
    assert padded.document() | {"fit": "pad", "fill": fill} == padded.document()
    assert padded.sized(64).pixels(picture(20, 40)).shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CROP.fitted("stretch"), "fit 'stretch' is unknown, expected crop, squash or pad"),
        (lambda: Preprocessor(None, (32, 32)).fitted("pad"), "cannot be fitted by pad: .* does not resize"),
        (lambda: Preprocessor(None, (32, 32)).sized(64), "image size 64 cannot be had"),
        (lambda: Preprocessor((32, 48)).sized(64), "image size 64 cannot be had"),
    ],
)
def test_what_cannot_be_had_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        make()
