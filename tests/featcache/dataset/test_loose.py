"""Laws of data that are to be judged: every picture is a sample, whatever else lies there."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from featcache import Manifest, read_pictures
from featcache.dataset.loose import is_loose_name
from featcache.errors import ManifestError
from featcache.identity.terms import Content

from factories import png

IMAGE: Sequence[Content] = ("image",)


def fill(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))
    return folder


def ids(manifest: Manifest) -> list[str]:
    return [sample.sample_id for sample in manifest.samples]


def test_what_is_no_sample_is_named_by_its_path_in_full(tmp_path: Path) -> None:
    folder = fill(tmp_path / "d", "a.png", "raw/1.DNG")
    (folder / "raw" / "1.DNG").write_bytes(b"II*\0 and what follows")
    long = "x" * 120
    for number in (1, 2):
        (folder / f"{long}{number}.png").symlink_to("nowhere.png")
    gaps = read_pictures(folder, contents=IMAGE).gaps
    assert [gap.path for gap in gaps] == [str(folder / name) for name in (f"{long}1.png", f"{long}2.png", "raw/1.DNG")]
    (folder / "t.csv").write_text("image\na.png\nsub/gone.png\n/nowhere/b.png\n")
    gaps = read_pictures(folder / "t.csv", contents=IMAGE).gaps
    assert [gap.path for gap in gaps] == [str(folder / "sub/gone.png"), "/nowhere/b.png"]
    tars = read_pictures(f"{fill_tar(tmp_path / 't')}/{{0..1}}.tar", contents=IMAGE).gaps
    assert [gap.path for gap in tars] == [f"{tmp_path}/t/1.tar", f"{tmp_path}/t/0.tar/b.psd"]


def fill_tar(folder: Path) -> Path:
    import tarfile

    fill(folder, "a.png", "b.psd")
    with tarfile.open(folder / "0.tar", "w") as tar:
        for name in ("a.png", "b.psd"):
            tar.add(folder / name, name)
    return folder


@pytest.mark.parametrize(
    ("tables", "missing", "note"),
    [
        ({"metadata.csv": "id,size\n1,2\n"}, [], "names neither images nor captions"),
        ({"metadata.csv": "file_name\ngone.png\n"}, [], "no samples are left without orphans"),
        ({"metadata.csv": "file_name\na.png\ngone.png\n"}, ["gone.png"], None),
        ({"manifest.csv": "image,id,label,width\na.png,b.png,1,9\n"}, [], None),
        ({"manifest.csv": "image\na.png\n", "metadata.csv": "x"}, [], "holds several manifests"),
        ({"train/metadata.csv": "\0", "train/metadata.jsonl": ""}, [], "leave one of them there"),
    ],
)
def test_no_table_in_a_folder_keeps_a_picture_from_being_read(
    tmp_path: Path, tables: dict[str, str], missing: list[str], note: str | None
) -> None:
    folder = fill(tmp_path / "d", "a.png", "b.png", "train/c.png")
    for name, text in tables.items():
        (folder / name).write_text(text)
    for contents in (IMAGE, ("text", "image")):
        found = read_pictures(folder, contents=contents, tables=True)
        names = sorted(str(sample.image.name) for sample in found.samples if sample.image)
        assert names == [str(folder / name) for name in ("a.png", "b.png", "train/c.png")]
        assert [gap.path for gap in found.gaps] == [str(folder / name) for name in missing]
        assert len(set(ids(found))) == 3 and (note in found.notes[0] if note else not found.notes)


def test_a_name_that_is_no_utf_8_has_backslashes_in_its_id_alone(tmp_path: Path) -> None:
    fill(tmp_path / "d", "a.png")
    odd = os.fsdecode(os.fsencode(tmp_path / "d") + b"/\xff\x1b.png")
    Path(odd).write_bytes(png(1))
    (tmp_path / "d" / "metadata.csv").write_text("file_name\na.png\n")
    found = read_pictures(tmp_path / "d", contents=IMAGE, tables=True)
    assert ids(found) == ["a.png", "\\udcff\x1b.png"] and found.samples.path[1] == odd
    assert found.samples[1].image is not None and found.samples[1].image.read_bytes() == png(1)
    named = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xfe"))
    (tmp_path / "d").rename(named)
    assert read_pictures(named, contents=IMAGE).origin == f"{tmp_path}/\\udcfe"


@pytest.mark.parametrize("name", ["a.JPG", "a", "b.dir/x.heic"])
def test_a_picture_by_itself_is_one_sample(tmp_path: Path, name: str) -> None:
    path = fill(tmp_path, name) / name
    path.with_suffix(".txt").write_text("what it shows")
    for contents, caption in ((IMAGE, None), (("image", "text"), "what it shows")):
        found = read_pictures(path, contents=contents)
        (sample,) = found.samples
        assert (sample.sample_id, sample.caption, found.origin) == (path.name, caption, str(path))
        assert found.gaps == () and found.is_loose and is_loose_name(found.name, found.origin)


def test_of_objects_beside_pictures_captions_alone_are_read(tmp_path: Path) -> None:
    folder = fill(tmp_path / "d", "a.png", "c.png")
    odd = os.fsdecode(os.fsencode(folder) + b"/b\xff.png")
    Path(odd).write_bytes(png(2))
    (folder / "d.png").symlink_to("nowhere.png")
    said = {"caption": ["x", "y"], "label": 1, "split": "nonsense", "Label_A": "what", "label_a": 0}
    (folder / "a.json").write_text(json.dumps(said))
    for contents, names in ((IMAGE, ["a.png"]), (("image", "text"), ["a.png#0", "a.png#1"])):
        found = read_pictures(folder, contents=contents)
        assert ids(found) == [*names, "b\\udcff.png", "c.png"] and found.samples.path[len(names)] == odd
        captions = [sample.caption for sample in found.samples]
        assert captions == ([None] * 3 if contents == IMAGE else ["x", "y", None, None])
        assert {(sample.label_a, sample.split) for sample in found.samples} == {(-1, None)}
        assert ([gap.path for gap in found.gaps], found.notes) == ([f"{folder}/d.png"], ())
        assert ids(read_pictures(folder / "a.png", contents=contents)) == names
    (folder / "manifest.csv").write_text("image,id,caption\nc.png,a.png#0,\n,a.png#1,z\n")
    found = read_pictures(folder, contents=("image", "text"), tables=True)
    assert ids(found) == ["a.png#0", "a.png#1", f"{folder}/a.png#0", f"{folder}/a.png#1", "b\\udcff.png"]


def test_what_is_no_picture_and_what_is_not_there_is_told(tmp_path: Path) -> None:
    for name, text in {"a.odd": "x", "b": "x", "c.csv": "x\n1\n"}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ManifestError, match=r"ending that is not read|names neither images"):
            read_pictures(tmp_path / name, contents=IMAGE)
    with pytest.raises(ManifestError, match=r"there is no file '.*nowhere'$"):
        read_pictures(tmp_path / "nowhere", contents=IMAGE)
    (tmp_path / "d.jxl").write_bytes(b"x")
    why = (
        r"d\.jxl' is no picture that can be taken: of a kind that is not decoded \(JPEG, PNG, .* are\): convert to PNG"
    )
    with pytest.raises(ManifestError, match=why):
        read_pictures(tmp_path / "d.jxl", contents=IMAGE)
    for name in ("d.jxl", "e.png"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(ManifestError, match=rf"'.*{name}' is a single picture: name its folder"):
            Manifest.from_source(tmp_path / name)
        (tmp_path / name).unlink()


def test_of_a_folder_what_begins_as_a_picture_is_one_and_all_else_is_counted(tmp_path: Path) -> None:
    names = ("1.zip", "2.txt", "3.JPG_", "4", "5.csv", ".6.png", ".h/7", "sub/.8.bin", "9.dng", "ok.png")
    folder = fill(tmp_path / "d", *names)
    others = {"ok.txt": b"text", "a.ZIP": b"PK", ".DS_Store": b"x", "._ok.jpg": b"x", ".h/b.png": b"x", "README": b"x"}
    for name, data in others.items():
        (folder / name).write_bytes(data)
    (folder / "linked").symlink_to(tmp_path)
    (folder / "nothing").symlink_to("nowhere")
    os.mkfifo(folder / "fifo")
    (folder / "c.odd").symlink_to("c.odd")  # it leads to itself
    for contents in (IMAGE, ("text", "image")):
        found = read_pictures(folder, contents=contents)
        assert ids(found) == sorted(names)
        assert [gap.path for gap in found.gaps] == [f"{folder}/c.odd"] and not found.notes
        assert dict(found.passed_over) == {
            "hidden": 3, ".txt": 1, ".zip": 1, "without an ending": 1, "linked folder": 1, "link to nothing": 1,
            "no regular file": 1,
        }  # fmt: skip
    assert read_pictures(folder / "1.zip", contents=IMAGE).samples[0].sample_id == "1.zip"


def test_a_folder_without_pictures_is_empty_and_one_of_gaps_alone_has_these(tmp_path: Path) -> None:
    found = read_pictures(tmp_path, contents=IMAGE)
    assert (len(found.samples), found.gaps, found.passed_over, found.is_loose) == (0, (), {}, True)
    (tmp_path / "a.jpg").symlink_to("nowhere")
    (tmp_path / "a.txt").write_bytes(b"\xff")
    found = read_pictures(tmp_path, contents=("text", "image"))
    assert (len(found.samples), found.passed_over) == (0, {".txt": 1})
    assert [gap.path for gap in found.gaps] == [f"{tmp_path}/a.jpg"]
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "b.tar").write_bytes(b"no tar")
    assert read_pictures(tmp_path, contents=IMAGE).passed_over == {".txt": 1, ".tar": 1}


def test_a_caption_that_cannot_be_read_costs_its_picture_the_caption_and_no_more(tmp_path: Path) -> None:
    folder = fill(tmp_path / "d", "a.png", "b.png")
    (folder / "a.txt").write_bytes(b"\xff\xfe")
    (folder / "b.txt").write_text("a cat")
    found = read_pictures(folder, contents=("text", "image"))
    assert [sample.caption for sample in found.samples] == [None, "a cat"]
    assert found.notes == (f"captions beside pictures that cannot be read: 1, the first '{folder}/a.txt'",)


@pytest.mark.parametrize("name", ["metadata.csv", "manifest.csv", "train/metadata.csv"])
def test_tables_in_a_folder_are_used_if_asked_for_and_not_believed_about_other_places(
    tmp_path: Path, name: str
) -> None:
    folder, other = fill(tmp_path / "d", "a.png", "b.png", "train/c.png"), fill(tmp_path / "other", "x.png") / "x.png"
    (folder / "in").symlink_to("train")
    (folder / "out").symlink_to(tmp_path / "other")
    up = "../" * name.count("/")
    table = [f"{up}a.png", f"./{up}train/../a.png", f"{up}in/c.png", f"{up}out/x.png", f"{up}../other/x.png"]
    (folder / name).write_text("\n".join(["file_name", *table, str(other), f"{up}../other/gone.png"]))
    found = read_pictures(folder, contents=IMAGE)
    assert ids(found) == ["a.png", "b.png", "train/c.png"] and not found.gaps
    assert found.notes == (f"1 table is not used (--tables, in Python tables=True, does): '{name}'",)
    assert found.passed_over == {"linked folder": 2, "unused table": 1}
    found = read_pictures(folder, contents=IMAGE, tables=True)
    assert list(found.samples.path) == [f"{folder}/a.png", f"{folder}/train/c.png", f"{folder}/b.png"]
    assert {gap.message for gap in found.gaps} == {"a table names it, and it is not in the folder: not looked at"}
    assert len(found.gaps) == 4 and found.notes == ("rows that name a picture once more: 1; it is judged once",)
    assert found.passed_over == {"linked folder": 2}


def test_a_folder_that_cannot_be_read_is_a_gap_and_the_rest_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, scan = fill(tmp_path / "d", "a.png", "shut/b.png"), os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = read_pictures(folder, contents=IMAGE)
    assert ids(found) == ["a.png"]
    assert [(gap.path, gap.message) for gap in found.gaps] == [
        (f"{folder}/shut", "the folder cannot be read: Permission denied")
    ]


def test_a_table_that_is_a_link_out_of_the_folder_is_not_read(tmp_path: Path) -> None:
    folder = fill(tmp_path / "d", "a.png")
    (tmp_path / "secret").write_text("s3cr3t:x:0\n")
    (folder / "metadata.csv").symlink_to(tmp_path / "secret")
    found = read_pictures(folder, contents=IMAGE, tables=True)
    assert (
        ids(found) == ["a.png"] and "is a link out of the folder" in found.notes[0] and "s3cr3t" not in found.notes[0]
    )


def test_tars_that_are_all_that_is_not_hidden_are_read_and_hidden_pictures_beside_them_too(tmp_path: Path) -> None:
    folder = fill_tar(tmp_path / "t")
    for name in ("a.png", "b.psd"):
        (folder / name).rename(folder / f".{name}")
    found = read_pictures(folder, contents=IMAGE)
    assert ids(found) == ["a", ".a.png", ".b.psd"] and not found.passed_over


def test_sources_of_one_name_are_data_sets_of_their_own(tmp_path: Path) -> None:
    names = [read_pictures(fill(tmp_path / place / "d", "a.png"), contents=IMAGE).name for place in "xy"]
    assert len(set(names)) == 2 and all(name.startswith("d-") for name in names)
    assert is_loose_name(names[0], str(tmp_path / "x" / "d")) and not is_loose_name("d", str(tmp_path / "x" / "d"))
    assert not is_loose_name(names[0], str(tmp_path / "y" / "d"))


def test_of_a_list_each_file_is_a_picture_and_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "d", "a.png", "b.png")
    (tmp_path / "d" / "b.txt").write_text("what it shows")
    (tmp_path / "odd").write_text("no picture")
    monkeypatch.chdir(tmp_path)
    given = ["d/a.png", tmp_path / "d" / "b.png", "odd", "d/../d/a.png", str(tmp_path / "d" / "a.png"), "gone.png"]
    found = read_pictures(given, contents=("image", "text"))
    assert ids(found) == ["d/a.png", f"{tmp_path}/d/b.png", "odd", "d/../d/a.png"]
    assert [sample.caption for sample in found.samples] == [None, "what it shows", None, None]
    assert [(gap.path, gap.message) for gap in found.gaps] == [(f"{tmp_path}/gone.png", "there is no regular file")]
    assert found.is_loose and is_loose_name(found.name, found.origin)
    names = {read_pictures(some, contents=IMAGE).name for some in (given, given[:2], given[1:3], given[:2])}
    assert len(names) == 3
    for wrong, message in ((["d/a.png", "d"], r"d' is a folder, expected pictures in a list"), ([], "no pictures are")):
        with pytest.raises(ManifestError, match=message):
            read_pictures(wrong, contents=IMAGE)
