"""Captions beside pictures: the first file that has one, in a fixed order."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.reading import Reading
from featcache.dataset.sample import Sample
from featcache.errors import ManifestError


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


@pytest.mark.parametrize(
    ("text", "rules", "origin"),
    [
        ('{"Origin": "web", "source": "x"}', None, "web"),
        ('{"source": "x"}', None, "x"),
        ('{"source": {"a": 1}}', None, None),
        ('{"origin": "web"}', 2, None),
    ],
)
def test_an_object_says_where_its_picture_is_from_as_tables_do(
    text: str, rules: int | None, origin: str | None, tmp_path: Path
) -> None:
    caption(tmp_path, json=text)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("1.jpg", "1.json"):
            tar.add(tmp_path / name, name)
    for source in (tmp_path, tmp_path / "a.tar"):
        manifest = Manifest.from_source(source, earlier=lambda _: Reading(rules=rules) if rules else None)
        assert [sample.origin for sample in manifest.samples] == [origin]


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


def write(folder: Path, kind: str, files: Mapping[str, bytes | dict[str, object]]) -> Path:
    """Write pictures and what is beside them into a folder or a tar, objects as JSON."""
    data = {name: value if isinstance(value, bytes) else json.dumps(value).encode() for name, value in files.items()}
    if kind == "folder":
        for name, each in data.items():
            (folder / "d" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "d" / name).write_bytes(each)
        return folder / "d"
    with tarfile.open(folder / "d.tar", "w") as tar:
        for name, each in data.items():
            info = tarfile.TarInfo(name)
            info.size = len(each)
            tar.addfile(info, io.BytesIO(each))
    return folder / "d.tar"


def told(sample: Sample) -> tuple[str, str | None, int, str | None, str | None, str | None]:
    name = sample.sample_id.replace(".jpg", "")  # in folders only
    group = sample.group.replace(".jpg", "") if sample.group else None
    return name, sample.caption, sample.label_a, sample.label_b, sample.split, group


BOTH = pytest.mark.parametrize("kind", ["folder", "tar"])


@BOTH
def test_objects_say_the_same_in_folders_and_in_tars(kind: str, tmp_path: Path) -> None:
    files: dict[str, bytes | dict[str, object]] = {
        "train/real/1.jpg": b"x",
        "train/real/1.json": {"Label_A": 1, "generator": "sdxl", "split": "val", "group": "g", "caption": "a cat"},
        "train/real/2.jpg": b"x",
        "train/real/2.json": {"caption": ["a", None, "b"]},
        "train/real/3.jpg": b"x",
        "train/real/3.json": {"label_b": 0, "caption": ["a", ["b"]]},
    }
    manifest = Manifest.from_source(write(tmp_path, kind, files))
    assert [told(sample) for sample in manifest.samples] == [
        ("train/real/1", "a cat", 1, "sdxl", "valid", "g"),
        ("train/real/2#0", "a", -1, None, "train", "train/real/2"),
        ("train/real/2#2", "b", -1, None, "train", "train/real/2"),
        ("train/real/3", None, 0, "real", "train", None),
    ]
    assert manifest.generators == ("sdxl",)
    assert len(manifest.notes) + len(manifest.broken) == 1  # of the third


@BOTH
def test_what_is_no_cell_is_told_and_not_read(kind: str, tmp_path: Path) -> None:
    said: dict[str, object] = {"caption": "a", "group": {"id": 7}, "split": ["train"], "tags": []}
    manifest = Manifest.from_source(write(tmp_path, kind, {"1.jpg": b"x", "1.json": said}))
    assert [told(sample) for sample in manifest.samples] == [("1", "a", -1, None, None, None)]
    (note,) = manifest.notes
    assert note.endswith(": not read: 'group', 'split', 'tags'")


@BOTH
@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ({"caption": b"c", "txt": b"t", "json": {"text": "j"}}, "t"),
        ({"json": {"text": "j"}, "caption": b"c"}, "c"),
        ({"txt": b" \n", "json": {"text": "j"}}, "j"),
        ({"txt": b"None", "caption": b"null", "json": {"text": "j"}}, "j"),
        ({"txt": b"None", "json": {"text": ["j"]}}, "j"),
        ({"txt": b'["a"]', "json": {}}, '["a"]'),
    ],
)
def test_captions_have_one_precedence_in_folders_and_in_tars(
    kind: str, beside: dict[str, bytes | dict[str, object]], expected: str, tmp_path: Path
) -> None:
    path = write(tmp_path, kind, {f"1.{ending}": value for ending, value in beside.items()} | {"1.jpg": b"x"})
    manifest = Manifest.from_source(path)
    assert [sample.caption for sample in manifest.samples] == [expected]
    assert (manifest.broken, manifest.notes) == ((), ())


@BOTH
def test_what_a_cache_knows_by_rules_2_is_read_as_before(kind: str, tmp_path: Path) -> None:
    files: dict[str, bytes | dict[str, object]] = {
        "real/1.jpg": b"x",
        "real/1.json": {"label_a": 1, "caption": "a"},
        "ai/2.jpg": b"x",
        "ai/2.caption": b"first in the tar",
        "ai/2.txt": b"t",
        "ai/3.jpg": b"x",
        "ai/3.json": {"caption": ["a", "b"]},
        "ai/4.jpg": b"x",
        "ai/4.json": {"caption": 5},
    }
    manifest = Manifest.from_source(write(tmp_path, kind, files), earlier=lambda _: Reading(rules=2))
    found = {name: (label, caption) for name, caption, label, *_ in map(told, manifest.samples)}
    if kind == "folder":
        assert found == {"real/1": (0, "a"), "ai/2": (1, "t"), "ai/3": (1, None), "ai/4": (1, "5")}
        assert "1 .json beside pictures say labels, splits or groups: not read into this cache" in manifest.notes[0]
    else:
        assert found == {
            "real/1": (1, "a"), "ai/2": (-1, "first in the tar"), "ai/3#0": (-1, "a"), "ai/3#1": (-1, "b"),
            "ai/4": (-1, "5"),
        }  # fmt: skip


@pytest.mark.parametrize("labels", [None, "real=ai,sdxl=real", "*=ai", "none"])
def test_an_object_that_says_nothing_changes_nothing_in_a_folder(labels: str | None, tmp_path: Path) -> None:
    names = ["real/1.jpg", "sdxl/2.jpg", "fake/3.jpg", "4.jpg"]
    path = write(tmp_path, "folder", dict.fromkeys(names, b"x") | {"real/1.txt": b"a", "sdxl/2.caption": b"nan"})
    before = Manifest.from_source(path, labels=labels)
    (path / "4.json").write_text("{}")
    after = Manifest.from_source(path, labels=labels)
    assert after == before and [s.where for s in after.samples] == [s.where for s in before.samples]
    (path / "5.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(ManifestError, match=r"there is no file '5\.jpg'.*--on-orphan skip"):
        Manifest.from_source(path)


@pytest.mark.parametrize("columns", [None, "label_a=label"])
def test_img2datasets_three_forms_give_the_same_samples_and_the_same_hint(columns: str | None, tmp_path: Path) -> None:
    rows = {
        f"00000000{i}": {"key": f"00000000{i}", "url": "http://a", "caption": f"caption {i}", "status": "success",
                         "label": i % 2}
        for i in range(3)
    }  # fmt: skip
    beside: dict[str, bytes | dict[str, object]] = {}
    for key, row in rows.items():
        beside |= {f"{key}.jpg": key.encode(), f"{key}.txt": str(row["caption"]).encode(), f"{key}.json": dict(row)}
    failed = {"key": "000000003", "url": "http://b", "caption": "lost", "status": "failed_to_download", "label": 0}
    table = [*(row | {"jpg": key.encode()} for key, row in rows.items()), failed | {"jpg": None}]
    (tmp_path / "p").mkdir()
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "p" / "00000.parquet")
    paths = (write(tmp_path, "folder", beside), write(tmp_path, "tar", beside), tmp_path / "p")
    found = [Manifest.from_source(path, columns=columns) for path in paths]
    assert all([told(s) for s in each.samples] == [told(s) for s in found[0].samples] for each in found)
    assert all([s.image and s.image.read_bytes() for s in each.samples] == [*map(str.encode, rows)] for each in found)
    assert [s.label_a for s in found[0].samples] == ([-1, -1, -1] if columns is None else [0, 1, 0])
    hint = "'label' is not read: --column label_a=label if it is the label real or AI"
    assert [[note for note in each.notes if "'label'" in note] for each in found] == [[hint] * (columns is None)] * 3


def test_columns_of_a_folder_are_remembered_where_it_has_objects(tmp_path: Path) -> None:
    path = write(tmp_path, "folder", {"1.jpg": b"x", "1.json": {"alt": "a cat"}})
    stated = Manifest.from_source(path, columns="caption=ALT")
    again = Manifest.from_source(path, earlier=lambda _: stated.reading)
    assert [s.caption for s in again.samples] == ["a cat"] and again.reading == stated.reading
    (path / "1.json").unlink()
    assert Manifest.from_source(path, earlier=lambda _: stated.reading).reading.columns == ""
