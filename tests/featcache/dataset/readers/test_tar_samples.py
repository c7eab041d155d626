"""What one tar holds, by key: pictures of every kind that is decoded, and an account of the others."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.reading import Reading

JPEG = b"\xff\xd8\xff\xe0 and what follows"


def write(path: Path, **members: bytes) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_pictures_of_every_kind_that_is_decoded_are_taken(tmp_path: Path) -> None:
    names = ["a.avif", "b.JFIF", "c.jpe", "d.jp2", "e.mpo", "f.pjpeg", "g.ppm", "h.jpg"]
    path = write(tmp_path / "t.tar", **dict.fromkeys(names, b"x"), i=JPEG, j=b"text", k=b"")
    manifest = Manifest.from_source(path)
    assert "".join(s.sample_id for s in manifest.samples) == "abcdefghi"
    last = manifest.samples[-1].image
    assert last is not None and last.read_bytes() == JPEG
    assert (manifest.left_out, manifest.broken) == ((), ())


def test_a_known_tar_goes_on_with_the_kinds_of_the_first_version(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tar", **{"a.jpg": b"x", "b.avif": b"y", "c": JPEG})
    manifest = Manifest.from_source(path, earlier=lambda _: Reading(rules=1))
    assert [s.sample_id for s in manifest.samples] == ["a"]
    (left,) = manifest.left_out
    assert left.names == ("t.tar/b.avif", "t.tar/c")


@pytest.mark.parametrize(("rules", "caption"), [(1, None), (2, "a cat")])
def test_captions_of_metadata_have_the_names_that_tables_know(rules: int, caption: str | None, tmp_path: Path) -> None:
    path = write(tmp_path / "t.tar", **{"a.jpg": b"x", "a.json": b'{"Text": "a cat", "prompt": "not this"}'})
    (sample,) = Manifest.from_source(path, earlier=lambda _: Reading(rules=rules)).samples
    assert sample.caption == caption


def test_pictures_that_are_not_decoded_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tar", **{"a.jpg": b"x", "a.depth.png": b"y", "b.psd": b"z", "c.npy": b"x"})
    manifest = Manifest.from_source(path)
    assert [s.sample_id for s in manifest.samples] == ["a"] and manifest.broken == ()
    assert {each.names for each in manifest.left_out} == {("t.tar/a.depth.png",), ("t.tar/b.psd",)}
