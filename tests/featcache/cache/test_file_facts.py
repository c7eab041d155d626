from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from featcache.cache.file_facts import FORMATS, FileFacts
from featcache.cache.samples import SampleTable, read_samples, write_samples
from featcache.errors import ShardError
from featcache.extraction.survey.scan import scan
from featcache.files.column_file import ColumnFile
from featcache.pictures.decode import probe_image

from factories import read_manifest, write_dataset


def picture(format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (9, 99, 200)).save(buffer, format, **options)
    return buffer.getvalue()


def exif() -> Image.Exif:
    """What a file has that was written with EXIF data: made from nothing, Pillow would put none into a TIFF."""
    made = Image.Exif()
    made.get_ifd(0x8769)[0x9003] = "2024:01:01 00:00:00"
    return Image.open(io.BytesIO(picture("JPEG", exif=made))).getexif()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_is_seen_where_there_is_some(format: str) -> None:
    without, having = probe_image(picture(format)), probe_image(picture(format, exif=exif()))
    assert without is not None and having is not None
    assert (without.has_exif, having.has_exif) == (False, True) and having.format == format


def test_facts_are_what_the_files_are(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", n_captions=2, image=["a.jpg", "b.webp", "c.png", "d.gif", "e.png", ""])
    files = {"a.jpg": picture("JPEG", exif=exif()), "b.webp": picture("WEBP"), "c.png": picture("PNG")}
    for name, content in (files | {"d.gif": picture("GIF"), "e.png": b"no picture"}).items():
        (tmp_path / "d" / name).write_bytes(content)
    table = scan(read_manifest(data)).table
    assert table.files is not None
    assert [FORMATS[code] for code in table.files.format] == ["JPEG", "WEBP", "PNG", "GIF", "", ""]
    assert table.files.has_exif.tolist() == [1, 0, 0, 0, -1, -1]
    assert table.files.n_bytes.tolist()[:3] == [len(content) for content in files.values()]
    assert table.files.n_bytes.tolist()[4:] == [10, 0]
    assert table.bytes_per_pixel[0] == pytest.approx(len(files["a.jpg"]) / 1200)
    assert np.isnan(table.bytes_per_pixel).tolist() == [False] * 4 + [True] * 2


def test_every_format_that_is_decoded_has_a_code() -> None:
    from featcache.pictures import decode

    assert set(decode._FORMATS) <= set(FORMATS) and len(set(FORMATS)) == len(FORMATS)


def some_table(folder: Path, **columns: Any) -> SampleTable:
    return scan(read_manifest(write_dataset(folder, n_captions=2, **columns)), seed=-7).table


def test_facts_and_seed_are_read_as_they_were_written(tmp_path: Path) -> None:
    table = some_table(tmp_path / "d", split=[""] * 6)
    write_samples(tmp_path / "t.h5", table, root=tmp_path)
    copy = read_samples(tmp_path / "t.h5")
    assert copy.split_seed == table.split_seed == -7 and copy.files is not None and table.files is not None
    for name in ("format", "n_bytes", "has_exif"):
        np.testing.assert_array_equal(getattr(copy.files, name), getattr(table.files, name))


def test_a_split_of_the_manifest_has_no_seed(tmp_path: Path) -> None:
    table = some_table(tmp_path / "d")
    write_samples(tmp_path / "t.h5", table, root=tmp_path)
    assert table.split_seed is read_samples(tmp_path / "t.h5").split_seed is None


def test_a_table_from_before_the_facts_is_read_without_them(tmp_path: Path) -> None:
    from dataclasses import replace

    table = replace(some_table(tmp_path / "d"), label_a=np.full(6, -1, np.int8), label_b=np.full(6, -1, np.int16))
    write_samples(tmp_path / "t.h5", replace(table, files=None), root=tmp_path)
    with h5py.File(tmp_path / "t.h5") as file:
        assert not {"image_format", "n_bytes", "has_exif", "split_seed"} & set(file)
    copy = read_samples(tmp_path / "t.h5")
    assert copy.files is None and copy.split_seed is None and np.isnan(copy.bytes_per_pixel).all()
    np.testing.assert_array_equal(copy.image_key, table.image_key)


def rewrite(path: Path, **changed: np.ndarray | None) -> None:
    """Exchange columns of a table and seal it again."""
    with h5py.File(path) as file:
        columns = {name: file[name][...] for name in file}
    columns = {name: column for name, column in (columns | changed).items() if column is not None}
    ColumnFile(columns, 1, ("dataset", "origin")).write(path, root=path.parent)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_bytes": None}, "lacks column 'n_bytes'"),
        ({"extra": np.zeros(6, np.uint8)}, "an unknown column 'extra'"),
        ({"image_format": np.full(6, 12, np.uint8)}, "image_format runs from 12 to 12"),
        ({"has_exif": np.full(6, -2, np.int8)}, "has_exif runs from -2"),
        ({"has_exif": np.zeros(5, np.int8)}, r"'has_exif' has shape \(5,\), expected \(6,\)"),
        ({"image_key": np.zeros((6, 31), np.uint8)}, "'image_key' has shape"),
        ({"label_a": np.zeros((6, 1), np.int8)}, "has shape"),
        ({"group.offsets": np.arange(6)}, "'group.offsets' has shape"),
        ({"group.offsets": np.arange(7)[::-1].copy()}, "do not divide"),
        ({"split_seed": np.frombuffer(b"1e9", np.uint8)}, "split seed '1e9'"),
        ({"split": np.array([b"dev"] * 6, "S5")}, "split that is none of"),
    ],
)
def test_tables_that_break_a_rule_are_refused(
    tmp_path: Path, changed: dict[str, np.ndarray | None], message: str
) -> None:
    write_samples(tmp_path / "t.h5", some_table(tmp_path / "d"), root=tmp_path)
    rewrite(tmp_path / "t.h5")
    read_samples(tmp_path / "t.h5")
    rewrite(tmp_path / "t.h5", **changed)
    with pytest.raises(ShardError, match=message):
        read_samples(tmp_path / "t.h5")


def test_a_table_that_is_replaced_stays_as_it_was_for_who_has_opened_it(tmp_path: Path) -> None:
    first, second = some_table(tmp_path / "d"), some_table(tmp_path / "e", split=[""] * 6)
    write_samples(tmp_path / "t.h5", first, root=tmp_path)
    opened = read_samples(tmp_path / "t.h5")
    assert not opened.image_key.flags.owndata and not opened.image_key.flags.writeable
    write_samples(tmp_path / "t.h5", second, root=tmp_path)
    np.testing.assert_array_equal(opened.image_key, first.image_key)
    assert opened.sample_id.to_array().tolist() == first.sample_id.to_array().tolist()


def test_rows_of_facts_can_be_taken_and_put() -> None:
    facts = FileFacts.unknown(4)
    facts.note(1, 5_000_000_000)
    facts.put(np.array([3]), facts[np.array([1])])
    assert facts.n_bytes.tolist() == [0, 2**32 - 1, 0, 2**32 - 1] and facts.has_exif.tolist() == [-1] * 4
