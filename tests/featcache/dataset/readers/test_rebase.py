from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.rebase import _all_parts, _common_folders, _parts
from featcache.errors import ManifestError


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def read(folder: Path, paths: list[str], root: Path, **options: object) -> Manifest:
    table = folder / "tables" / "m.csv"
    table.parent.mkdir(exist_ok=True)
    table.write_text("image,caption\n" + "".join(f"{path},x\n" for path in paths))
    return Manifest.from_source(table, root=root, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "prefix",
    ["/home/alice/data/", "/", "", "./", "data/", "/home/alice/../bob//data/", "C:\\data\\", "D:/data/", "data\\"],
)
def test_pictures_of_another_machine_are_found_below_the_root(prefix: str, tmp_path: Path) -> None:
    root = make(tmp_path / "here", "train/a.jpg", "b.jpg")
    sign = "\\" if "\\" in prefix else "/"
    paths = [f"{prefix}train{sign}a.jpg", f"{prefix}b.jpg"]
    manifest = read(tmp_path, paths, root)
    assert [s.image.read_bytes() for s in manifest.samples if s.image] == [b"train/a.jpg", b"b.jpg"]
    assert [s.sample_id for s in manifest.samples] == paths
    assert manifest.reading.root == str(root)


@pytest.mark.parametrize(
    "paths",
    [
        ["/old/data/train/a.jpg", "/old/data\\b.jpg"],
        ["old\\data\\train\\a.jpg", "/old/data/b.jpg"],
        ["C:/data/train\\a.jpg", "C:\\data/b.jpg"],
        ["train\\a.jpg", "b.jpg"],
    ],
)
def test_both_signs_between_folders_may_stand_in_one_table(paths: list[str], tmp_path: Path) -> None:
    manifest = read(tmp_path, paths, make(tmp_path / "here", "train/a.jpg", "b.jpg"))
    assert [s.image.read_bytes() for s in manifest.samples if s.image] == [b"train/a.jpg", b"b.jpg"]


def test_a_name_with_a_backslash_stays_one_below_folders(tmp_path: Path) -> None:
    root = make(tmp_path / "here", "x/a\\b.jpg", "x/c.jpg")
    manifest = read(tmp_path, ["/old/x/a\\b.jpg", "/old/x/c.jpg"], root)
    assert [s.image.read_bytes() for s in manifest.samples if s.image] == [b"x/a\\b.jpg", b"x/c.jpg"]


def test_all_paths_lose_the_same_folders_and_as_few_as_possible(tmp_path: Path) -> None:
    root = make(tmp_path / "here", "x/a.jpg", "a.jpg", "b.jpg")
    manifest = read(tmp_path, ["/old/x/a.jpg", "/old/x/b.jpg"], root, on_orphan="skip")
    assert [s.image.read_bytes() for s in manifest.samples if s.image] == [b"x/a.jpg"]
    there = f"there is no file 'x/b.jpg', in the table '/old/x/b.jpg', below --root {str(root)[:20]!r}"
    assert there[:-1] in manifest.orphans[0].message


def test_folders_that_only_some_paths_have_are_kept(tmp_path: Path) -> None:
    root = make(tmp_path / "here", "a.jpg", "b.jpg")
    with pytest.raises(ManifestError, match=r"expected the pictures of m\.csv below it, found none of the first 2"):
        read(tmp_path, ["/old/x/a.jpg", "/old/y/b.jpg"], root)


def test_a_root_below_which_nothing_is_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"neither 'old/x/a\.jpg' nor 'a\.jpg'"):
        read(tmp_path, ["/old/x/a.jpg"], make(tmp_path / "here", "b.jpg"))
    with pytest.raises(ManifestError, match="expected a folder, found none"):
        read(tmp_path, ["/old/x/a.jpg"], tmp_path / "nowhere")
    with pytest.raises(ManifestError, match="expected the pictures"):
        read(tmp_path, ["a\0.jpg"], tmp_path)


def test_a_table_of_captions_has_no_use_for_a_root(tmp_path: Path) -> None:
    assert read(tmp_path, [""], make(tmp_path / "here", "a.jpg")).samples[0].image is None


def test_a_table_with_a_column_for_each_generator_has_a_root_too(tmp_path: Path) -> None:
    root = make(tmp_path / "here", "real/1.jpg", "sdxl/1.jpg", "sd3/1.jpg")
    table = tmp_path / "m.csv"
    table.write_text("caption,real,sdxl,sd3\nx,/old/real/1.jpg,/old/sdxl/1.jpg,/old/sd3/1.jpg\n")
    found = {s.label_b: s.image.read_bytes() for s in Manifest.from_source(table, root=root).samples if s.image}
    assert found == {"real": b"real/1.jpg", "sdxl": b"sdxl/1.jpg", "sd3": b"sd3/1.jpg"}


PARTS = st.lists(st.sampled_from("abc"), min_size=1, max_size=5)


@pytest.mark.slow
@given(st.lists(PARTS, min_size=1, max_size=5))
def test_what_paths_have_in_common_are_their_first_folders(paths: list[list[str]]) -> None:
    common = _common_folders(["/" + "/".join(path) for path in paths], _parts)
    assert all(path[:-1][: len(common)] == common for path in paths)
    longer = {tuple(path[:-1][: len(common) + 1]) for path in paths}
    assert len(longer) > 1 or longer == {tuple(common)}


@given(PARTS)
def test_parts_of_a_path_are_its_folders(path: list[str]) -> None:
    assert _parts("/".join(path)) == _all_parts("/" + "//".join(path)) == _parts("C:\\" + "\\".join(path)) == path
