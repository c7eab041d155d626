from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cards import FakePlaneEngine
from jpeg_planes import decode_planes

LAYOUTS = [[(33, 17), (17, 9), (17, 9)], [(5, 7)]]


def jpegs() -> list[bytes]:
    """A picture in colour, of 4:2:0, and a grey one."""
    rng = np.random.default_rng(0)
    options: list[tuple[tuple[int, ...], dict[str, Any]]] = [((33, 17, 3), {"subsampling": "4:2:0"}), ((5, 7), {})]
    files = [BytesIO() for _ in options]
    for file, (shape, how) in zip(files, options, strict=True):
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(file, "jpeg", **how)
    return [file.getvalue() for file in files]


def test_an_engine_writes_planes_where_it_is_told_and_nowhere_else() -> None:
    colour, grey = jpegs()
    expected = [plane for data in (colour, grey) for plane in decode_planes(data)]
    memory = np.full(2000, 77, np.uint8)
    begins = [10, 700, 900, 1500]
    addresses = np.zeros((3, 3), np.int64)
    addresses[0] = memory.ctypes.data + np.array(begins[:3])
    addresses[1] = memory.ctypes.data + np.array([1200, 1300, 1400])
    addresses[2, 0] = memory.ctypes.data + begins[3]
    files: list[bytes | memoryview] = [memoryview(colour), colour[:-100], grey]
    layouts = [LAYOUTS[0], *LAYOUTS]
    assert FakePlaneEngine().decode(files, layouts, addresses) == [True, False, True]
    untouched = np.ones(2000, bool)
    for begin, plane in zip(begins, expected, strict=True):
        assert np.array_equal(memory[begin : begin + plane.size].reshape(plane.shape), plane)
        untouched[begin : begin + plane.size] = False
    assert (memory[untouched] == 77).all()


@pytest.mark.parametrize("layout", [[(17, 33)], [(5, 7), (5, 7), (5, 7)], []])
def test_a_layout_that_is_not_that_of_the_file_is_refused(layout: list[tuple[int, int]]) -> None:
    memory = np.zeros(2000, np.uint8)
    addresses = np.array([[memory.ctypes.data, 0, 0]])
    with pytest.raises(ValueError, match="layout is"):
        FakePlaneEngine().decode(jpegs()[1:], [layout], addresses)
    assert not memory.any()


def test_an_address_for_each_plane_and_no_more() -> None:
    memory = np.zeros(2000, np.uint8)
    for given in ([0, 0, 0], [1, 1, 0]):
        with pytest.raises(ValueError, match="addresses are"):
            FakePlaneEngine().decode(jpegs()[1:], LAYOUTS[1:], np.array([given]) * memory.ctypes.data)
