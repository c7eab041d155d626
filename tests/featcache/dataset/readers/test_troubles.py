import base64
from pathlib import Path
from unicodedata import normalize

import pytest

from featcache.dataset.manifest import Manifest
from featcache.errors import ManifestError

from factories import png


def refusal(folder: Path, cell: str) -> str:
    (folder / "m.csv").write_text(f'image,caption\n"{cell}",x\n', encoding="utf-8")
    with pytest.raises(ManifestError) as caught:
        Manifest.from_source(folder / "m.csv")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 600
    return str(caught.value)


def test_backslashes_are_told_with_the_file_that_is_meant(tmp_path: Path) -> None:
    assert "it has \\ between folders, as on Windows" in refusal(tmp_path, "img\\a.jpg")
    assert "say with --root DIR" in refusal(tmp_path, "C:\\img\\a.jpg")
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "a.jpg").write_bytes(b"x")
    said = f"it is there with / in the place of \\: write / between folders, or --root {tmp_path}"
    assert said in refusal(tmp_path, "img\\a.jpg")
    assert Manifest.from_source(tmp_path / "m.csv", root=tmp_path).samples[0].image


@pytest.mark.parametrize(("stored", "written"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_in_another_unicode_form_are_told(stored: str, written: str, tmp_path: Path) -> None:
    (tmp_path / normalize(stored, "café.jpg")).write_bytes(b"x")
    message = refusal(tmp_path, normalize(written, "café.jpg"))
    assert f"another form of the same letters, Unicode {stored}: write the table in {stored}, or rename" in message


def test_a_link_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("gone/a.jpg")
    assert "there is no file 'a.jpg' (it is a link to 'gone/a.jpg', where nothing is)" in refusal(tmp_path, "a.jpg")
    with pytest.raises(ManifestError, match=r"there is no file '.*a\.jpg': it is a link to 'gone/a\.jpg'$"):
        Manifest.from_source(tmp_path / "a.jpg")


@pytest.mark.parametrize("kind", ["http", "https", "s3", "gs", "file"])
def test_addresses_are_told(kind: str, tmp_path: Path) -> None:
    assert f"it is an address ({kind}), expected a path: download" in refusal(tmp_path, f"{kind}://host/a.jpg")


@pytest.mark.parametrize(
    "data",
    [png(1), b"\xff\xd8\xff\xe0" + bytes(90), b"GIF89a" + bytes(90), b"RIFF" + bytes(90), b"II*\0" + bytes(90),
     b"MM\0*" + bytes(90), b"BM" + bytes(90)],
)  # fmt: skip
def test_pictures_as_text_are_told(data: bytes, tmp_path: Path) -> None:
    text = base64.b64encode(data).decode()
    assert "it is a picture in base64, expected a path" in refusal(tmp_path, text)
    assert "it is a picture in base64, expected a path" in refusal(tmp_path, f"data:image/png;base64,{text}")
    as_text = repr(data).replace('"', '""')
    assert "it is a picture's bytes as text, expected a path" in refusal(tmp_path, as_text)


def test_a_path_of_another_machine_is_told_what_to_type(tmp_path: Path) -> None:
    assert "say with --root DIR where the pictures are here" in refusal(tmp_path, "/home/alice/a.jpg")


@pytest.mark.parametrize("name", ["a.jpg", "BMW/a.jpg", "Qk/a.jpg", "R0lGOD.png", "b'a.jpg", "data:x", "é.jpg"])
def test_an_ordinary_name_of_nothing_is_just_not_there(name: str, tmp_path: Path) -> None:
    assert f"there is no file {name!r}: put them in their places" in refusal(tmp_path, name)


def test_long_base64_is_quoted_short_and_too_long_a_cell_told_what_to_do(tmp_path: Path) -> None:
    assert "it is a picture in base64" in refusal(tmp_path, "/9j/" + "A" * 100_000)
    assert "pictures belong into files or Parquet, not into cells" in refusal(tmp_path, "/9j/" + "A" * 1_000_000)
