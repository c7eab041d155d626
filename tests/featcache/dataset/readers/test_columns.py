import json
import shlex
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.cells import FIELDS
from featcache.dataset.readers.columns import parse_columns, write_columns
from featcache.dataset.readers.reading import TODAY
from featcache.errors import ManifestError


def read(folder: Path, text: str, name: str = "m.csv", **options: object) -> Manifest:
    (folder / name).write_text(text, encoding="utf-8")
    return Manifest.from_source(folder / name, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("image=filename,caption=text", {"image": "filename", "caption": "text"}),
        ("caption=a, b,label_a=is AI?", {"caption": "a, b", "label_a": "is AI?"}),
        ("caption=a=b", {"caption": "a=b"}),
        (" caption =text", {"caption": "text"}),
        ("", {}),
    ],
)
def test_columns_are_named_by_field_and_keep_their_commas(text: str, named: dict[str, str]) -> None:
    assert parse_columns(text) == named
    assert parse_columns(write_columns(named)) == named


@pytest.mark.parametrize(
    "text", ["image", "picture=a", "image=", "=a", ",image=a", "image=a,image=b", " ", "\x1b[1m=a"]
)
def test_what_names_no_column_is_refused(text: str) -> None:
    with pytest.raises(ManifestError, match="--column") as caught:
        parse_columns(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["x" * 1001, "\ud800", "\udcff"])
def test_a_name_that_no_column_has_is_refused(name: str) -> None:
    with pytest.raises(ManifestError, match=r"image=…: expected a name in Unicode of at most 1000 characters"):
        parse_columns(f"caption=a,image={name}")


def test_named_columns_mean_what_the_user_says(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"x")
    text = "filename,file,text,Prompt Text,is_ai,origin_site\na.jpg,b.jpg,one,two,1,web\n"
    columns = "image=file,caption=prompt text,label_a=is_ai,origin=origin_site"
    (sample,) = read(tmp_path, text, columns=columns).samples
    assert sample.image is not None and sample.image.name == str(tmp_path / "b.jpg")
    assert (sample.caption, sample.label_a, sample.origin, sample.sample_id) == ("two", 1, "web", "b.jpg")


def test_a_named_column_decides_between_two_of_one_meaning(tmp_path: Path) -> None:
    text = "caption,prompt\na,b\n"
    with pytest.raises(ManifestError, match=r"both mean caption, .* --column caption=…"):
        read(tmp_path, text)
    assert read(tmp_path, text, columns="caption=prompt").samples[0].caption == "b"


def test_a_column_that_is_named_for_one_field_is_no_other_by_its_name(tmp_path: Path) -> None:
    (sample,) = read(tmp_path, "id,split\nsome words,x\n", columns="caption=id,group=split").samples
    assert (sample.caption, sample.sample_id, sample.split, sample.group) == ("some words", "row-1", None, "x")


def test_one_column_may_be_named_for_two_fields(tmp_path: Path) -> None:
    (sample,) = read(tmp_path, "x\nwords\n", columns="caption=x,sample_id=x").samples
    assert (sample.caption, sample.sample_id) == ("words", "words")


def test_a_named_column_that_is_not_there_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"image='filname': m\.csv has no such column, .* did you mean 'filename'"):
        read(tmp_path, "filename,caption\na,b\n", columns="image=filname")
    with pytest.raises(ManifestError, match="did you mean 'image'"):
        read(tmp_path, "x,caption\na,b\n", columns="imag=x")
    with pytest.raises(ManifestError, match="has 2 columns of this name"):
        read(tmp_path, "x,x,caption\na,b,c\n", columns="image=x")


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_columns_are_named_in_every_form_of_table(ending: str, tmp_path: Path) -> None:
    rows = [{"words": "a", "truth": True, "from": "web"}]
    path = tmp_path / f"m.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows if ending == "json" else rows[0]))
    columns = "caption=words,label_a=truth,origin=from"
    manifest = Manifest.from_source(path, columns=columns)
    assert [(s.caption, s.label_a, s.origin) for s in manifest.samples] == [("a", 1, "web")]
    assert manifest.reading.columns == columns


def test_columns_of_what_has_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(ManifestError, match=r"--column image='x': without a table, columns are keys of the \.json"):
        Manifest.from_source(tmp_path, columns="image=x")
    with pytest.raises(ManifestError, match=r"--column group='x': .* such a key beside a picture of .*, found none"):
        Manifest.from_source(tmp_path, columns="group=x")
    with pytest.raises(ManifestError, match=r"--root: .* is no table"):
        Manifest.from_source(tmp_path, root=tmp_path)


@pytest.mark.parametrize(
    ("column", "hint"),
    [
        ("label", "--column label_a=label"),
        ("Is Fake", "--column 'label_a=Is Fake'"),
        ("model", "--column generator=model"),
        ("filepath", "--column image=filepath"),
        ("jpg", "--column image=jpg"),
        ("subset", "--column split=subset"),
        ("key", "--column sample_id=key"),
        ("prompt_id", "--column group=prompt_id"),
        ("url", "pictures are read from files, download them first (img2dataset does)"),
    ],
)
def test_a_column_that_probably_means_something_is_told_with_what_to_type(
    column: str, hint: str, tmp_path: Path
) -> None:
    notes = read(tmp_path, f"caption,{column},other\na,1,2\n").notes
    assert notes[0].startswith(f"{column!r} is not read: {hint}")
    assert notes[1:] == ("m.csv: not read: 'other'",)
    if hint.startswith("--column"):
        (columns,) = shlex.split(hint.removeprefix("--column "))
        if "image" not in columns:
            assert read(tmp_path, f"caption,{column},other\na,,2\n" if "label_a" in columns else
                        f"caption,{column},other\na,test,2\n", columns=columns).samples  # fmt: skip


def test_a_row_of_nothing_is_refused_with_the_column_that_probably_has_it(tmp_path: Path) -> None:
    hint = r"line 2, .* found neither \('file' is not read: --column image=file if it is the picture\)"
    with pytest.raises(ManifestError, match=hint):
        read(tmp_path, "file,caption\na.jpg,\n")


@pytest.mark.parametrize(
    "header",
    [
        "caption,label_a,label",
        "caption,label_b,model",
        "caption,split,subset",
        "text,id,key",
        "caption,group,prompt_id",
    ],
)
def test_a_field_that_is_there_needs_no_hint(header: str, tmp_path: Path) -> None:
    cells = {"label_a": "1", "label_b": "2", "split": "test"}
    row = ",".join(cells.get(name, "x") for name in header.split(","))
    assert read(tmp_path, f"{header}\n{row}\n").notes == (f"m.csv: not read: {header.split(',')[2]!r}",)


def test_where_every_column_is_read_nothing_is_said(tmp_path: Path) -> None:
    assert read(tmp_path, "caption,label_a,,__index_level_0__,Unnamed: 0\na,1,2,3,4\n").notes == ()


def test_of_many_unread_columns_ten_are_named(tmp_path: Path) -> None:
    header = ",".join(["caption", *(f"c{i}\x1b[1m" for i in range(50_000))])
    (note,) = read(tmp_path, f"{header}\na{',' * 50_000}\n").notes
    assert "'c9\\x1b[1m' and 49990 more" in note and note.isprintable()


def test_hints_are_printable_and_few(tmp_path: Path) -> None:
    names = ["label\x1b", *(f"{name}{'_' * i}" for i in range(3) for name in ("label", "model", "subset"))]
    notes = read(tmp_path, f"caption,{','.join(names)}\na{',' * len(names)}\n").notes
    assert len(notes) == 6 and all(note.isprintable() for note in notes)


def test_origin_goes_before_source_and_two_of_them_are_no_contradiction(tmp_path: Path) -> None:
    assert read(tmp_path, "caption,source,origin\na,x,y\n").samples[0].origin == "y"
    assert read(tmp_path, "caption,Source\na,x\n").samples[0].origin == "x"
    assert read(tmp_path, "caption,origin,Origin\na,x,y\n").samples[0].origin == "x"
    assert read(tmp_path, "caption,source\na,\n").samples[0].origin is None


def test_an_origin_that_is_no_text_is_left_out_with_a_word_unless_it_was_named(tmp_path: Path) -> None:
    text = json.dumps({"caption": "a", "source": {"site": "x"}})
    manifest = read(tmp_path, text, "m.jsonl")
    assert manifest.samples[0].origin is None
    assert "the origin of rows is not read: m.jsonl, line 1, column 'source': expected text" in manifest.notes[0]
    with pytest.raises(ManifestError, match="column 'source': expected text"):
        read(tmp_path, text, "m.jsonl", columns="origin=source")


def test_every_field_can_be_named() -> None:
    assert parse_columns(",".join(f"{field}=x" for field in FIELDS)).keys() == FIELDS.keys()


def test_what_was_named_before_holds_unless_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a.jpg").write_bytes(b"y")
    before = replace(TODAY, columns="caption=words,image=file", root=str(tmp_path))
    text = "file,words,text\n/old/a.jpg,one,two\n"
    manifest = read(tmp_path, text, earlier=lambda _: before)
    assert manifest.samples[0].caption == "one" and manifest.reading == before
    assert manifest.notes[:2] == (
        "columns as named before: --column caption=words,image=file",
        f"pictures below the folder that was named before: --root {tmp_path}",
    )
    other = read(tmp_path, text, earlier=lambda _: before, columns="image=file", root=tmp_path / "here")
    assert other.samples[0].caption == "two" and other.reading.root == str(tmp_path / "here")
    assert other.reading.columns == "image=file" and not any("before" in note for note in other.notes)


def test_a_folder_forgets_the_columns_of_the_table_before(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    before = replace(TODAY, columns="caption=words", root="/old")
    manifest = Manifest.from_source(tmp_path, earlier=lambda _: before)
    assert (manifest.reading, manifest.notes) == (TODAY, ())


def test_a_wide_table_has_origins_and_names_what_is_not_read(tmp_path: Path) -> None:
    for name in ("r", "x", "m"):
        (tmp_path / f"{name}.jpg").write_bytes(name.encode())
    text = "caption,real,sdxl,midjourney,source,label,subset\nc,r.jpg,x.jpg,m.jpg,web,1,2\n"
    manifest = read(tmp_path, text)
    assert {s.origin for s in manifest.samples} == {"web"} and len(manifest.samples) == 3
    assert manifest.notes == (
        "'subset' is not read: --column split=subset if it is the split",
        "m.csv: not read: 'label'",
    )
