import os
import pickle
import re
import socket
from pathlib import Path

import pytest

from featcache.dataset.manifest import Manifest
from featcache.dataset.sample import ImageFile
from featcache.errors import ManifestError


def write(path: Path, text: str = "caption\na cat\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def special_files(folder: Path) -> dict[str, Path]:
    """Paths that exist and are no regular files."""
    found = {"folder": folder / "folder", "fifo": folder / "fifo", "socket": folder / "socket"}
    found["folder"].mkdir()
    os.mkfifo(found["fifo"])
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(found["socket"]))
    return found | {"device": Path("/dev/zero")}


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", ["folder", "fifo", "socket", "device"])
def test_what_is_not_a_regular_file_is_refused_without_blocking(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path has a length limit
    path = special_files(Path())[kind]
    with pytest.raises(OSError, match="not a regular file"):
        ImageFile(str(path)).read_bytes()
    with pytest.raises(ManifestError, match=r"not a regular file|holds no pictures"):
        Manifest.from_source(path)


@pytest.mark.parametrize("data", ["missing.csv", "a\0b.csv", "x" * 5000, "", "hf:", "hf:\0", "hf:no/such/folder"])
def test_data_that_is_nothing_is_refused(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ManifestError, match=r"expected|there is no file") as caught:
        Manifest.from_source(data)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["data.txt", "data", "data.csv.gz", "data.gz"])
def test_other_endings_are_refused_with_the_list_of_forms(name: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"\.parquet or \.xlsx file, a folder of pictures .* hf:NAME"):
        Manifest.from_source(write(tmp_path / name))


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.TAR.ZST", "a.tbz2", "a.tar.xz"])
def test_a_compressed_tar_is_refused_with_what_to_do(name: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"compressed, expected a plain \.tar: decompress it first"):
        Manifest.from_source(write(tmp_path / name))


def test_a_manifest_is_whole_unless_its_source_says_otherwise() -> None:
    assert Manifest("a", "a.csv", (), (), ()).broken == ()


@pytest.mark.parametrize("name", ["manifest.csv", "metadata.csv", "Manifest.CSV"])
def test_a_folder_with_one_manifest_stands_for_it(name: str, tmp_path: Path) -> None:
    file = write(tmp_path / "birds" / name)
    by_folder = Manifest.from_source(file.parent)
    assert by_folder == Manifest.from_source(file)
    assert by_folder.name == "birds"
    assert by_folder.origin == str(file.resolve())


def test_a_folder_with_two_manifests_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "manifest.csv")
    write(tmp_path / "metadata.jsonl", '{"caption": "a"}\n')
    with pytest.raises(ManifestError, match=r"several manifests, .*manifest\.csv.*metadata\.jsonl"):
        Manifest.from_source(tmp_path)


def test_a_folder_named_like_a_manifest_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").mkdir()
    (tmp_path / "metadata.csv").symlink_to(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert [sample.sample_id for sample in Manifest.from_source(tmp_path).samples] == ["a.jpg"]


def test_paths_resolve_beside_a_linked_manifest_not_beside_its_target(tmp_path: Path) -> None:
    blob = write(tmp_path / "blobs" / "0123", "image\na.jpg\n")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "a.jpg").write_bytes(b"x")
    link = tmp_path / "snapshot" / "birds.csv"
    link.symlink_to(blob)
    manifest = Manifest.from_source(link)
    assert manifest.origin == str(link)
    assert manifest.samples[0].image == ImageFile(str(tmp_path / "snapshot" / "a.jpg"))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("birds/manifest.csv", "birds"),
        ("birds/train.csv", "birds"),
        ("birds/sparrows.csv", "sparrows"),
        ("birds/.ünsafe name\n.csv", "nsafe-name"),
        (f"birds/{'x' * 100}.csv", "x" * 80),
        ("birds/日本.csv", "data"),
    ],
)
def test_the_default_name_is_a_safe_file_name(path: str, name: str, tmp_path: Path) -> None:
    manifest = Manifest.from_source(write(tmp_path / path))
    assert manifest.name == name
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}", manifest.name)


def test_a_given_name_is_made_safe_too(tmp_path: Path) -> None:
    assert Manifest.from_source(write(tmp_path / "a.csv"), name="../my data").name == "my-data"


def test_a_manifest_survives_pickling(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    manifest = Manifest.from_source(write(tmp_path / "m.csv", "image,label_b\na.jpg,sdxl\n"))
    assert pickle.loads(pickle.dumps(manifest)) == manifest
