import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featcache.dataset.manifest import Manifest
from featcache.errors import ManifestError


def read(folder: Path, rows: list[dict[str, object]], ending: str = "jsonl") -> Manifest:
    path = folder / f"m.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows) if ending == "json" else "".join(json.dumps(row) + "\n" for row in rows))
    return Manifest.from_source(path)


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_each_caption_of_a_list_is_a_sample_and_all_are_one_group(ending: str, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    rows: list[dict[str, object]] = [
        {"image": "a.jpg", "caption": ["one", "two"], "label_a": 1, "split": "test"},
        {"image": "b.jpg", "caption": ["three"], "label_a": 0, "split": "train"},
    ]
    samples = read(tmp_path, rows, ending).samples
    assert [(s.sample_id, s.caption, s.group, s.label_a, s.split) for s in samples] == [
        ("a.jpg#0", "one", "a.jpg", 1, "test"),
        ("a.jpg#1", "two", "a.jpg", 1, "test"),
        ("b.jpg#0", "three", "b.jpg", 0, "train"),
    ]
    assert [s.image.read_bytes() for s in samples if s.image] == [b"a.jpg", b"a.jpg", b"b.jpg"]


def test_a_given_group_holds_the_captions_together_too(tmp_path: Path) -> None:
    samples = read(tmp_path, [{"caption": ["a", "b"], "group": "g", "id": 7}]).samples
    assert [(s.sample_id, s.group) for s in samples] == [("7#0", "g"), ("7#1", "g")]


def test_missing_captions_of_a_list_are_left_out_and_the_others_keep_their_places(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    rows: list[dict[str, object]] = [
        {"id": "x", "image": "a.jpg", "caption": [None, "", "nan", "NULL", "b", " "]},
        {"id": "y", "image": "a.jpg", "caption": []},
        {"id": "z", "image": "a.jpg", "caption": "alone"},
        {"id": "w", "image": "a.jpg", "caption": [None]},
    ]
    samples = read(tmp_path, rows).samples
    assert [(s.sample_id, s.caption, s.group) for s in samples] == [
        ("x#4", "b", "x"),
        ("y", None, None),
        ("z", "alone", None),
        ("w", None, None),
    ]


def test_an_id_that_a_caption_of_another_row_gets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="sample_id 'a#1' is taken"):
        read(tmp_path, [{"id": "a", "caption": ["x", "y"]}, {"id": "a#1", "caption": "z"}])


@pytest.mark.parametrize("cell", [[["a"]], [{"raw": "a"}], {"raw": "a"}])
def test_lists_of_anything_but_text_are_refused(cell: object, tmp_path: Path) -> None:
    with pytest.raises(
        ManifestError, match=r"line 1, column 'caption': expected text or a number, found a (list|dict)"
    ):
        read(tmp_path, [{"caption": cell}])


def test_a_list_in_another_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="column 'group': expected text"):
        read(tmp_path, [{"caption": "a", "group": ["x"]}])


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list, pa.list_view])
@pytest.mark.parametrize("text", [pa.string(), pa.large_string(), pa.string_view()])
def test_every_arrow_list_of_text_is_one_of_captions(kind: object, text: pa.DataType, tmp_path: Path) -> None:
    cells = pa.array([["a", "b"], None, ["c"]], kind(text))  # type: ignore[operator]
    path = tmp_path / "m.parquet"
    (tmp_path / "a").write_bytes(b"x")
    pq.write_table(pa.table({"caption": cells}), path)
    with pytest.raises(ManifestError, match="row 2, expected an image, a caption or both"):
        Manifest.from_source(path)
    pq.write_table(pa.table({"caption": cells, "id": ["x", "y", "z"], "image": ["a", "a", None]}), path)
    samples = Manifest.from_source(path).samples
    captions = [(s.sample_id, s.caption) for s in samples]
    assert captions == [("x#0", "a"), ("x#1", "b"), ("y", None), ("z#0", "c")]


@pytest.mark.parametrize("cell", ["True", "true", "TRUE", True, 1, 1.0, "1", "1.0"])
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_true_is_ai_in_every_form(cell: object, ending: str, tmp_path: Path) -> None:
    other = (
        str(cell).replace("1", "0").replace("rue", "alse").replace("RUE", "ALSE").replace("T", "F").replace("t", "f")
    )
    cells = [cell, not cell if isinstance(cell, bool) else type(cell)(other)]  # type: ignore[call-arg]
    if ending == "csv":
        (tmp_path / "m.csv").write_text("caption,label_a\n" + "".join(f"a,{cell}\n" for cell in cells))
        labels = [sample.label_a for sample in Manifest.from_source(tmp_path / "m.csv").samples]
    else:
        labels = [sample.label_a for sample in read(tmp_path, [{"caption": "a", "label_a": c} for c in cells]).samples]
    assert labels == [1, 0]


@pytest.mark.parametrize("column", ["label_b", "generator"])
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_true_and_false_are_no_classes(column: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"m.{ending}"
    rows = [{"caption": "a", column: "sdxl"}, {"caption": "b", column: True}]
    if ending == "csv":
        path.write_text(f"caption,{column}\na,sdxl\nb,True\n")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ManifestError, match=r"line [23].*(True|unknown label)"):
        Manifest.from_source(path)
