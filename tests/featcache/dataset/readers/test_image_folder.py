"""Folders of pictures with tables of metadata, as Hugging Face's ImageFolder has them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.reading import Reading
from featcache.errors import ManifestError

Row = dict[str, object]


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def write(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        path.write_text(buffer.getvalue())


def told(manifest: Manifest) -> dict[str, tuple[str | None, str | None, int, str | None]]:
    return {s.sample_id: (s.split, s.caption, s.label_a, s.label_b) for s in manifest.samples}


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_table_in_each_folder_of_a_split_is_read(ending: str, tmp_path: Path) -> None:
    fill(tmp_path, "train/1.jpg", "train/deep/2.jpg", "validation/1.jpg", "README.md")
    rows: list[Row] = [
        {"file_name": "1.jpg", "text": "a cat", "generator": "real"},
        {"file_name": "deep/2.jpg", "text": "a dog", "generator": "sdxl"},
    ]
    write(tmp_path / "train" / f"metadata.{ending}", rows)
    write(tmp_path / "validation" / f"metadata.{ending}", [{"file_name": "1.jpg", "text": "", "generator": "sdxl"}])
    manifest = Manifest.from_source(tmp_path)
    assert told(manifest) == {
        "train/1.jpg": ("train", "a cat", 0, "real"),
        "train/deep/2.jpg": ("train", "a dog", 1, "sdxl"),
        "validation/1.jpg": ("valid", None, 1, "sdxl"),
    }
    assert manifest.origin == str(tmp_path) and manifest.left_out == ()


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_table_in_the_folder_is_read_and_pictures_that_it_does_not_name_are_told(ending: str, tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg", "2.jpg", "3.jpg", "4.psd")
    write(tmp_path / f"metadata.{ending}", [{"file_name": "a/1.jpg", "text": "x"}, {"file_name": "2.jpg", "text": "y"}])
    manifest = Manifest.from_source(tmp_path)
    assert told(manifest) == {"a/1.jpg": (None, "x", -1, None), "2.jpg": (None, "y", -1, None)}
    found = {each.names: each.reason for each in manifest.left_out}
    assert set(found) == {("3.jpg",), ("4.psd",)} and found["3.jpg",] == "no row of the metadata names them"


def test_pictures_of_a_split_without_a_table_are_told(tmp_path: Path) -> None:
    fill(tmp_path, "train/1.jpg", "test/2.jpg")
    write(tmp_path / "train" / "metadata.csv", [{"file_name": "1.jpg", "text": "x"}])
    manifest = Manifest.from_source(tmp_path)
    assert told(manifest) == {"train/1.jpg": (None, "x", -1, None)}
    assert [each.names for each in manifest.left_out] == [("test/2.jpg",)]


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("train2017", "Test_Set")])
def test_columns_are_named_in_tables_of_splits_too(train: str, test: str, tmp_path: Path) -> None:
    fill(tmp_path, f"{train}/1.jpg", f"{test}/2.jpg")
    for split, name in ((train, "1.jpg"), (test, "2.jpg")):
        write(tmp_path / split / "metadata.csv", [{"file_name": name, "alt": "x", "is_ai": 1}])
    manifest = Manifest.from_source(tmp_path, columns="caption=alt,label_a=is_ai")
    assert told(manifest) == {f"{train}/1.jpg": ("train", "x", 1, None), f"{test}/2.jpg": ("test", "x", 1, None)}
    if train == "train2017":  # by rules 2, folders called so had no tables
        manifest = Manifest.from_source(tmp_path, earlier=lambda _: Reading(rules=2))
        assert [caption for _, caption, *_ in told(manifest).values()] == [None, None]


def test_a_picture_that_is_not_there_is_an_orphan(tmp_path: Path) -> None:
    fill(tmp_path, "train/1.jpg", "test/2.jpg")
    write(
        tmp_path / "train" / "metadata.csv",
        [{"file_name": "1.jpg"}, {"file_name": "../test/2.jpg"}, {"file_name": "3.jpg"}],
    )
    with pytest.raises(ManifestError, match=r"train/metadata\.csv, line 4, column 'file_name': there is no file"):
        Manifest.from_source(tmp_path)


def test_two_tables_in_one_folder_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, "train/1.jpg")
    for ending in ("csv", "jsonl"):
        write(tmp_path / "train" / f"metadata.{ending}", [{"file_name": "1.jpg"}])
    with pytest.raises(ManifestError, match=r"holds 'metadata\.csv' and 'metadata\.jsonl': leave one"):
        Manifest.from_source(tmp_path)


@pytest.mark.parametrize("name", ["metadata.parquet", "train/metadata.csv"])
def test_a_folder_that_a_cache_knows_goes_on_as_a_folder_of_pictures(name: str, tmp_path: Path) -> None:
    fill(tmp_path, "train/real/1.jpg", "train/sdxl/2.jpg", "test/real/3.jpg")
    write(tmp_path / name, [{"file_name": "real/1.jpg", "text": "new"}])
    manifest = Manifest.from_source(tmp_path, earlier=lambda _: Reading(rules=1))
    assert told(manifest) == {
        "test/real/3": ("test", None, 0, "real"),
        "train/real/1": ("train", None, 0, "real"),
        "train/sdxl/2": ("train", None, 1, "sdxl"),
    }
    assert manifest.origin == str(tmp_path)
