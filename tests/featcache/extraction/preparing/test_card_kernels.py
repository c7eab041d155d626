"""A card with the real kernels, which Triton interprets, makes Pillow's inputs of what the CPU decodes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from featcache.dataset.sample import ImageFile
from featcache.encoders.vision import ImageSpec
from featcache.extraction.preparing import find_card
from featcache.extraction.preparing.card import Card
from featcache.extraction.preparing.card_lane import CardLane
from featcache.extraction.preparing.card_reader import CardReader
from featcache.extraction.preparing.recipe import Reading, Recipe, prepare
from featcache.extraction.preparing.thread_reader import ThreadReader
from featcache.pictures.preprocess import Preprocessor
from featcache.pictures.views import parse_view

DEVICES = [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=pytest.mark.cuda)]
VIEWS = ("clean", "crop:0.8+hflip", "rescale:0.5")


class Spec(ImageSpec):
    """An encoder of which there is but what it does to pictures."""

    def __init__(self) -> None:
        object.__setattr__(self, "preprocessor", Preprocessor(resize=9, crop=(9, 9)))


def draw(folder: Path, n: int) -> list[Reading]:
    """PNGs, grey ones, progressive JPEGs and turned ones, of any size."""
    rng, found = np.random.default_rng(0), []
    for row in range(n):
        levels = rng.integers(0, 256, (int(rng.integers(9, 30)), int(rng.integers(9, 30)), 3), dtype=np.uint8)
        picture, path, exif = Image.fromarray(levels), folder / str(row), Image.Exif()
        exif[0x0112] = 1 + row % 8
        how: dict[str, Any] = [{}, {}, {"progressive": True}, {"exif": exif}][row % 4]
        (picture.convert("L") if row % 4 == 1 else picture).save(path, "PNG" if row % 4 < 2 else "JPEG", **how)
        data = path.read_bytes()
        facts = {"file_bytes": len(data), "n_pixels": picture.width * picture.height, "format": picture.format or ""}
        products = tuple(range(len(VIEWS)))
        found.append(Reading(0, row, ImageFile(str(path)), hashlib.sha256(data).digest(), products, 1000, **facts))
    return found


@pytest.mark.parametrize("device", DEVICES)
def test_inputs_of_what_the_cpu_decodes_are_pillows_under_all_views(tmp_path: Path, device: str) -> None:
    pytest.importorskip("triton", reason="Triton comes with CUDA builds of torch")
    if device == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("needs TRITON_INTERPRET=1")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU that torch can use")
    from featcache.pictures.card.resizing import CardResizer
    from featcache.pictures.card.views import CardViews

    recipe, there = Recipe(tuple((parse_view(view), Spec()) for view in VIEWS)), torch.device(device)
    resizer = CardResizer(recipe.products[0][1].preprocessor, there)
    stream = torch.cuda.Stream() if device == "cuda" else None
    resizers = dict.fromkeys(range(len(VIEWS)), resizer)
    lane = CardLane(None, resizers, CardViews(there), stream)
    if device == "cuda":
        assert find_card._try_out(recipe, lane) == ""
    card = Card(recipe, lane)
    others = ThreadReader(recipe, n_threads=1, n_ahead=4, memory=1 << 24)
    wanted = draw(tmp_path, 4)
    with CardReader(card, others, n_threads=2, memory=1 << 26) as reader:
        found = list(reader.prepare(iter(wanted)))
    assert [each.reading for each in found] == wanted
    assert {str(each.way) for each in found} == {"pillow+triton"} and not card.doubts
    for each in found:
        expected = prepare(recipe, each.reading)
        assert each.inputs.keys() == expected.inputs.keys() == set(resizers)
        for product, pixels in expected.inputs.items():
            own = each.inputs[product]
            np.testing.assert_array_equal(own.cpu() if isinstance(own, torch.Tensor) else own, pixels)
