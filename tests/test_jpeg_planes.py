from __future__ import annotations

from io import BytesIO
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from jpeg_planes import SAMPLINGS, decode_planes, inverse_dct, rgb, upsampled

QUALITIES = [1, 50, 75, 95, 100]
SIZES = [(1, 1), (7, 5), (16, 16), (17, 33), (64, 48)]
WRITTEN_BY_PILLOW = ["4:4:4", "4:2:2", "4:2:0"]
CODINGS: list[dict[str, Any]] = [{}, {"optimize": True}, {"restart_marker_blocks": 1}, {"restart_marker_rows": 1}]


def picture(content: str, width: int, height: int) -> NDArray[np.uint8]:
    if content == "noise":
        return np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    y, x = np.mgrid[:height, :width]
    return np.stack([127 + 120 * np.sin(x / 9 + turn) * np.cos(y / 7 - turn) for turn in (0, 1, 2)], 2).astype(np.uint8)


def saved(levels: NDArray[np.uint8], mode: str = "RGB", **options: Any) -> bytes:
    file = BytesIO()
    Image.fromarray(levels).convert(mode).save(file, "jpeg", **options)
    return file.getvalue()


def opened(data: bytes, mode: str = "RGB") -> NDArray[np.uint8]:
    return np.array(Image.open(BytesIO(data)).convert(mode))


def equal_pillow(data: bytes, sampling: str) -> bool:
    expected = opened(data)
    height, width, _ = expected.shape
    return np.array_equal(rgb(upsampled(decode_planes(data), sampling, height, width)), expected)


@pytest.mark.parametrize("content", ["noise", "smooth"])
@pytest.mark.parametrize("size", SIZES)
def test_a_grey_plane_equals_pillow(content: str, size: tuple[int, int]) -> None:
    for quality, coding in product(QUALITIES, CODINGS):
        data = saved(picture(content, *size), "L", quality=quality, **coding)
        (plane,) = decode_planes(data)
        assert np.array_equal(plane, opened(data, "L")), (quality, coding)
        assert equal_pillow(data, ""), (quality, coding)


@pytest.mark.parametrize("content", ["noise", "smooth"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sampling", WRITTEN_BY_PILLOW)
def test_planes_upsampled_and_converted_equal_pillow(content: str, size: tuple[int, int], sampling: str) -> None:
    for quality, coding in product(QUALITIES, CODINGS):
        data = saved(picture(content, *size), quality=quality, subsampling=sampling, **coding)
        assert equal_pillow(data, sampling), (quality, coding)


@pytest.mark.parametrize("content", ["noise", "smooth"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sampling", sorted(SAMPLINGS))
def test_samplings_that_pillow_does_not_write_equal_what_it_reads(
    content: str, size: tuple[int, int], sampling: str
) -> None:
    simplejpeg = pytest.importorskip("simplejpeg")
    for quality in QUALITIES:
        levels = picture(content, *size)
        data = simplejpeg.encode_jpeg(levels, quality=quality, colorsubsampling=sampling.replace(":", ""))
        assert equal_pillow(data, sampling), quality


def test_widths_at_which_interpolation_begins_equal_pillow() -> None:
    for width, height, sampling in product(range(1, 10), range(1, 6), WRITTEN_BY_PILLOW):
        assert equal_pillow(saved(picture("noise", width, height), subsampling=sampling), sampling), (width, height)


@pytest.mark.parametrize(
    ("sampling", "shape"),
    [("4:4:4", (33, 17)), ("4:2:2", (33, 9)), ("4:2:0", (17, 9)), ("4:4:0", (17, 17)), ("4:1:1", (33, 5))],
)
def test_planes_are_as_large_as_their_sampling_says(sampling: str, shape: tuple[int, int]) -> None:
    simplejpeg = pytest.importorskip("simplejpeg")
    data = simplejpeg.encode_jpeg(picture("noise", 17, 33), colorsubsampling=sampling.replace(":", ""))
    assert [plane.shape for plane in decode_planes(data)] == [(33, 17), shape, shape]


def test_components_that_are_no_ycbcr_are_as_stored() -> None:
    data = saved(picture("smooth", 17, 33), keep_rgb=True)
    assert np.array_equal(np.stack(decode_planes(data), 2), opened(data))


def test_levels_wrap_where_libjpeg_looks_them_up() -> None:
    blocks = np.zeros((6, 8, 8), np.int64)
    blocks[:, 0, 0] = [8 * level for level in (-513, -512, -1, 0, 511, 512)]
    assert inverse_dct(blocks)[:, 3, 3].tolist() == [255, 0, 127, 128, 255, 0]


def test_what_is_no_baseline_jpeg_is_refused() -> None:
    levels = picture("smooth", 17, 33)
    png = BytesIO()
    Image.fromarray(levels).save(png, "png")
    files = {
        "no JPEG": png.getvalue(),
        "not baseline: its frame is 0xc2": saved(levels, progressive=True),
        "sampling that is not taken": saved(levels, "CMYK"),
        "8 bits": saved(levels).replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
        "quantization tables": saved(levels).replace(b"\xff\xdb\0\x43\0", b"\xff\xdb\0\x43\x10"),
        "Huffman table that is no code": saved(levels).replace(b"\xff\xc4\0\x1f\0\0\1\5", b"\xff\xc4\0\x1f\0\5\1\0"),
        "restart markers": saved(levels, restart_marker_blocks=1).replace(b"\xff\xd0", b"\xff\xd1"),
        "scan of components": saved(levels).replace(b"\xff\xda\0\x0c\x03", b"\xff\xda\0\x08\x01"),
        "several scans": saved(levels)[:-2] + b"\xff\xda",
    }
    for message, data in files.items():
        with pytest.raises(ValueError, match=message):
            decode_planes(data)


def test_a_cut_file_is_refused() -> None:
    data = saved(picture("smooth", 17, 33))
    for n_bytes in range(len(data)):
        with pytest.raises(ValueError, match="JPEG"):
            decode_planes(data[:n_bytes])
    for n_bytes in range(len(data) - 2):
        with pytest.raises(ValueError, match="JPEG"):
            decode_planes(data[:n_bytes] + b"\xff\xd9")


def test_a_damaged_file_is_decoded_or_refused() -> None:
    data = saved(picture("smooth", 17, 33), restart_marker_blocks=2)
    rng = np.random.default_rng(0)
    outcomes = {"decoded": 0, "refused": 0}
    for _ in range(500):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] = rng.integers(256)
        try:
            decode_planes(bytes(damaged))
            outcomes["decoded"] += 1
        except ValueError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 50, outcomes
