"""Patches of pictures that keep their aspect, against transformers' own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import Siglip2ImageProcessorPil

from featcache.errors import ModelError
from featcache.pictures.patches import PatchPreprocessor
from featcache.pictures.preprocess import Preprocessor

CONFIGS: dict[str, dict[str, Any]] = {
    "own": {"image_processor_type": "Siglip2ImageProcessorFast"},
    "small": {"image_processor_type": "Siglip2ImageProcessor", "patch_size": 4, "max_num_patches": 30, "resample": 3},
    "raw": {"patch_size": 7, "max_num_patches": 5, "do_normalize": False, "size": None, "do_convert_rgb": None},
}


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def check(name: str, image: Image.Image) -> None:
    config = CONFIGS[name]
    ours = PatchPreprocessor.from_config(config)
    options = {key: value for key, value in config.items() if key != "image_processor_type" and value is not None}
    made = ours.pixels(image)
    levels = Siglip2ImageProcessorPil(**options | {"do_rescale": False, "do_normalize": False})(image)
    assert made.dtype == np.uint8 and made.flags.writeable
    assert made.shape == (1 + ours.max_patches, ours.patch_size**2 * 3)
    np.testing.assert_array_equal(made[1:], np.asarray(levels["pixel_values"][0]))
    assert made[0, :4].view("<u2").tolist() == list(levels["spatial_shapes"][0]) and not made[0, 4:].any()


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (200, 1), (30, 2000), (256, 256), (480, 640), (3, 3)])
def test_patches_equal_the_reference_on_nasty_sizes(name: str, shape: tuple[int, int]) -> None:
    check(name, picture(*shape))


@settings(max_examples=40)
@given(height=st.integers(1, 300), width=st.integers(1, 300), seed=st.integers(0, 99))
def test_patches_equal_the_reference(height: int, width: int, seed: int) -> None:
    check("small", picture(height, width, seed))


def test_the_square_in_the_middle_may_stand_for_the_picture() -> None:
    image = picture(40, 61)
    square = image.crop((10, 0, 50, 40))
    made = PatchPreprocessor.from_config(CONFIGS["small"], square_crop=True).pixels(image)
    np.testing.assert_array_equal(made, PatchPreprocessor.from_config(CONFIGS["small"]).pixels(square))


def test_the_document_tells_what_changes_the_patches() -> None:
    own = PatchPreprocessor.from_config(CONFIGS["own"]).document()
    assert own["resize"] == "patches:256x16" and own["filter"] == "bilinear" and "square_crop" not in own
    assert PatchPreprocessor.from_config({}).document() == own
    assert PatchPreprocessor.from_config({}, square_crop=True).document() == own | {"square_crop": True}
    assert PatchPreprocessor.from_config({}, resize="torch").document()["backend"] == "torch"
    assert PatchPreprocessor.from_config({"max_num_patches": 100}).document()["resize"] == "patches:100x16"


@pytest.mark.parametrize(
    "change",
    [
        {"max_num_patches": 0},
        {"max_num_patches": 7000.5},
        {"patch_size": True},
        {"do_resize": False},
        {"do_center_crop": True},
        {"do_pad": True},
        {"image_processor_type": "SiglipImageProcessor"},
    ],
)
def test_what_cannot_be_honoured_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        PatchPreprocessor.from_config(CONFIGS["own"] | change)


def test_patches_are_no_pictures_to_others() -> None:
    with pytest.raises(ModelError, match="'Siglip2ImageProcessor', expected one of"):
        Preprocessor.from_config({"image_processor_type": "Siglip2ImageProcessor", "size": 224})
