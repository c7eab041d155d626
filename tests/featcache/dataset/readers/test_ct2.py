import csv
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import openpyxl
import pytest

from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.ct2 import CT2_GENERATORS
from featcache.errors import ManifestError

HEADER = (
    "id,caption,coco_image,sd3_image,sd21_image,sdxl_image,dalle_image,midjourney_image".split(",")  # noqa: SIM905
)
CLASSES = ("real", "sd3", "sd21", "sdxl", "dalle3", "midjourney")


def pictures(folder: Path, row: int) -> list[str]:
    (folder / "images").mkdir(exist_ok=True)
    for name in CLASSES:
        (folder / "images" / f"{row}-{name}.jpg").write_bytes(f"{row} {name}".encode())
    return [f"images/{row}-{name}.jpg" for name in CLASSES]


def write(folder: Path, name: str, rows: Sequence[Sequence[object]]) -> Path:
    path = folder / name
    if path.suffix == ".xlsx":
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(list(row))
        book.save(path)
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",").writerows(rows)
    return path


@pytest.mark.parametrize("name", ["ct2.csv", "ct2.tsv", "ct2.xlsx"])
def test_each_cell_of_the_wide_table_is_a_sample(name: str, tmp_path: Path) -> None:
    rows = [[row, f"caption {row}", *pictures(tmp_path, row)] for row in (11, 12)]
    manifest = Manifest.from_source(write(tmp_path, name, [HEADER, *rows]))
    assert manifest.generators == CT2_GENERATORS == ("sd21", "sdxl", "sd3", "dalle3", "midjourney")
    assert [s.sample_id for s in manifest.samples] == [f"{r}-{c}" for r in (11, 12) for c in CLASSES]
    for sample in manifest.samples:
        row, label = sample.sample_id.split("-")
        assert sample.image is not None
        assert sample.image.read_bytes() == f"{row} {label}".encode()
        assert (sample.caption, sample.group, sample.split) == (f"caption {row}", row, None)
        assert (sample.label_a, sample.label_b) == (int(label != "real"), label)


@pytest.mark.parametrize(
    "names",
    [
        ["Real", "SD 3", "SD 2.1", "SD XL", "DALL-E 3", "Midjourney v6"],
        ["coco", "sd3", "sd2.1", "sdxl", "dalle", "mj"],
        ["Real Image", "image_stable_diffusion_3", "Stable Diffusion 2.1 path", "img-sdxl", "DALLE3", "MJ6"],
    ],
)
def test_columns_map_by_name_in_any_order(names: list[str], tmp_path: Path) -> None:
    cells = dict(zip(names, pictures(tmp_path, 1), strict=True))
    order = [*reversed(names)]
    header = ["Caption", *order, "label_a"]
    path = write(tmp_path, "m.csv", [header, ["a cat", *(cells[name] for name in order), "9"]])
    samples = Manifest.from_source(path).samples
    assert {s.sample_id: s.image.read_bytes().decode() for s in samples if s.image} == {
        f"1-{name}": f"1 {name}" for name in CLASSES
    }


def test_split_and_group_columns_are_honoured_and_empty_cells_left_out(tmp_path: Path) -> None:
    header = ["caption", "real", "sdxl", "sd3", "split", "group"]
    real, sd3, *_ = pictures(tmp_path, 1)
    path = write(tmp_path, "m.csv", [header, ["", real, "", sd3, "val", "g"], ["b", real, "", "", "", ""]])
    found = [(s.sample_id, s.caption, s.split, s.group) for s in Manifest.from_source(path).samples]
    assert found == [
        ("1-real", None, "valid", "g"),
        ("1-sd3", None, "valid", "g"),
        ("2-real", "b", None, None),
    ]


@pytest.mark.parametrize(
    "header",
    [
        ["caption", "image", "real", "sd3", "sdxl"],
        ["caption", "image", "real", "sd3"],
        ["caption", "image", "sd21", "sd3", "sdxl"],
    ],
)
def test_other_tables_are_narrow(header: list[str], tmp_path: Path) -> None:
    row = ["a", *pictures(tmp_path, 1)[: len(header) - 1]]
    assert len(Manifest.from_source(write(tmp_path, "m.csv", [header, row])).samples) == 1


def test_two_columns_of_one_class_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "m.csv", [["caption", "real", "coco_image", "sd3", "sdxl"], ["a"] * 5])
    with pytest.raises(ManifestError, match="'real' and 'coco_image' both mean the class real"):
        Manifest.from_source(path)


def test_a_wide_row_without_pictures_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "m.csv", [HEADER, [1, "a", *pictures(tmp_path, 1)], [2, "b"] + [""] * 6])
    with pytest.raises(ManifestError, match=r"m\.csv, line 3, expected a picture"):
        Manifest.from_source(path)


def test_orphans_of_a_wide_table_name_their_column(tmp_path: Path) -> None:
    path = write(tmp_path, "m.csv", [HEADER, [1, "a", *pictures(tmp_path, 1)[:5], "gone.jpg"]])
    with pytest.raises(ManifestError, match=r"line 2, column 'midjourney_image': .*'gone\.jpg'"):
        Manifest.from_source(path)
    manifest = Manifest.from_source(path, on_orphan="skip")
    assert (len(manifest.samples), len(manifest.orphans)) == (5, 1)


def test_repeated_row_ids_are_refused(tmp_path: Path) -> None:
    row = [1, "a", *pictures(tmp_path, 1)]
    with pytest.raises(ManifestError, match="line 3: sample_id '1-real' is taken by"):
        Manifest.from_source(write(tmp_path, "m.csv", [HEADER, row, row]))


def test_a_narrow_workbook_is_a_table(tmp_path: Path) -> None:
    rows = [["ID", "Caption", "Label_A", "group"], [1.0, 12, True, 2.5], [2, "b", None, None], [None] * 4]
    samples = Manifest.from_source(write(tmp_path, "m.xlsx", rows)).samples
    assert [(s.sample_id, s.caption, s.label_a, s.group) for s in samples] == [
        ("1", "12", 1, "2.5"),
        ("2", "b", -1, None),
    ]
    assert [s.where for s in samples] == ["m.xlsx, row 2 of the sheet", "m.xlsx, row 3 of the sheet"]


@pytest.mark.parametrize(("cell", "kind"), [("=A1", "a formula"), ("#N/A", "the error '#N/A'")])
def test_formulas_and_errors_are_refused_with_their_coordinate(cell: str, kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, "m.xlsx", [["id", "caption"], [1, "a"], [2, cell]])
    with pytest.raises(ManifestError, match=rf"m\.xlsx, sheet 'Sheet', cell B3: .* found {kind}"):
        Manifest.from_source(path)


@pytest.mark.parametrize("rows", [[], [["caption"]]])
def test_a_workbook_without_rows_is_refused(rows: list[list[object]], tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"m\.xlsx (is empty|has no rows)"):
        Manifest.from_source(write(tmp_path, "m.xlsx", rows))


@pytest.mark.parametrize("kind", ["text", "zip", "truncated", "markup"])
def test_a_broken_workbook_is_refused(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, "m.xlsx", [["caption"], ["a"]])
    if kind == "text":
        path.write_text("caption\na\n")
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        with zipfile.ZipFile(path) as file:
            parts = {name: file.read(name) for name in file.namelist()}
        parts = {"a": b""} if kind == "zip" else parts | {"xl/worksheets/sheet1.xml": b"<worksheet><"}
        with zipfile.ZipFile(path, "w") as file:
            for name, data in parts.items():
                file.writestr(name, data)
    with pytest.raises(ManifestError, match=r"m\.xlsx cannot be read as a workbook"):
        Manifest.from_source(path)


def test_dates_are_no_captions(tmp_path: Path) -> None:
    import datetime

    path = write(tmp_path, "m.xlsx", [["caption"], [datetime.datetime(2024, 1, 2)]])
    with pytest.raises(ManifestError, match="column 'caption': expected text or a number, found a datetime"):
        Manifest.from_source(path)


def test_a_missing_library_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "m.xlsx", [["caption"], ["a"]])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ManifestError, match=r"pip install 'featcache\[xlsx\]'"):
        Manifest.from_source(path)
