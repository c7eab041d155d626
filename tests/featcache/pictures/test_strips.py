from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from featcache.pictures.strips import by_strips, cut_rows, to_array

from factories import cut_strips


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (41, 23, 3), dtype=np.uint8))


@pytest.mark.parametrize("n_pixels", [1, 23, 100, 23 * 41, 1 << 20])
@pytest.mark.parametrize("box", [None, (0, 0, 23, 41), (3, 5, 20, 40), (7, 0, 8, 41), (0, 40, 23, 41)])
def test_an_array_has_the_pixels_of_its_part_and_can_be_written_to(
    picture: Image.Image, box: tuple[int, int, int, int] | None, n_pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_strips(monkeypatch, n_pixels)
    expected = np.asarray(picture if box is None else picture.crop(box))
    made = to_array(picture, box)
    assert np.array_equal(made, expected) and made.dtype == np.uint8 and made.flags.c_contiguous
    made[...] = 0
    assert np.asarray(picture).any()


@pytest.mark.parametrize(("multiple", "n_pixels", "expected"), [(1, 1, 1), (1, 70, 3), (4, 1, 4), (4, 230, 8)])
def test_strips_cover_every_row_once_from_the_top(
    picture: Image.Image, multiple: int, n_pixels: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_strips(monkeypatch, n_pixels)
    seen: list[tuple[int, int]] = []

    def make(top: int, bottom: int) -> Image.Image:
        seen.append((top, bottom))
        return cut_rows(picture, top, bottom)

    assert by_strips(picture.size, make, multiple=multiple).tobytes() == picture.tobytes()
    assert [top for top, _ in seen] == list(range(0, 41, expected)) and seen[-1][1] == 41
    assert all(bottom == following for (_, bottom), (following, _) in pairwise(seen))


def test_a_small_picture_is_one_strip_and_no_copy(picture: Image.Image) -> None:
    assert by_strips(picture.size, lambda top, bottom: cut_rows(picture, top, bottom)) is picture
