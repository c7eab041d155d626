from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featcache.errors import FeatcacheError
from featcache.extraction.run import ExtractOptions, extract
from featcache.files.publish import temporary_beside
from featcache.store.export import columns as export_columns
from featcache.store.export import export_store
from featcache.store.opening import open_store
from featcache.store.rows import Rows
from featcache.store.store import FeatureStore

from factories import FakeSpec, make_cache, read_manifest, write_dataset

OUTS = ("x.npz", "x.parquet", "x.safetensors", "folder", "dotted.v1/")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    folder = tmp_path_factory.mktemp("export")
    captions = ["", *[f"c{i}" for i in range(17)]]
    names = ["été", "a,b", 'quo"te', "\N{PILE OF POO}", *[f"s{i}" for i in range(14)]]
    labels = ["", *["real", "alpha", "beta"] * 5, "real", "alpha"]
    known_a = ["" if b == "" else int(b != "real") for b in labels]
    data = write_dataset(folder / "d", caption=captions, sample_id=names, label_b=labels, label_a=known_a)
    (folder / "d" / "1-beta.png").write_bytes(b"broken")
    specs = [FakeSpec("text", ("cls",)), FakeSpec("image", ("pooled", "cls"), width=3)]
    extract(read_manifest(data), make_cache(folder / "c"), specs, options=ExtractOptions(device="cpu", unit_rows=4))
    return open_store(folder / "c")


def read_npz(path: Path) -> Mapping[str, Any]:
    with np.load(path, allow_pickle=False) as arrays:
        return {**arrays, "about": json.loads(arrays["about"].item())}


def read_folder(path: Path) -> Mapping[str, Any]:
    about = json.loads((path / "index.json").read_text())
    found: dict[str, Any] = {"about": about}
    for name, entry in about["arrays"].items():
        array = np.load(path / entry["file"], mmap_mode="r", allow_pickle=False)
        assert list(array.shape) == entry["shape"] and array.dtype == np.dtype(entry["dtype"])
        found[name] = np.array(array)
    assert {p.name for p in path.iterdir()} == {"index.json", *(e["file"] for e in about["arrays"].values())}
    return found


def read_safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        texts = {name: json.loads(text) for name, text in file.metadata().items()}
    return {**found, **{name: value if name == "about" else np.array(value) for name, value in texts.items()}}


def read_parquet(path: Path) -> Mapping[str, Any]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[b"featcache"])
    found: dict[str, Any] = {"about": about, "class_names": np.array(about["class_names"])}
    for name in table.column_names:
        column = table[name].combine_chunks()
        if name in ("text", "image"):
            found[name] = column.flatten().to_numpy().reshape(len(column), column.type.list_size)
        else:
            found[name] = np.array(column.to_pylist(), dtype=str if name in ("sample_id", "split", "group") else None)
    return found


READERS: dict[str, Callable[[Path], Mapping[str, Any]]] = {
    ".npz": read_npz,
    ".parquet": read_parquet,
    ".safetensors": read_safetensors,
}


def read_back(out: str) -> Mapping[str, Any]:
    return READERS.get("" if out.endswith("/") else Path(out).suffix, read_folder)(Path(out))


@pytest.mark.parametrize("name", OUTS)
@pytest.mark.parametrize("split", [None, "train", "test"])
def test_an_export_holds_what_the_store_reads(
    store: FeatureStore, tmp_path: Path, name: str, split: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_columns, "_PIECE_BYTES", 100)
    monkeypatch.setattr("featcache.store.export.parquet._GROUP_BYTES", 1)
    out = f"{tmp_path}/{name}"
    report = export_store(store, out, split=split)
    expected, found = store.arrays(split), read_back(out)
    for column in ("sample_id", "split", "group", "label_a", "label_b"):
        np.testing.assert_array_equal(found[column], getattr(expected, column))
    for side in ("text", "image"):
        assert found[side].dtype == np.float32 and found[f"{side}_present"].dtype == bool
        np.testing.assert_array_equal(found[side], expected.features[side])
        np.testing.assert_array_equal(found[f"{side}_present"], expected.present[side])
        np.testing.assert_array_equal(np.isnan(found[side]).all(1), ~found[f"{side}_present"])
    assert found["class_names"].tolist() == list(store.class_names) == found["about"]["class_names"]
    assert all(not isinstance(v, np.ndarray) or v.dtype != object for v in found.values())
    assert report.n_rows == len(expected) and report.widths == {"text": 4, "image": 3}
    assert report.n_missing == {m: int((~p).sum()) for m, p in expected.present.items()} and report.n_bytes > 0


@pytest.mark.parametrize("name", OUTS)
def test_unknown_labels_are_minus_one_and_the_producer_is_named(store: FeatureStore, tmp_path: Path, name: str) -> None:
    out = f"{tmp_path}/{name}"
    selection = store.select("image", outputs=["cls", "pooled"])
    export_store(store, out, selections={"image": selection})
    found = read_back(out)
    assert found["label_a"][0] == found["label_b"][0] == -1 and "text" not in found
    assert found["about"]["features"]["image"] == {
        "fingerprint": selection.fingerprint,
        "view": "clean",
        "outputs": {"cls": 3, "pooled": 3},
    }


@pytest.mark.parametrize("name", OUTS)
def test_the_same_rows_give_the_same_bytes_and_replace_an_earlier_export(
    store: FeatureStore, tmp_path: Path, name: str
) -> None:
    def content() -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    out = f"{tmp_path}/{name}"
    export_store(store, out, split="test")
    first = content()
    with pytest.raises(FeatcacheError, match=f"cannot export to '{out.rstrip('/')}': it exists already.*--overwrite"):
        export_store(store, out, split="train")
    assert content() == first
    export_store(store, out, split="train", overwrite=True)
    assert content() != first
    export_store(store, out, split="test", overwrite=True)
    assert content() == first


@pytest.mark.parametrize("name", OUTS)
def test_what_came_meanwhile_is_not_replaced(
    store: FeatureStore, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, read = f"{tmp_path}/{name}", Rows.read

    def meanwhile(self: Rows, *given: Any, **named: Any) -> Any:
        monkeypatch.setattr(Rows, "read", read)
        export_store(store, out, split="test")
        return read(self, *given, **named)

    monkeypatch.setattr(Rows, "read", meanwhile)
    with pytest.raises(FeatcacheError, match="it exists already"):
        export_store(store, out, split="train")
    assert set(read_back(out)["split"]) == {"test"}


@pytest.mark.parametrize("name", OUTS)
def test_an_export_that_fails_leaves_what_was_there(
    store: FeatureStore, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = f"{tmp_path}/{name}"
    export_store(store, out, split="test")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("featcache.store.rows.Rows.read", fail)
    with pytest.raises(FeatcacheError, match=f"cannot export to {out!r}: no space"):
        export_store(store, out, overwrite=True)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_whose_exchange_is_interrupted_comes_back(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_store(store, tmp_path / "f", split="test")
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if target == tmp_path / "f" and self.suffix == ".tmp":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr("featcache.files.folders.exchange_names", lambda *_: False)
    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_store(store, tmp_path / "f", split="train", overwrite=True)
    assert set(read_folder(tmp_path / "f")["split"]) == {"test"} and [p.name for p in tmp_path.iterdir()] == ["f"]


DYING = """
import os, signal, sys
from featcache.store import export; from featcache import open_store

def half(source, path):
    path.write_bytes(b"half of an export")
    os.kill(os.getpid(), signal.SIGKILL)

export.FORMATS = {suffix: half for suffix in export.FORMATS}
export.export_store(open_store(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x.npz", "x.parquet", "x.safetensors"])
def test_what_a_killed_export_left_goes_with_the_next_and_nothing_else_does(
    store: FeatureStore, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out" / name
    killed = subprocess.run([sys.executable, "-c", DYING, str(store.path), str(out)], check=False)
    assert killed.returncode == -signal.SIGKILL and [p.read_bytes() for p in out.parent.iterdir()] == [
        b"half of an export"
    ]
    with temporary_beside(out, root=out.parent) as living:
        living.write_bytes(b"of an export that is at work")
        others = [living, out.parent / ".tmp-notes", out.parent / "diary.txt"]
        for other in others[1:]:
            other.write_bytes(b"mine")
            os.utime(other, (0, 0))
        export_store(store, out)
        assert set(out.parent.iterdir()) == {*others, out}


def test_an_export_that_is_killed_leaves_the_earlier_one_and_the_next_removes_what_it_left(
    store: FeatureStore, tmp_path: Path
) -> None:
    export_store(store, tmp_path / "f", split="test")
    code = (
        "import os, signal, sys; from featcache import open_store\n"
        "from featcache.store.export import export_store, folder\n"
        "folder._fill = lambda source, path: os.kill(os.getpid(), signal.SIGKILL)\n"
        "export_store(open_store(sys.argv[1]), sys.argv[2], overwrite=True)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store.path), str(tmp_path / "f")], check=False)
    assert done.returncode == -signal.SIGKILL and len(list(tmp_path.iterdir())) == 2
    assert set(read_folder(tmp_path / "f")["split"]) == {"test"}
    with pytest.raises(FeatcacheError, match="no sample in split 'night'"):
        export_store(store, tmp_path / "f", split="night", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_drafts_of_early_versions_go_after_a_day_if_they_hold_arrays_alone(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [".tmp-new-12-0011aabb", ".tmp-new-12-0011aabc", ".tmp-new-12", ".tmp-old-12-0011aabb"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "text.npy").write_bytes(b"half")
    (tmp_path / names[1] / "thesis.tex").write_text("mine")
    export_store(store, tmp_path / "f")
    assert {p.name for p in tmp_path.iterdir()} == {*names, "f"}
    later = time.time() + 25 * 3600
    monkeypatch.setattr("featcache.store.export.folder.time.time", lambda: later)
    export_store(store, tmp_path / "f", overwrite=True)
    assert {p.name for p in tmp_path.iterdir()} == {*names[1:], "f"}


def test_other_endings_are_refused_with_those_there_are(store: FeatureStore, tmp_path: Path) -> None:
    with pytest.raises(FeatcacheError, match=r"ends in \.npz, \.parquet, \.safetensors, or in / for a folder"):
        export_store(store, tmp_path / "x.csv")
    with pytest.raises(FeatcacheError, match="no sample in split 'night'"):
        export_store(store, tmp_path / "x.npz", split="night")
    (tmp_path / "y.npz").mkdir()
    with pytest.raises(FeatcacheError, match="found something else"):
        export_store(store, tmp_path / "y.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["y.npz"]


@pytest.mark.parametrize("kind", ["fifo", "link", "dangling", "folder"])
def test_only_a_file_is_replaced_by_a_file(store: FeatureStore, tmp_path: Path, kind: str) -> None:
    out, other = tmp_path / "x.npz", tmp_path / "other"
    other.write_bytes(b"mine")
    if kind == "fifo":
        os.mkfifo(out)
    elif kind == "folder":
        out.mkdir()
    else:
        out.symlink_to(other if kind == "link" else tmp_path / "nowhere")
    before = out.lstat()
    with pytest.raises(FeatcacheError, match="expected a file or nothing, found something else"):
        export_store(store, out)
    assert out.lstat() == before and other.read_bytes() == b"mine" and not (tmp_path / "nowhere").exists()


def test_a_full_disk_is_told_in_one_line(store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: object, path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("featcache.store.export.FORMATS", {".npz": full})
    with pytest.raises(FeatcacheError, match=r"cannot export to .*x\.npz': No space left on device"):
        export_store(store, tmp_path / "x.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_earlier_export_is_never_replaced(store: FeatureStore, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    export_store(store, photos)
    (photos / "mine.txt").write_text("keep")
    with pytest.raises(FeatcacheError, match="is no folder of an earlier export alone"):
        export_store(store, photos)
    (tmp_path / "file").write_text("keep")
    with pytest.raises(FeatcacheError, match="is no folder of an earlier export alone"):
        export_store(store, tmp_path / "file")
    (photos / "mine.txt").rename(tmp_path / "mine.txt")
    (photos / "text.npy").unlink()
    (photos / "text.npy").mkdir()
    with pytest.raises(FeatcacheError, match="is no folder of an earlier export alone"):
        export_store(store, photos)
    (photos / "index.json").unlink()
    os.mkfifo(photos / "index.json")
    with pytest.raises(FeatcacheError, match="is no folder of an earlier export alone"):
        export_store(store, photos)
    (tmp_path / "mine.txt").rename(photos / "mine.txt")
    assert (photos / "mine.txt").read_text() == (tmp_path / "file").read_text() == "keep"


@pytest.mark.parametrize(("name", "file"), [("thesis", "thesis.txt"), ("thesis", "thesis.npy"), ("text", "thesis.npy")])
def test_what_an_index_lists_does_not_become_part_of_an_export(
    store: FeatureStore, tmp_path: Path, name: str, file: str
) -> None:
    out = tmp_path / "f"
    export_store(store, out)
    index = json.loads((out / "index.json").read_text())
    index["arrays"][name] = {**index["arrays"]["text"], "file": file}
    (out / "index.json").write_text(json.dumps(index))
    if name == "text":
        (out / "text.npy").unlink()
    (out / file).write_text("mine")
    with pytest.raises(FeatcacheError, match="is no folder of an earlier export alone"):
        export_store(store, out)
    assert (out / file).read_text() == "mine"


def test_a_link_is_not_taken_for_the_folder_that_it_leads_to(store: FeatureStore, tmp_path: Path) -> None:
    export_store(store, tmp_path / "f", split="test")
    (tmp_path / "link").symlink_to(tmp_path / "f")
    with pytest.raises(FeatcacheError, match="it is a link, expected the folder itself"):
        export_store(store, tmp_path / "link", split="train")
    assert set(read_folder(tmp_path / "f")["split"]) == {"test"} and len(list(tmp_path.iterdir())) == 2


def test_strings_that_no_safetensors_header_holds_are_refused(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featcache.store.export.safetensors._MAX_HEADER", 1000)
    with pytest.raises(FeatcacheError, match="the strings of 18 samples take"):
        export_store(store, tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


def test_frames_hold_what_the_store_reads(store: FeatureStore) -> None:
    expected = store.arrays("train")
    frame, table = store.to_pandas("train"), store.to_arrow("train")
    assert frame.columns.tolist() == table.column_names and len(frame) == table.num_rows == len(expected)
    assert frame["sample_id"].tolist() == table["sample_id"].to_pylist() == expected.sample_id.tolist()
    assert frame["label_b"].tolist() == table["label_b"].to_pylist() == expected.label_b.tolist()
    for side in ("text", "image"):
        np.testing.assert_array_equal(np.stack(frame[side].tolist()), expected.features[side])
        flat = table[side].combine_chunks().flatten().to_numpy()
        np.testing.assert_array_equal(flat.reshape(len(expected), -1), expected.features[side])
        assert frame[f"{side}_present"].tolist() == expected.present[side].tolist()
    assert frame.attrs["class_names"] == store.class_names
    assert json.loads(table.schema.metadata[b"featcache"])["class_names"] == list(store.class_names)


def test_a_name_that_arrow_cannot_hold_is_named(store: FeatureStore) -> None:
    from dataclasses import replace

    from featcache.store.frames import arrow_table

    arrays = store.arrays()
    with pytest.raises(FeatcacheError, match=r"group 'a\\udcff' is no valid Unicode"):
        arrow_table(replace(arrays, group=np.array(["a\udcff"] * len(arrays))))


@pytest.mark.parametrize(
    ("module", "read"),
    [
        ("pyarrow", lambda store, path: store.to_arrow()),
        ("pyarrow.parquet", lambda store, path: export_store(store, path / "x.parquet")),
        ("pandas", lambda store, path: store.to_pandas()),
    ],
)
def test_a_missing_extra_is_named(
    store: FeatureStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    read: Callable[[FeatureStore, Path], object],
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(FeatcacheError, match=r"pip install"):
        read(store, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", OUTS)
def test_where_rows_come_from_is_exported_where_it_is_known(tmp_path: Path, name: str) -> None:
    origins = ["web", "", "scan é", *[f"o{i}" for i in range(15)]]
    data = write_dataset(tmp_path / "d", origin=origins)
    extract(read_manifest(data), make_cache(tmp_path / "c"), [FakeSpec("text", ("cls",))])
    store = open_store(tmp_path / "c")
    out = f"{tmp_path}/{name}"
    export_store(store, out)
    assert list(read_back(out)["origin"]) == origins
    found = store.arrays().origin
    assert found is not None and found.tolist() == origins
    assert store.to_pandas()["origin"].tolist() == store.to_arrow()["origin"].to_pylist() == origins
    few = store.gather(["0-alpha", "0-real"])
    assert few.origin is not None and few.origin.tolist() == ["", "web"]
    one = few.select(np.array([1]))
    assert one.origin is not None and one.origin.tolist() == ["web"]


def test_without_origins_nothing_has_them(store: FeatureStore, tmp_path: Path) -> None:
    export_store(store, tmp_path / "x.npz")
    assert "origin" not in read_npz(tmp_path / "x.npz")
    assert "origin" not in store.to_pandas() and "origin" not in store.to_arrow().column_names
    assert store.arrays().origin is None and store.arrays().select(np.arange(2)).origin is None
