"""Columns of labels whose names say the opposite of how they are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.inverted import is_inverted
from featcache.dataset.readers.reading import Reading
from featcache.errors import ManifestError


def read(folder: Path, column: str, values: list[object], *, rules: int = 3, **options: str) -> Manifest:
    rows = [{"caption": f"caption {value}", column: value} for value in values]
    (folder / "m.json").write_text(json.dumps(rows))
    return Manifest.from_source(folder / "m.json", earlier=lambda _: Reading(rules=rules), **options)


@pytest.mark.parametrize(
    ("column", "inverted"),
    [
        *((name, True) for name in ("is_real", "isReal", "isreal", "Real", "real_image", "label_real", "human")),
        *((name, True) for name in ("is_human", "is_photo", "not_ai", "is_not_fake", "nature", "IS REAL")),
        *((name, False) for name in ("is_ai", "fake", "label", "real_or_fake", "not_real", "is_generated", "")),
        *((name, False) for name in ("original_label", "photo_id", "realism", "1", "\x1b")),
    ],
)
def test_a_name_says_which_way_it_goes(column: str, inverted: bool) -> None:
    assert is_inverted(column) == inverted


@pytest.mark.parametrize("field", ["label_a", "label_b", "generator"])
@pytest.mark.parametrize("values", [[1, 0], [True, False], ["1.0", "0.0"]])
def test_numbers_of_such_a_column_are_refused_until_they_are_stated(
    field: str, values: list[object], tmp_path: Path
) -> None:
    with pytest.raises(ManifestError, match=r"'is_real' says real: --labels 1=real,0=ai states it so"):
        read(tmp_path, "is_real", values, columns=f"{field}=is_real")
    for labels, expected in (("1=real,0=ai", [0, 1]), ("0=real,1=ai", [1, 0]), ("none", [-1, -1])):
        samples = read(tmp_path, "is_real", values, columns=f"{field}=is_real", labels=labels).samples
        assert [s.label_a for s in samples] == expected


def test_words_say_what_they_mean_in_any_column(tmp_path: Path) -> None:
    samples = read(tmp_path, "real", ["real", "fake", None], columns="label_a=real").samples
    assert [s.label_a for s in samples] == [0, 1, -1]


def test_a_column_that_says_ai_is_read_as_ever(tmp_path: Path) -> None:
    assert [s.label_a for s in read(tmp_path, "is_ai", [1, 0], columns="label_a=is_ai").samples] == [1, 0]


def test_a_known_table_goes_on_and_it_is_said(tmp_path: Path) -> None:
    manifest = read(tmp_path, "is_real", [1, 0], rules=2, columns="label_a=is_real")
    assert [s.label_a for s in manifest.samples] == [1, 0]
    assert "read into this cache as AI: --labels 1=real,0=ai" in manifest.notes[0]


def test_the_hint_about_such_a_column_states_it(tmp_path: Path) -> None:
    (note,) = read(tmp_path, "is_real", [1]).notes
    assert note.startswith("'is_real' is not read: --column label_a=is_real --labels 1=real,0=ai if it is the label")
