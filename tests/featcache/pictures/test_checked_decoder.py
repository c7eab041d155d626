"""Whatever a decoder does, a picture has Pillow's pixels once it was looked at, and Pillow's failures."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from featcache.errors import ImageError
from featcache.pictures.checked_decoder import PILLOW, CheckedDecoder, Doubt, Way
from featcache.pictures.decode import decode_rgb
from featcache.pictures.decoders import is_plain
from featcache.pictures.jpeg_kind import JpegKind

PLAIN = JpegKind("baseline", "YCbCr", "4:2:0")


def jpeg(seed: int = 0, size: tuple[int, int] = (40, 30), format: str = "JPEG", **options: Any) -> bytes:
    levels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, format, **options)
    return file.getvalue()


def stored(data: bytes) -> NDArray[np.uint8]:
    """The pixels as they are stored, by Pillow."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


class Fake:
    """A decoder that makes what it is told to make, and counts how often."""

    name, version = "fake", "1"

    def __init__(self, make: Callable[[bytes], Any] = stored) -> None:
        self.make, self.n_asked = make, 0

    def takes(self, kind: JpegKind) -> bool:
        return is_plain(kind)

    def decode(self, data: bytes) -> NDArray[np.uint8] | None:
        self.n_asked += 1
        found: NDArray[np.uint8] | None = self.make(data)
        return found


def test_pictures_that_it_takes_are_its_own_and_the_first_two_are_checked() -> None:
    checked = CheckedDecoder(Fake())
    found = [checked.decode(jpeg(seed)) for seed in range(4)]
    for seed, each in enumerate(found):
        assert isinstance(each.picture, Image.Image)
        assert each.picture.tobytes() == decode_rgb(jpeg(seed)).tobytes()
        assert each.way == Way("fake", kind=PLAIN) and (each.check_seconds > 0) == (seed < 2)
    assert checked.decode(jpeg(9), is_sample=True).check_seconds > 0


@pytest.mark.parametrize("n_channels", [3, 4])
@pytest.mark.parametrize("orientation", [1, 5, 6])
def test_its_pixels_are_turned_and_profiles_are_ignored(n_channels: int, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(exif=exif, icc_profile=b"no profile")
    found = CheckedDecoder(Fake(lambda data: np.pad(stored(data), ((0, 0), (0, 0), (0, n_channels - 3))))).decode(data)
    assert isinstance(found.picture, Image.Image) and found.way.decoder == "fake"
    assert found.picture.size == ((40, 30) if orientation == 1 else (30, 40)) and not found.picture.info
    assert found.picture.tobytes() == decode_rgb(data).tobytes()


def test_what_is_done_to_a_picture_is_not_done_to_the_memory_of_its_decoder() -> None:
    memory = np.dstack([stored(jpeg()), np.full((30, 40), 255, np.uint8)])
    before, found = memory.copy(), CheckedDecoder(Fake(lambda _: memory)).decode(jpeg()).upright()
    found.paste((0, 0, 0), (0, 0, 40, 30))
    assert not np.asarray(found).any() and (memory == before).all()


LEFT: list[tuple[bytes, dict[str, Any], str]] = [
    (jpeg(format="PNG"), {}, "PNG"),
    (b"no picture", {}, "unknown"),
    (jpeg(progressive=True), {}, "JPEG progressive 4:2:0"),
    (jpeg(size=(64, 64)), {"at_least": (8, 8)}, "scaled"),
]


@pytest.mark.parametrize(("data", "how", "why"), LEFT, ids=[each[2] for each in LEFT])
def test_what_it_is_not_for_is_left_to_pillow(data: bytes, how: dict[str, Any], why: str) -> None:
    fake = Fake()
    found = CheckedDecoder(fake).decode(data, **how)
    assert found.way == Way(why=why) and fake.n_asked == 0
    if isinstance(found.picture, Image.Image):
        assert found.picture.tobytes() == decode_rgb(data, **how).tobytes()


def test_scaled_decoding_that_does_not_divide_is_at_full_size() -> None:
    assert CheckedDecoder(Fake()).decode(jpeg(size=(41, 30)), at_least=(8, 8)).way.decoder == "fake"


def test_refusals_and_failures_are_those_of_pillow() -> None:
    whole = jpeg(size=(200, 200))
    for data in (whole[: len(whole) // 2], jpeg(size=(500, 2)), b"\xff\xd8\xff"):
        with pytest.raises(ImageError) as expected:
            decode_rgb(data)
        found = CheckedDecoder(Fake(lambda _: None)).decode(data)
        assert isinstance(found.picture, ImageError) and str(found.picture) == str(expected.value)
    assert CheckedDecoder(Fake(lambda _: None)).decode(whole).way == Way(why="refused")
    assert CheckedDecoder(Fake()).decode(jpeg(size=(500, 2))).way == PILLOW
    assert CheckedDecoder(None).decode(whole).way == PILLOW


def broken(data: bytes) -> Any:
    raise RuntimeError("no\nmemory")


LIARS: list[tuple[Callable[[bytes], Any], Doubt]] = [
    (
        lambda data: stored(data) ^ (np.arange(30 * 40 * 3).reshape(30, 40, 3) == 3599).astype(np.uint8),
        Doubt("fake", "makes other pixels than Pillow of JPEG baseline 4:2:0", PLAIN, is_wrong=True),
    ),
    (broken, Doubt("fake", "failed with RuntimeError on JPEG baseline 4:2:0: no memory", PLAIN)),
    (
        lambda data: stored(data)[:, 1:],
        Doubt("fake", "makes uint8 of shape (30, 39, 3) of JPEG baseline 4:2:0 of 40 × 30", PLAIN),
    ),
    (
        lambda data: stored(data).astype(np.float32),
        Doubt("fake", "makes float32 of shape (30, 40, 3) of JPEG baseline 4:2:0 of 40 × 30", PLAIN),
    ),
]


@pytest.mark.parametrize(("lie", "doubt"), LIARS, ids=["pixel", "raises", "shape", "dtype"])
def test_a_kind_that_it_gets_wrong_is_pillows_from_then_on(lie: Callable[[bytes], Any], doubt: Doubt) -> None:
    checked = CheckedDecoder(Fake(lie))
    found, later, other = checked.decode(jpeg(1)), checked.decode(jpeg(2)), checked.decode(jpeg(3, subsampling=0))
    assert found.way == Way(why="not trusted", doubt=doubt) and later.way == Way(why="not trusted")
    assert isinstance(found.picture, Image.Image) and found.picture.tobytes() == decode_rgb(jpeg(1)).tobytes()
    assert other.way.doubt is not None


def test_a_picture_that_pillow_refuses_and_it_does_not_is_a_lie() -> None:
    data = jpeg(size=(200, 200))[:9000]
    found = CheckedDecoder(Fake(lambda _: np.zeros((200, 200, 3), np.uint8))).decode(data)
    assert isinstance(found.picture, ImageError) and found.way.doubt is not None and found.way.doubt.is_wrong


def test_one_that_is_given_up_is_not_asked_again() -> None:
    fake = Fake()
    checked = CheckedDecoder(fake)
    checked.give_up()
    assert checked.decode(jpeg()).way == Way(why="not trusted") and fake.n_asked == 0
