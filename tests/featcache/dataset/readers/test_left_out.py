"""What looks like a picture and is not taken is counted, with the reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.left_out import Sieve, kind_of, read_head
from featcache.dataset.readers.reading import Reading

JPEG = b"\xff\xd8\xff\xe0 and what follows"
HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf"


def left(manifest: Manifest) -> dict[str, str]:
    return {name: each.reason for each in manifest.left_out for name in each.names}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.JPG", ".jpg"), ("a/b", ""), ("v1.5", ""), ("v1.5_001", ""), ("a.b/c", ""), ("1.jpg_large", ".jpg_large")],
)
def test_numbers_are_no_endings(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_files_without_an_ending_are_pictures_by_their_first_bytes(tmp_path: Path) -> None:
    for name, data in {"a": JPEG, "v1.5_001": JPEG, "b": b"text", "empty": b"", "c.jpg": b"whatever"}.items():
        (tmp_path / name).write_bytes(data)
    manifest = Manifest.from_source(tmp_path)
    assert [s.sample_id for s in manifest.samples] == ["a", "c.jpg", "v1.5_001"]
    assert manifest.left_out == ()
    early = Manifest.from_source(tmp_path, earlier=lambda _: Reading(rules=1))
    assert [s.sample_id for s in early.samples] == ["c"]
    assert left(early).keys() == {"a", "v1.5_001"}


def test_pictures_that_are_not_decoded_or_misnamed_are_left_out_with_the_reason(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.DNG", "a/3.psd", "4.svg", "5.jpg_large", "6.download", "7.pdf", "8.txt", "9.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(JPEG if name[0] in "1569" else b"x")
    (tmp_path / "8.txt").unlink()
    found = left(Manifest.from_source(tmp_path))
    assert set(found) == {"2.DNG", "a/3.psd", "4.svg", "5.jpg_large", "6.download"}
    assert "convert to PNG" in found["2.DNG"] == found["4.svg"]
    assert "rename them" in found["6.download"] == found["5.jpg_large"]


@pytest.mark.parametrize("is_there", [False, True])
def test_heic_without_its_library_is_counted_and_the_line_says_what_to_install(
    is_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featcache.files.picture_formats.has_heif", lambda: is_there)
    for name in ("IMG_1.HEIC", "IMG_2.heif", "IMG_3.JPG", "IMG_4"):
        (tmp_path / name).write_bytes(HEIC)
    manifest = Manifest.from_source(tmp_path)
    if is_there:
        assert len(manifest.samples) == 4 and not manifest.left_out
    else:
        assert [s.sample_id for s in manifest.samples] == ["IMG_3.JPG"]
        (only,) = manifest.left_out
        assert only.names == ("IMG_1.HEIC", "IMG_2.heif", "IMG_4") and "pip install 'featcache[heif]'" in only.reason


@pytest.mark.timeout(10)
def test_only_first_bytes_of_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(JPEG * 1000)
    assert read_head(str(tmp_path / "fifo")) == read_head(str(tmp_path / "nowhere")) == read_head(str(tmp_path)) == b""
    assert len(read_head(str(tmp_path / "large"))) == 64


def test_a_sieve_leaves_nothing_out_of_which_the_ending_does_not_tell() -> None:
    sieve = Sieve(is_early=False, root="/d")
    assert sieve.takes("a.unknown") is None and not sieve.takes_bytes("a.unknown", b"text")
    assert sieve.left_out == ()
