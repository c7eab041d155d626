import csv
import json
import re
import sys
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.cells import parse_objects
from featcache.dataset.readers.outcome import _join
from featcache.dataset.readers.words import is_missing
from featcache.dataset.sample import ImageFile
from featcache.errors import ManifestError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40).filter(
    lambda text: not is_missing(text)
)


def read(folder: Path, text: str | bytes, name: str = "m.csv", **options: object) -> Manifest:
    data = text if isinstance(text, bytes) else text.encode()
    (folder / name).write_bytes(data)
    return Manifest.from_source(folder / name, **options)  # type: ignore[arg-type]


def read_objects(folder: Path, *rows: dict[str, object]) -> Manifest:
    return read(folder, "".join(json.dumps(row) + "\n" for row in rows), "m.jsonl")


def refusal(folder: Path, text: str | bytes, name: str = "m.csv") -> str:
    with pytest.raises(ManifestError) as caught:
        read(folder, text, name)
    assert str(caught.value).isprintable()
    return str(caught.value)


def picture(folder: Path, name: str = "a.jpg", data: bytes = b"picture") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return name


@pytest.mark.slow
@given(captions=st.lists(TEXT, min_size=1, max_size=8), delimiter=st.sampled_from([",", "\t"]))
def test_captions_survive_a_csv_file_exactly(
    captions: list[str], delimiter: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / ("round.csv" if delimiter == "," else "round.tsv")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writerow(["id", "caption", "image"])
        writer.writerows((row, caption, path) for row, caption in enumerate(captions))
    read_back = [sample.caption for sample in Manifest.from_source(path).samples]
    assert read_back == [caption if caption.strip() else None for caption in captions]


@pytest.mark.slow
@given(captions=st.lists(TEXT.filter(str.strip), min_size=1, max_size=8))
def test_all_formats_give_the_same_samples(captions: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "formats"
    folder.mkdir(exist_ok=True)
    rows = [{"id": f"s{i}", "caption": text, "label_b": i % 3} for i, text in enumerate(captions)]
    with (folder / "m.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["id", "caption", "label_b"])
        writer.writeheader()
        writer.writerows(rows)
    (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), folder / "m.parquet", row_group_size=3)
    by_csv, by_json, by_parquet = (
        [(s.sample_id, s.caption, s.label_a, s.label_b) for s in Manifest.from_source(folder / name).samples]
        for name in ("m.csv", "m.jsonl", "m.parquet")
    )
    assert by_csv == by_json == by_parquet


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", 'id;caption\n7;"a cat; asleep, or not"\n'),
        ("m.csv", '\n"id";"caption";"a, b"\n7;"a cat; asleep, or not";\n'),
        ("m.csv", "id\tcaption\n7\ta cat; asleep, or not\n"),
        ("m.tsv", 'id,caption\n7,"a cat; asleep, or not"\n'),
    ],
)
def test_cells_are_separated_by_what_separates_the_header(name: str, text: str, tmp_path: Path) -> None:
    (sample,) = read(tmp_path, text, name).samples
    assert (sample.sample_id, sample.caption) == ("7", "a cat; asleep, or not")


def test_what_separates_no_cells_of_the_header_is_text(tmp_path: Path) -> None:
    assert [s.caption for s in read(tmp_path, "caption\na;b\nc\td\n").samples] == ["a;b", "c\td"]
    assert read(tmp_path, "caption,a;b\na;b,\n").samples[0].caption == "a;b"
    assert "quote cells that contain ';'" in refusal(tmp_path, "id;caption\n7;a;b\n")


def test_columns_match_without_case_blanks_and_bom(tmp_path: Path) -> None:
    picture(tmp_path)
    header = "\ufeff IMAGE ,Text,Label_A,LABEL_B,Split,Index,Group,Extra"
    (sample,) = read(tmp_path, f"{header}\na.jpg,a cat,1,3,VAL,7,g,x\n").samples
    assert sample.image == ImageFile(str(tmp_path / "a.jpg"))
    assert (sample.sample_id, sample.caption, sample.label_a, sample.label_b) == ("7", "a cat", 1, "3")
    assert (sample.split, sample.group, sample.where) == ("valid", "g", "m.csv, line 2")


def test_two_columns_of_one_meaning_are_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, "Caption,prompt\na,b\n")
    assert "'Caption' and 'prompt' both mean caption" in message


def test_a_table_without_image_and_caption_names_what_it_found(tmp_path: Path) -> None:
    message = refusal(tmp_path, ",".join(f"c{i}" for i in range(30)) + "\n" + "," * 29 + "\n")
    assert "image|img|path" in message
    assert "caption|text|prompt" in message
    assert "'c9' and 20 more" in message


@pytest.mark.slow
def test_a_hundred_thousand_columns_are_no_trouble(tmp_path: Path) -> None:
    header = ",".join([*(f"c{i}" for i in range(100_000)), "caption"])
    assert read(tmp_path, f"{header}\n{',' * 100_000}a cat\n").samples[0].caption == "a cat"
    assert len(refusal(tmp_path, ",".join("\x1b" * 100_000) + "\n")) < 1000


@pytest.mark.parametrize("cell", ["", "  ", "\t"])
def test_an_empty_cell_is_missing(cell: str, tmp_path: Path) -> None:
    picture(tmp_path)
    header = "image,caption,label_a,label_b,split,group"
    (sample,) = read(tmp_path, f"{header}\na.jpg" + f",{cell}" * 5 + "\n").samples
    assert (sample.caption, sample.label_a, sample.label_b, sample.split) == (None, -1, None, None)
    assert sample.group is None


def test_null_and_nan_are_missing(tmp_path: Path) -> None:
    rows = [{"caption": "a", "label_a": None, "split": float("nan")}]
    (sample,) = read_objects(tmp_path, *rows).samples
    assert (sample.label_a, sample.split) == (-1, None)


def test_names_of_splits_mean_what_is_stated(tmp_path: Path) -> None:
    text = "caption,split\na,Held out\nb,probe\nc,val\nd,\n"
    message = refusal(tmp_path, text)
    assert message.endswith("nothing: --splits states what it means, such as holdout=test (and 1 more row)")
    stated = partial(Manifest.from_source, tmp_path / "m.csv")
    assert [s.split for s in stated(splits="held out=test,probe=Validation").samples] == [
        "test",
        "valid",
        "valid",
        None,
    ]
    assert [s.split for s in stated(splits="held out=test,probe=test,val=train").samples][2] == "train"
    for splits, reason in (
        ("held out=tests", "'held out=tests' is not NAME=train, NAME=valid or NAME=test"),
        ("probe=test,probe=valid", "'probe' means test and valid"),
        ("prob=test", "says what 'prob' means, found splits 'held out', 'probe', 'val'"),
    ):
        with pytest.raises(ManifestError, match=re.escape(reason)):
            stated(splits=splits)
    (tmp_path / "m.csv").write_text("caption\na\n")
    with pytest.raises(ManifestError, match="says what 'x' means, found splits none"):
        stated(splits="x=test")


def test_a_row_is_named_by_the_line_that_it_begins_in(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text('caption,"la\nbel_x"\n\n"a\nb\n\nc",1\nd,2\n\ne,3\n')
    assert [s.where for s in Manifest.from_source(tmp_path / "m.csv").samples] == [
        f"m.csv, line {n}" for n in (4, 8, 10)
    ]
    assert refusal(tmp_path, 'caption,x\n"a\nb",1\nc\n').startswith("m.csv, line 4 has 1 cells, expected 2")
    assert refusal(tmp_path, 'caption,x\n"a\nb",1\nc,"d" e\n').startswith("m.csv, line 4 is not well-formed")
    (tmp_path / "m.jsonl").write_text('\n{"caption": "a"}\n\n{"caption": "b"}\n')
    assert [s.where for s in Manifest.from_source(tmp_path / "m.jsonl").samples] == [
        "m.jsonl, line 2",
        "m.jsonl, line 4",
    ]


def test_a_row_of_nothing_is_refused_with_the_count(tmp_path: Path) -> None:
    message = refusal(tmp_path, "id,caption\n1,a\n2,\n3, \n")
    assert message.startswith("m.csv, line 3, expected an image, a caption or both")
    assert message.endswith("(and 1 more row)")


def test_captions_keep_their_blanks(tmp_path: Path) -> None:
    assert read(tmp_path, 'caption\n"  a \n cat "\n').samples[0].caption == "  a \n cat "


@pytest.mark.parametrize(
    ("cell", "label"),
    [("0", 0), ("1", 1), ("0.0", 0), ("1.0", 1), (1.0, 1), (0, 0), (True, 1), (False, 0), (-1, -1)]
    + [(name, 0) for name in ("real", "Human", " natural", "NATURE")]
    + [(name, 1) for name in ("ai", "Fake", "generated", "synthetic", "AI-generated")],
)
def test_label_a_takes_numbers_and_names(cell: object, label: int, tmp_path: Path) -> None:
    (sample,) = read_objects(tmp_path, {"caption": "a", "label_a": cell}).samples
    assert (sample.label_a, sample.label_b) == (label, "real" if label == 0 else None)


@pytest.mark.parametrize("column", ["label_a", "label_b", "split"])
@pytest.mark.parametrize("cell", [-2, 1.5, "1.5", [1], {"a": 1}])
def test_another_label_is_refused_with_its_place(column: str, cell: object, tmp_path: Path) -> None:
    rows = [{"caption": "a", column: None}, {"caption": "b", column: cell}]
    with pytest.raises(ManifestError, match=rf"m\.jsonl, line 2, column '{column}': .*expected"):
        read_objects(tmp_path, *rows)


def test_the_first_offender_is_quoted_short_and_the_rest_counted(tmp_path: Path) -> None:
    long = "\x1b[31m" + "x" * 500
    message = refusal(tmp_path, f"caption,label_a\na,1\nb,{long}\nc,2\nd,maybe\n")
    assert r"line 3, column 'label_a': unknown label '\x1b[31mxxx" in message
    assert message.endswith("(and 2 more rows)")
    assert len(message) < 300


@pytest.mark.parametrize("cell", [True, "inf", "1e3", "0.5", "-7", "99999999999"])
def test_label_b_is_a_whole_number_or_a_name(cell: object, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="unknown label"):
        read_objects(tmp_path, {"caption": "a", "label_b": cell})


def test_integer_classes_are_named_by_themselves_in_numeric_order(tmp_path: Path) -> None:
    manifest = read(tmp_path, "caption,label_b\na,10\nb,2\nc,0\nd,\ne,-1\nf,2.0\n")
    assert manifest.generators == ("2", "10")
    assert [s.label_b for s in manifest.samples] == ["10", "2", "real", None, None, "2"]
    assert [s.label_a for s in manifest.samples] == [1, 1, 0, -1, -1, 1]


def test_named_classes_come_in_alphabetical_order(tmp_path: Path) -> None:
    manifest = read(tmp_path, "caption,label_b\na,sdxl\nb,dalle\nc,REAL\nd,0\n")
    assert manifest.generators == ("dalle", "sdxl")
    assert [s.label_b for s in manifest.samples] == ["sdxl", "dalle", "real", "real"]


def test_a_generator_column_names_the_integers(tmp_path: Path) -> None:
    manifest = read(tmp_path, "caption,label_b,generator\na,2,alpha\nb,1,zeta\nc,2,\nd,0,coco\ne,3,\nf,,extra\n")
    assert manifest.generators == ("zeta", "alpha", "3", "extra")
    assert [s.label_b for s in manifest.samples] == ["alpha", "zeta", "alpha", "real", "3", "extra"]


@pytest.mark.parametrize("second", ["1,other", "2,alpha", "0,alpha", "2,real"])
def test_a_generator_column_must_be_one_to_one(second: str, tmp_path: Path) -> None:
    message = refusal(tmp_path, f"caption,label_b,generator\na,1,alpha\nb,{second}\n")
    assert message.startswith("m.csv, line 3, expected one generator for each label_b")


def test_a_generator_column_alone_is_label_b(tmp_path: Path) -> None:
    manifest = read(tmp_path, "caption,generator\na,sdxl\nb,Real\nc,\n")
    assert [(s.label_a, s.label_b) for s in manifest.samples] == [(1, "sdxl"), (0, "real"), (-1, None)]


def test_names_and_numbers_do_not_mix(tmp_path: Path) -> None:
    assert "line 3, label_b: found the name 'sdxl' among" in refusal(tmp_path, "text,label_b\na,1\nb,sdxl\n")


@pytest.mark.parametrize("pair", ["0,sdxl", "1,real", "0,3", "1,0"])
def test_contradicting_labels_are_refused(pair: str, tmp_path: Path) -> None:
    message = refusal(tmp_path, f"caption,label_a,label_b\na,,\nb,{pair}\n")
    assert "line 3, columns 'label_a' and 'label_b'" in message
    assert "contradicts" in message


@pytest.mark.parametrize(
    ("cell", "split"),
    [(name, "train") for name in ("train", "Training")]
    + [(name, "valid") for name in ("valid", "val", "validation", "DEV")]
    + [(name, "test") for name in (" test ", "testing")],
)
def test_splits_have_their_usual_names(cell: str, split: str, tmp_path: Path) -> None:
    assert read(tmp_path, f"caption,split\na,{cell}\n").samples[0].split == split


def test_image_paths_are_ids_if_unique_else_row_numbers_are(tmp_path: Path) -> None:
    picture(tmp_path, "x/a.jpg")
    picture(tmp_path, "x/b.jpg")
    assert [s.sample_id for s in read(tmp_path, "image\nx/a.jpg\nx/b.jpg\n").samples] == ["x/a.jpg", "x/b.jpg"]
    assert [s.sample_id for s in read(tmp_path, "image\nx/a.jpg\nx/a.jpg\n").samples] == ["row-1", "row-2"]


def test_repeated_ids_are_refused_naming_both_rows(tmp_path: Path) -> None:
    message = refusal(tmp_path, "id,caption\ns1,a\ns2,b\ns1,c\n")
    assert message.startswith("m.csv, line 4: sample_id 's1' is taken by m.csv, line 2")


def test_an_id_column_has_no_empty_cell(tmp_path: Path) -> None:
    assert "line 3, column 'id': expected an id" in refusal(tmp_path, "id,caption\n1,a\n,b\n")


def test_paths_resolve_against_the_folder_of_the_manifest(tmp_path: Path) -> None:
    picture(tmp_path, "outside.jpg")
    (tmp_path / "in").mkdir()
    rows = f"image\n../outside.jpg\n{tmp_path / 'outside.jpg'}\n"
    samples = read(tmp_path / "in", rows).samples
    assert [s.image.read_bytes() for s in samples if s.image] == [b"picture"] * 2


@pytest.mark.parametrize("name", ["missing.jpg", "folder", "/dev/zero", "a\0.jpg", "y" * 5000, " a.jpg"])
def test_a_named_file_that_is_not_there_is_an_orphan(name: str, tmp_path: Path) -> None:
    picture(tmp_path)
    (tmp_path / "folder").mkdir()
    text = f"image,caption\na.jpg,a\n{name},b\nnone.jpg,c\n"
    message = refusal(tmp_path, text)
    assert message.startswith("m.csv, line 3, column 'image': ")
    assert "(and 1 more row)" in message
    assert "--on-orphan skip" in message
    manifest = read(tmp_path, text, on_orphan="skip")
    assert [s.caption for s in manifest.samples] == ["a"]
    assert len(manifest.orphans) == 2
    assert all(gap.message.isprintable() for gap in manifest.orphans)
    assert [gap.path for gap in manifest.orphans] == [str(tmp_path / name), str(tmp_path / "none.jpg")]


def test_skipping_every_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no samples are left"):
        read(tmp_path, "image\nnone.jpg\n", on_orphan="skip")


@pytest.mark.parametrize("name", ["m.csv", "m.tsv", "m.jsonl"])
@pytest.mark.parametrize("text", ["", "\n\n", "caption\n"])
def test_a_table_without_rows_is_refused(name: str, text: str, tmp_path: Path) -> None:
    assert "m." in refusal(tmp_path, text, name)


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_invalid_utf8_is_refused_with_its_byte(name: str, tmp_path: Path) -> None:
    first = b"caption\n" if name == "m.csv" else b'{"caption": "a"}\n'
    message = refusal(tmp_path, first + b'{"caption": "\xff"}\n', name)
    assert rf"found b'\xff' at byte {len(first) + 13} (line 2)" in message


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_other_encodings_are_refused(encoding: str, tmp_path: Path) -> None:
    refusal(tmp_path, "caption\na cat\n".encode(encoding))


@pytest.mark.parametrize("row", ["a", "a,b,c", 'a,"b\nc'])
def test_ragged_rows_and_open_quotes_are_refused(row: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, f"caption,split\nx,\n{row}\n").startswith("m.csv, line 3")


def test_a_cell_over_the_size_limit_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, "caption\nx\n" + "y" * (csv.field_size_limit() + 1) + "\n")
    assert message.startswith("m.csv, line 3")
    assert "field larger than field limit" in message


def test_a_nul_in_a_caption_is_refused(tmp_path: Path) -> None:
    assert r"line 2, column 'caption': expected text without NUL" in refusal(tmp_path, "caption\na\0b\n")


def test_a_lone_surrogate_is_refused(tmp_path: Path) -> None:
    assert "expected valid Unicode" in refusal(tmp_path, '{"caption": "\\ud800"}\n', "m.jsonl")


@pytest.mark.parametrize(
    "line",
    [
        "[1]",
        "3",
        '{"caption": "a", "caption": "b"}',
        "{",
        "{'a': 1}",
        "[" * 100_000,
        '{"a": ' + "9" * 5000 + "}",
        "\x1b[31m",
        "\0",
    ],
)
def test_a_line_that_is_no_object_is_refused(line: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, f'\n{{"caption": "a"}}\n{line}\n', "m.ndjson").startswith("m.ndjson, line 3")


def test_ignored_columns_may_hold_anything(tmp_path: Path) -> None:
    rows = [{"caption": "a", "boxes": [{"x": 1}]}, {"caption": "b", "other": "\0"}]
    assert len(read_objects(tmp_path, *rows).samples) == 2
    assert len(read(tmp_path, '{"caption": "a", "boxes": [{"x": 1, "x": 2}]}\n', "m.jsonl").samples) == 1


def write_parquet(folder: Path, columns: dict[str, object], **options: int) -> Path:
    pq.write_table(pa.table(columns), folder / "m.parquet", **options)  # type: ignore[arg-type]
    return folder / "m.parquet"


def test_parquet_cells_have_their_own_types(tmp_path: Path) -> None:
    columns = {
        "caption": pa.array(["a", "b", None]).dictionary_encode(),
        "label_a": pa.array([True, False, None]),
        "label_b": pa.array([2.0, float("nan"), None]),
        "id": pa.array([7, 8, 9]),
        "image": pa.array([None, None, "a.jpg"], pa.large_string()),
        "boxes": pa.array([[1], [], None]),
        "split": pa.nulls(3),
    }
    picture(tmp_path)
    samples = Manifest.from_source(write_parquet(tmp_path, columns)).samples
    assert [(s.sample_id, s.label_a, s.label_b) for s in samples] == [
        ("7", 1, "2"),
        ("8", 0, "real"),
        ("9", -1, None),
    ]


@pytest.mark.parametrize("kind", ["struct", "binary"])
def test_pictures_inside_parquet_are_read_when_needed(kind: str, tmp_path: Path) -> None:
    data = [f"picture {i}".encode() for i in range(700)]
    images = pa.array([{"bytes": x, "path": "x.jpg"} for x in data]) if kind == "struct" else pa.array(data)
    path = write_parquet(tmp_path, {"Image": images}, row_group_size=300)
    samples = Manifest.from_source(path).samples
    assert [s.image.read_bytes() for s in samples if s.image] == data
    assert samples[650].image is not None
    assert samples[650].image.name == f"{path} row 651"


def test_structs_may_name_files_or_nothing(tmp_path: Path) -> None:
    picture(tmp_path)
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    images = pa.array([{"bytes": None, "path": "a.jpg"}, None, {"bytes": b"x", "path": None}], kind)
    columns = {"image": images, "caption": pa.array(["a", "b", "c"])}
    samples = Manifest.from_source(write_parquet(tmp_path, columns)).samples
    assert samples[0].image == ImageFile(str(tmp_path / "a.jpg"))
    assert samples[1].image is None
    assert samples[2].image is not None
    assert samples[2].image.read_bytes() == b"x"


def test_a_picture_of_a_vanished_parquet_file_is_an_os_error(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, {"image": pa.array([b"x"])})
    image = Manifest.from_source(path).samples[0].image
    path.unlink()
    assert image is not None
    with pytest.raises(OSError):
        image.read_bytes()


@pytest.mark.parametrize(
    "captions",
    [pa.array([[["a"]]]), pa.array([[1]]), pa.array([b"a"]), pa.array([{"x": 1}]), pa.array([0], pa.timestamp("s"))],
)
def test_parquet_captions_are_text(captions: object, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="column 'caption': expected"):
        Manifest.from_source(write_parquet(tmp_path, {"caption": captions}))


def test_invalid_utf8_in_parquet_is_refused(tmp_path: Path) -> None:
    broken = pa.array([b"\xff\xfe"]).view(pa.string())
    with pytest.raises(ManifestError, match=r"m\.parquet cannot be read"):
        Manifest.from_source(write_parquet(tmp_path, {"caption": broken}))


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + b"\xff" * 100 + b"PAR1"])
def test_a_broken_parquet_file_is_refused(data: bytes, tmp_path: Path) -> None:
    assert refusal(tmp_path, data, "m.parquet").startswith("m.parquet cannot be read as Parquet")


def test_a_missing_library_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path, {"caption": pa.array(["a"])})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ManifestError, match=r"pip install 'featcache\[parquet\]'"):
        Manifest.from_source(path)


@given(st.lists(st.sampled_from(["a", "..", ".", "", "b.png", ".b"]), min_size=1, max_size=6).map("/".join))
@example("/")
def test_paths_are_joined_as_path_objects_are(path: str) -> None:
    for folder in ("", "/", "/data/set"):
        assert _join(folder, path) == str(Path(folder, path))


def write_json(folder: Path, text: str | bytes) -> Manifest:
    return read(folder, text, "m.json")


def test_an_array_of_objects_is_a_table_whose_keys_may_differ(tmp_path: Path) -> None:
    picture(tmp_path)
    rows = [{"image": "a.jpg", "caption": "a 😀 cat", "label_a": 1}, {"caption": "b"}]
    for text in (json.dumps(rows), json.dumps(rows, indent=2, ensure_ascii=False), f"\ufeff \n{json.dumps(rows)}\n "):
        samples = write_json(tmp_path, text).samples
        assert [(s.image, s.caption, s.label_a, s.where) for s in samples] == [
            (ImageFile(str(tmp_path / "a.jpg")), "a 😀 cat", 1, "m.json, row 1"),
            (None, "b", -1, "m.json, row 2"),
        ]


def test_a_json_file_with_an_object_a_line_is_read_as_jsonl(tmp_path: Path) -> None:
    text = '{"caption": "a", "tags": ["x"]}\n{"caption": "b"}\n'
    assert [s.caption for s in write_json(tmp_path, text).samples] == ["a", "b"]
    assert [s.caption for s in write_json(tmp_path, '{"caption":\n "a"}').samples] == ["a"]


def test_an_object_that_holds_the_list_is_refused_with_its_keys(tmp_path: Path) -> None:
    message = refusal(tmp_path, '{"info": {}, "images": [{"caption": "a"}], "\\u001b[1m": 1}', "m.json")
    assert message.startswith("m.json is no JSON array of objects: found one object with the keys 'info', 'images', '")
    assert message.endswith("if one of them holds the list, write that alone")


@pytest.mark.parametrize(
    "text",
    ["[1]", '["a"]', "[[]]", "1", '"a"', "", "null", '[{"a": 1},]', '[{"a": 1}', '[{"a": 1} {"b": 2}]', '[{"a": 1}] x',
     '[{"a": 1, "a": 2}]', '[{"caption": "a"},, {"caption": "b"}]', "[" * 100_000, '[{"a": ' * 100_000, "[{]"],
)  # fmt: skip
def test_a_json_file_of_anything_else_is_refused(text: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, text, "m.json").startswith("m.json is no JSON array of objects: ")


def test_an_empty_array_has_no_rows(tmp_path: Path) -> None:
    assert refusal(tmp_path, " [ ] ", "m.json") == "m.json has no rows, expected at least one"


def test_json_that_is_no_utf8_or_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "m.json is not UTF-8: found b'\\xff': save it" in refusal(tmp_path, b'[{"caption": "\xff"}]', "m.json")
    assert "(line 1): save it as UTF-8 (in Excel: CSV UTF-8)" in refusal(tmp_path, "caption\nx\n".encode("utf-16"))
    monkeypatch.setattr("featcache.dataset.readers.text_files._ARRAY_LIMIT", 19)
    assert "has more than 19 bytes: write one object a line" in refusal(tmp_path, '[{"caption": "abc"}]', "m.json")


@given(st.lists(st.dictionaries(TEXT, st.one_of(st.none(), st.integers(), TEXT), max_size=4), max_size=4))
def test_objects_of_an_array_are_what_json_says(rows: list[dict[str, object]]) -> None:
    assert list(parse_objects(json.dumps(rows))) == rows
    assert list(parse_objects(json.dumps(rows, indent=1))) == rows


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_bytes_of_every_arrow_type_are_pictures(kind: pa.DataType, tmp_path: Path) -> None:
    path = write_parquet(tmp_path, {"image": pa.array([b"one", None, b"two"], kind), "text": ["a", "b", "c"]})
    found = [sample.image and sample.image.read_bytes() for sample in Manifest.from_source(path).samples]
    assert found == [b"one", None, b"two"]
    struct = pa.struct({"bytes": kind, "path": pa.string()})
    path = write_parquet(
        tmp_path, {"image": pa.array([{"bytes": b"one", "path": "x"}, None], struct), "text": ["a", "b"]}
    )
    found = [sample.image and sample.image.read_bytes() for sample in Manifest.from_source(path).samples]
    assert found == [b"one", None]
