import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.Image import Resampling

from featcache.pictures import resample
from featcache.pictures.resample import COLUMNS_FIRST, pass_order, resize_crop

CLASSIC = [Resampling(number) for number in range(6)]


@st.composite
def axes(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """Length, resized length, start and length of the box."""
    length, result = draw(st.integers(1, 90)), draw(st.integers(1, 120))
    result = draw(st.sampled_from([result, length]))
    start = draw(st.sampled_from([0, draw(st.integers(0, result - 1))]))
    rest = result - start
    return length, result, start, draw(st.sampled_from([rest, draw(st.integers(1, rest))]))


def check_box(rgb: np.ndarray, size: tuple[int, int], box: tuple[int, int, int, int], filter: Resampling) -> None:
    top, left, height, width = box
    image = Image.fromarray(rgb)
    expected = np.asarray(image.resize(size[::-1], filter).crop((left, top, left + width, top + height)))
    np.testing.assert_array_equal(resize_crop(image, size, box, filter=filter, passes=pass_order()), expected)


@pytest.mark.slow
@settings(max_examples=400)
@given(rows=axes(), columns=axes(), filter=st.sampled_from(CLASSIC), seed=st.integers(0, 99), hard=st.booleans())
@example(rows=(87, 1, 0, 1), columns=(68, 131, 5, 9), filter=Resampling.HAMMING, seed=0, hard=True)
@example(rows=(40, 37, 30, 7), columns=(21, 20, 0, 20), filter=Resampling.BICUBIC, seed=0, hard=True)
def test_box_equals_whole_resize_cropped(
    rows: tuple[int, int, int, int],
    columns: tuple[int, int, int, int],
    filter: Resampling,
    seed: int,
    hard: bool,
) -> None:
    rgb = np.random.default_rng(seed).integers(0, 256, (rows[0], columns[0], 3), np.uint8)
    if hard:  # black and white only, so that sums overshoot and are clipped
        rgb = np.where(rgb < 128, 0, 255).astype(np.uint8)
    check_box(rgb, (rows[1], columns[1]), (rows[2], columns[2], rows[3], columns[3]), filter)


@pytest.mark.parametrize("filter", CLASSIC)
@pytest.mark.parametrize("shape", [(20, 4000), (4000, 20), (300, 2900)])
def test_box_of_a_long_strip_equals_whole_resize_cropped(shape: tuple[int, int], filter: Resampling) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    short = min(shape)
    size = (shape[0] * 64 // short, shape[1] * 64 // short)
    box = ((size[0] - 60) // 2, (size[1] - 60) // 2, 60, 60)
    check_box(rgb, size, box, filter)


def test_tiles_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = np.random.default_rng(2).integers(0, 256, (50, 400, 3), np.uint8)
    image, options = Image.fromarray(rgb), {"filter": Resampling.BICUBIC, "passes": pass_order()}
    expected = resize_crop(image, (20, 150), (1, 3, 18, 140), **options)
    monkeypatch.setattr(resample, "_TILE_COLUMNS", 7)
    monkeypatch.setattr(resample, "_TILE_VALUES", 100)
    made = resize_crop(image, (20, 150), (1, 3, 18, 140), **options)
    np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize("box", [(0, 0, 5, 4), (-1, 0, 2, 2), (0, 0, 0, 2), (3, 3, 2, 1)])
def test_box_outside_the_result_is_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="expected a part of it"):
        resize_crop(Image.new("RGB", (3, 3)), (4, 4), box, filter=Resampling.BICUBIC, passes=pass_order())


def test_pass_order_is_that_of_the_installed_pillow() -> None:
    is_new = hasattr(Resampling, "MKS2013")  # came with Pillow 13, as the new order did
    assert pass_order().startswith("rows first" if is_new else "columns first")


def test_columns_first_is_followed_where_asked_for() -> None:
    rgb = np.random.default_rng(3).integers(0, 2, (60, 20, 3), np.uint8) * np.uint8(255)
    image, size, box = Image.fromarray(rgb), (12, 18), (2, 3, 5, 6)
    two_steps = image.resize((18, 60), Resampling.BICUBIC).resize((18, 12), Resampling.BICUBIC)
    made = resize_crop(image, size, box, filter=Resampling.BICUBIC, passes=COLUMNS_FIRST)
    np.testing.assert_array_equal(made, np.asarray(two_steps)[2:7, 3:9])
