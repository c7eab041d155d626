"""Pixels of timm's and OpenCLIP's transforms for evaluation."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from timm_models import import_timm, timm_resized

from featcache.errors import ModelError
from featcache.pictures.preprocess import Preprocessor
from featcache.pictures.torchvision_config import parse_open_clip_config, parse_timm_config

CONFIGS = st.fixed_dictionaries(
    {
        "crop_pct": st.sampled_from([0.8, 0.875, 0.9, 0.95, 1.0]),
        "crop_mode": st.sampled_from(["center", "squash"]),
        "interpolation": st.sampled_from(["bicubic", "bilinear", "lanczos"]),
    }
)
SIDES = st.integers(4, 60)


def picture(width: int, height: int) -> Image.Image:
    levels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(levels)


@settings(max_examples=60)
@given(config=CONFIGS, side=SIDES, width=st.integers(4, 150), height=st.integers(4, 150))
def test_pixels_are_equal_in_every_bit_to_those_of_resize_and_centre_crop(
    config: dict[str, Any], side: int, width: int, height: int
) -> None:
    ours = Preprocessor(**parse_timm_config({**config, "input_size": [3, side, side]}))
    image = picture(width, height)
    np.testing.assert_array_equal(ours.pixels(image), np.array(timm_resized(image, side, **config)))


def test_pixels_are_equal_in_every_bit_to_those_of_timm_itself() -> None:
    timm = import_timm()
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"timm's transforms need torchvision: {error}")
    for seed in range(40):
        rng = np.random.default_rng(seed)
        share, mode = float(rng.choice([0.8, 0.875, 0.95, 1.0])), str(rng.choice(["center", "squash"]))
        side, (width, height) = int(rng.integers(4, 60)), rng.integers(4, 150, 2).tolist()
        config: dict[str, Any] = {"input_size": [3, side, side], "crop_pct": share, "crop_mode": mode}
        transform = timm.data.create_transform(**timm.data.resolve_data_config({}, pretrained_cfg=config))
        image = expected = picture(width, height)
        for step in transform.transforms[:2]:
            expected = step(expected)
        ours = Preprocessor(**parse_timm_config(config)).pixels(image)
        np.testing.assert_array_equal(ours, np.array(expected))


def test_the_middle_is_rounded_to_even_and_the_identity_says_so() -> None:
    tall = picture(8, 11)
    rounded = Preprocessor(resize=None, crop=(8, 8), middle="even")
    np.testing.assert_array_equal(rounded.pixels(tall), np.array(tall)[2:10])
    cut = Preprocessor(resize=None, crop=(8, 8))
    np.testing.assert_array_equal(cut.pixels(tall), np.array(tall)[1:9])
    assert rounded.document() == {**cut.document(), "middle": "even"}


def test_what_is_not_said_is_as_timm_and_open_clip_mean_it() -> None:
    timm = Preprocessor(**parse_timm_config({}))
    assert (timm.resize, timm.crop, timm.filter) == (256, (224, 224), Image.Resampling.BICUBIC)
    assert timm.mean == (0.485, 0.456, 0.406)
    open_clip = Preprocessor(**parse_open_clip_config({}, 224))
    assert (open_clip.resize, open_clip.crop, open_clip.filter) == (224, (224, 224), Image.Resampling.BICUBIC)
    assert open_clip.mean == (0.48145466, 0.4578275, 0.40821073)
    random = parse_open_clip_config({"interpolation": "random"}, 224)
    assert random == parse_open_clip_config({}, 224)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"input_size": [3, 32, 48]}, r"input_size is \[3, 32, 48\], expected 3 channels of a square"),
        ({"input_size": 32}, "input_size is 32, expected"),
        ({"crop_pct": True}, "crop_pct is True, expected more than 0 and at most 1"),
        ({"crop_pct": 1e-6}, "which asks for .* pixels, more than 8192"),
        ({"mean": [0.5, 0.5]}, r"mean is \[0.5, 0.5\], expected finite numbers for 3 channels"),
        ({"std": [0.5, 0.5, 0.0]}, "std is .*, no zero to divide by"),
    ],
)
def test_what_cannot_be_honoured_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_timm_config(config)
