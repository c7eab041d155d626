"""What extract and bench are told about columns and paths: on the command line, in featcache.toml, or by the cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

import cli
from featcache import open_store

from factories import png

SPECTRAL = ("--spectral-outputs", "peaks", "--text-model", "none", "--image-model", "none", "--device", "cpu")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of another machine whose columns have other names, and its pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "here").mkdir()
    rows = []
    for number in range(3):
        (tmp_path / "here" / f"{number}.png").write_bytes(png(number, (32, 32)))
        rows.append({"file": f"C:\\old\\{number}.png", "alt": [f"a {number}", f"b {number}"], "is_ai": number % 2 == 1})
    (tmp_path / "photos.json").write_text(json.dumps(rows))
    return tmp_path


def call(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli.featcache_app, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def extract(*words: object) -> dict[str, Any]:
    document = json.loads(call("extract", "photos.json", *words, "--json", *SPECTRAL).stdout)
    assert isinstance(document, dict)
    return document


def assert_is_whole() -> None:
    arrays = open_store("cache").arrays()
    assert arrays.sample_id.tolist() == [f"C:\\old\\{n}.png#{k}" for n in range(3) for k in range(2)]
    assert arrays.label_a.tolist() == [0, 0, 1, 1, 0, 0] and arrays.present["spectral"].all()
    assert arrays.group.tolist() == [f"C:\\old\\{n}.png" for n in range(3) for _ in range(2)]


def test_columns_and_a_root_are_named_once_and_remembered(work: Path) -> None:
    said = ("--column", "image=file,caption=alt", "--column", "label_a=is_ai", "--root", "here")
    assert extract(*said)["notes"] == []
    assert_is_whole()
    again = extract()
    assert again["n_encoded"] == 0 and again["notes"] == [
        "columns as named before: --column image=file,caption=alt,label_a=is_ai",
        f"pictures below the folder that was named before: --root {work / 'here'}",
    ]
    assert_is_whole()


def test_names_of_splits_are_said_on_the_command_line_or_by_the_project(work: Path) -> None:
    Path("held.csv").write_text("image,split\nhere/0.png,held\nhere/1.png,train\nhere/2.png,probe\n")
    call("extract", "held.csv", "--splits", "held=test", "--splits", "probe=valid", *SPECTRAL)
    assert open_store("cache").samples.split.tolist() == ["test", "train", "valid"]
    Path("featcache.toml").write_text('data = "held.csv"\nsplits = "held=valid,probe=valid"\n')
    call("extract", *SPECTRAL)
    assert open_store("cache").samples.split.tolist() == ["valid", "train", "valid"]


def test_a_project_says_it_of_its_data_alone(work: Path) -> None:
    Path("featcache.toml").write_text(
        'data = "photos.json"\ncolumn = "image=file,caption=alt,label_a=is_ai"\nroot = "here"\n'
    )
    call("extract", *SPECTRAL)
    assert_is_whole()
    Path("other.csv").write_text("image,caption\nhere/0.png,x\n")
    call("extract", "other.csv", *SPECTRAL)
    assert open_store("cache", dataset="other").samples.columns == ""


def test_bench_takes_them_too(work: Path) -> None:
    said = ("--column", "image=file,label_a=is_ai", "--root", "here", "--samples", 3, "--seconds", 0.001)
    assert json.loads(call("bench", "photos.json", *said, "--json", *SPECTRAL).stdout)["n_pictures"] == 3


def test_what_to_type_is_said_before_anything_is_encoded(work: Path) -> None:
    Path("photos.csv").write_text("image,label,url\nhere/0.png,1,x\n")
    result = call("extract", "photos.csv", "--dry-run", *SPECTRAL)
    told = " ".join(result.stderr.split())
    assert "note 'label' is not read: --column label_a=label if it is the label real or AI" in told
    assert "note photos.csv: not read: 'url'" in told


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--column", ""), 2, "it is empty"),
        (("--column", "picture=file"), 1, "expected FIELD=COLUMN, FIELD one of image, caption"),
        (("--column", "image=fil"), 1, "did you mean 'file'?"),
        (("--column", "image=file", "--root", "nowhere"), 1, "expected a folder, found none"),
        (("--splits", " "), 2, "it is empty"),
        (("--column", "image=file"), 1, "say with --root DIR where the pictures are"),
        ((), 1, "name it with --column image=… or caption=…"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(words: tuple[str, ...], code: int, told: str, work: Path) -> None:
    result = call("extract", "photos.json", *words, *SPECTRAL, code=code)
    output = " ".join((result.output + str(result.exception or "")).replace("│", " ").split())
    assert told in output
    assert not Path("cache").exists()
