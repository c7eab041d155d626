"""What is for a card, and what is not."""

from __future__ import annotations

import hashlib
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from featcache.dataset.sample import ImageFile
from featcache.extraction.preparing.card_loading import Loaded, PixelSpace, Refused, _is_ended, load_picture
from featcache.pictures.jpeg_kind import JpegKind

AFTER_SCAN = re.compile(rb"\xff+([^\xff\x00\xd0-\xd7])")
OFTEN = st.sampled_from([0xFF, 0xFF, 0x00, 0xD9, 0xD0, 0xD7, 0xCF, 0xD8, 0xDA, 0x01])


@given(st.lists(OFTEN | st.integers(0, 255), max_size=40).map(bytes), st.integers(0, 45))
def test_a_scan_ends_where_its_first_marker_says_so(data: bytes, scan: int) -> None:
    found = AFTER_SCAN.search(data, scan)
    assert _is_ended(data, min(scan, len(data))) == (found is not None and found[1] == b"\xd9")


NONE = PixelSpace(np.empty(0, np.uint8), 2)


def jpeg(size: tuple[int, int]) -> bytes:
    file = BytesIO()
    Image.fromarray(np.full((size[1], size[0], 3), 99, np.uint8)).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize(("size", "is_for_the_card"), [((400, 4), True), ((401, 4), False), ((4, 405), False)])
def test_pictures_narrower_than_a_hundredth_are_for_pillow(
    tmp_path: Path, size: tuple[int, int], is_for_the_card: bool
) -> None:
    path, data = tmp_path / "a.jpg", jpeg(size)
    path.write_bytes(data)
    found = load_picture(ImageFile(str(path)), hashlib.sha256(data).digest(), lambda _: False, space=NONE, n_bytes=0)
    assert isinstance(found, Loaded) == is_for_the_card
    if isinstance(found, Refused):
        assert found.why == str(found.kind) == "JPEG baseline 4:2:0"


def test_kinds_that_are_out_are_told_with_what_they_are(tmp_path: Path) -> None:
    path, data = tmp_path / "a.jpg", jpeg((8, 8))
    path.write_bytes(data)
    kinds: list[JpegKind] = []

    def is_out(kind: JpegKind) -> bool:
        kinds.append(kind)
        return True

    assert load_picture(ImageFile(str(path)), b"", is_out, space=NONE, n_bytes=0) == Refused(
        "JPEG baseline 4:2:0", kinds[0]
    )


@pytest.mark.parametrize("segment", [b"\xff\xee\x00\x08Adobe\0", b"\xff\xe0\x00\x07JFIF\0"])
def test_what_pillow_does_not_open_is_not_for_the_card(tmp_path: Path, segment: bytes) -> None:
    path, data = tmp_path / "a.jpg", jpeg((8, 8))
    data = data[:2] + segment + data[4 + int.from_bytes(data[4:6]) :]  # in the place of its own first segment
    path.write_bytes(data)
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(path)
    found = load_picture(ImageFile(str(path)), hashlib.sha256(data).digest(), lambda _: False, space=NONE, n_bytes=0)
    assert isinstance(found, Refused) and found.why == "refused" and found.kind is not None
