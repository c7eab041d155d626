from pathlib import Path

import pytest

from featcache.dataset.manifest import Manifest
from featcache.errors import ManifestError


def write(folder: Path, captions: list[str]) -> Path:
    (folder / "a.jpg").write_bytes(b"x")
    (folder / "m.csv").write_text("image,caption\n" + "".join(f"a.jpg,{caption}\n" for caption in captions))
    return folder / "m.csv"


@pytest.mark.parametrize("word", ["nan", "NaN", "None", "NULL", "null"])
def test_what_programs_write_for_nothing_is_no_caption_and_that_is_said_once(word: str, tmp_path: Path) -> None:
    manifest = Manifest.from_source(write(tmp_path, ["a cat", word, "a dog", word]))
    assert [sample.caption for sample in manifest.samples] == ["a cat", None, "a dog", None]
    assert manifest.notes == (f"2 captions are taken for missing: {word!r}, m.csv, row 2 (and 1 more row)",)


@pytest.mark.parametrize("caption", ["none", "Null", "nano", "NAN", "a nan", " nan", "no", "nil", "N/A", "Nonee"])
def test_words_that_people_write_stay_captions(caption: str, tmp_path: Path) -> None:
    manifest = Manifest.from_source(write(tmp_path, [caption]))
    assert ([sample.caption for sample in manifest.samples], manifest.notes) == ([caption], ())


def test_by_the_rules_of_old_caches_they_are_captions(tmp_path: Path) -> None:
    manifest = Manifest.from_source(write(tmp_path, ["nan", "x"]), rules=1)
    assert [sample.caption for sample in manifest.samples] == ["nan", "x"]
    assert (manifest.notes, manifest.reading.rules) == ((), 1)
    (tmp_path / "m.csv").write_text("caption,label_b\nx,True\n")
    assert Manifest.from_source(tmp_path / "m.csv", rules=1).generators == ("True",)


def test_a_row_of_nothing_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("caption\na\nnan\nNone\n")
    with pytest.raises(
        ManifestError, match=r"m\.csv, row 2: the caption 'nan' is a missing one, .* \(and 1 more row\)"
    ):
        Manifest.from_source(tmp_path / "m.csv")


def test_captions_beside_pictures_may_be_missing_so_too(tmp_path: Path) -> None:
    for name, caption in (("a", "None"), ("b", "a bird")):
        (tmp_path / f"{name}.jpg").write_bytes(b"x")
        (tmp_path / f"{name}.txt").write_text(caption)
    manifest = Manifest.from_source(tmp_path)
    assert [sample.caption for sample in manifest.samples] == [None, "a bird"]
    assert manifest.notes[0].startswith("1 caption is taken for missing: 'None', ")
