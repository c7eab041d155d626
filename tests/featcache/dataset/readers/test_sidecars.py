"""Captions beside pictures: the first file that has one, in a fixed order."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.reading import Reading


def caption(folder: Path, *, rules: int | None = None, **texts: str) -> str | None:
    (folder / "1.jpg").write_bytes(b"x")
    for ending, text in texts.items():
        (folder / f"1.{ending}").write_text(text)
    manifest = Manifest.from_source(folder, earlier=lambda _: Reading(rules=rules) if rules else None)
    return manifest.samples[0].caption


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"txt": "t", "caption": "c", "json": '{"caption": "j"}'}, "t"),
        ({"caption": "c\n", "json": '{"caption": "j"}'}, "c"),
        ({"json": '{"caption": "j", "text": "k"}'}, "j"),
        ({"json": '{"text": "k", "prompt": "l"}'}, "k"),
        ({"json": '{"Prompt": "l", "caption": null}'}, "l"),
        ({"txt": " \n", "caption": "c"}, "c"),
        ({"txt": "None", "json": '{"caption": "j"}'}, "j"),
        ({"json": '{"url": "https://x"}'}, None),
        ({"json": '{"caption": "nan"}'}, None),
    ],
)
def test_the_first_file_that_has_a_caption_counts(texts: dict[str, str], expected: str | None, tmp_path: Path) -> None:
    assert caption(tmp_path, **texts) == expected


@pytest.mark.parametrize("ending", ["caption", "json"])
def test_data_sets_of_the_first_version_have_captions_of_txt_alone(ending: str, tmp_path: Path) -> None:
    assert caption(tmp_path, rules=1, **{ending: json.dumps({"caption": "new"})}) is None


@pytest.mark.parametrize(
    "text",
    ["{", "[1]", '{"caption": [["a"], "b"]}', '{"caption": "\\ud800"}', '{"a": 1, "a": 2}', "[" * 100_000, " " * 2**21],
)
def test_json_that_is_no_object_with_a_caption_is_left_alone_and_told(text: str, tmp_path: Path) -> None:
    assert caption(tmp_path, json=text) is None
    (note,) = Manifest.from_source(tmp_path).notes
    assert note.startswith("1 .json beside pictures cannot be read") and "'1.json'" in note


@pytest.mark.timeout(10)
def test_json_that_is_no_file_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.json")
    assert caption(tmp_path) is None


def test_json_without_a_picture_is_no_orphan(tmp_path: Path) -> None:
    (tmp_path / "2.json").write_text('{"caption": "of no picture"}')
    (tmp_path / "coco.json").write_text("[]")
    assert caption(tmp_path, json='{"caption": "a cat"}') == "a cat"
    assert Manifest.from_source(tmp_path).orphans == ()
