"""Nothing outside of a cache is written, moved or deleted, whatever links the cache has."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cli
from featcache.cache.folder import Cache
from featcache.errors import FeatcacheError
from featcache.extraction.forecast import forecast_extraction
from featcache.extraction.partition import Partition
from featcache.extraction.run import ExtractOptions, extract
from featcache.files.inside import check_inside, make_folder, walk_inside
from featcache.store.opening import open_store
from featcache.upkeep.repair import repair
from featcache.upkeep.verify import verify

from factories import FakeSpec, make_cache, read_manifest, write_dataset

IMAGE, TEXT = FakeSpec("image"), FakeSpec("text")
LATER = FakeSpec("image", weights="w1")
OPTIONS = {"device": "cpu", "unit_rows": 4, "workers": 1}
PRODUCER = IMAGE.fingerprint.short
FOLDERS = (
    "encoders",
    "features", f"features/{PRODUCER}", f"features/{PRODUCER}/clean",
    "samples",
    "failures", f"failures/{PRODUCER}", f"failures/{PRODUCER}/clean", "failures/samples", "failures/samples/d",
    "requests", "requests/d",
    "plans", "plans/d",
    "claims", f"claims/{PRODUCER}", f"claims/{PRODUCER}/clean", "claims/scan", "claims/leases",
    "memo",
    "memo/checked",
    f"memo/checked/{PRODUCER}",
    "quarantine",
)  # fmt: skip


def plant(folder: Path) -> None:
    """Put into a folder what every sweep looks for: old notes, unfinished files, shards and documents of no value."""
    for name in ("0" * 32 + ".json", "gc.json", "read.json", "d.json", ".tmp-x", ".tmp-h-1-0000000000000000", "x.h5"):
        for place in (folder, folder / PRODUCER, folder / PRODUCER / "clean"):
            path = place / name
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"precious")
                os.utime(path, (time.time() - 3 * 86_400,) * 2)


def look(folder: Path) -> dict[str, object]:
    """What a tree is, times of change of its folders included."""
    found: dict[str, object] = {}
    for path in sorted([folder, *folder.rglob("*")]):
        status = path.lstat()
        content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path)] = (status.st_mode, status.st_mtime_ns, status.st_size, status.st_ino, content)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set ``d`` and a cache ``c`` that has something in every folder, and rows to spare."""
    root = tmp_path_factory.mktemp("made")
    data = write_dataset(root / "d", n_captions=6)
    (root / "d" / "1-beta.png").write_bytes(b"broken")
    parts = [Partition(index, 2) for index in range(2)]
    for part in parts:
        options = ExtractOptions(**OPTIONS, partition=part)
        extract(read_manifest(data), make_cache(root / "c"), [IMAGE, TEXT], options=options)
    lines = data.read_text().splitlines()
    data.write_text("\n".join(lines[:-3]) + "\n")
    extract(read_manifest(data), make_cache(root / "c"), [IMAGE, TEXT], options=ExtractOptions(**OPTIONS))
    for path in (root / "c").glob("features/*/*/*.h5"):
        os.utime(path, (0, 0))
    open_store(root / "c", check=True).arrays()
    for folder in FOLDERS:
        (root / "c" / folder).mkdir(parents=True, exist_ok=True)
    assert list((root / "c" / "memo" / "checked" / PRODUCER).iterdir())
    return root


def on_the_command_line(*arguments: str) -> Callable[[Path], None]:
    def run(root: Path) -> None:
        words = [word.format(root) for word in arguments]
        result = CliRunner().invoke(cli.featcache_app, words)
        assert result.exception is None or isinstance(result.exception, (SystemExit, FeatcacheError)), result.exception

    return run


def extracting(spec: FakeSpec, **more: object) -> Callable[[Path], None]:
    def run(root: Path) -> None:
        options = ExtractOptions(**OPTIONS, **more)
        extract(read_manifest(root / "d" / "manifest.csv"), Cache.open(root / "c"), [spec, TEXT], options=options)

    return run


def forecasting(root: Path) -> None:
    manifest = read_manifest(root / "d" / "manifest.csv")
    forecast_extraction(manifest, Cache.open(root / "c"), [LATER, TEXT], options=ExtractOptions(**OPTIONS))


def reading(root: Path) -> None:
    open_store(root / "c", check=True).arrays()


COMMANDS: dict[str, Callable[[Path], None]] = {
    "extract": extracting(LATER),
    "extract again": extracting(IMAGE),
    "extract --retry-failed": extracting(IMAGE, retry_failed=True),
    "extract --shard": extracting(LATER, partition=Partition(0, 3)),
    "extract --dry-run": forecasting,
    "gc": on_the_command_line("gc", "{0}/c"),
    "gc --delete": on_the_command_line("gc", "{0}/c", "--delete"),
    "gc --compact": on_the_command_line("gc", "{0}/c", "--delete", "--compact"),
    "repair": on_the_command_line("repair", "{0}/c"),
    "verify": on_the_command_line("verify", "{0}/c", "--deep", "--canary"),
    "status": on_the_command_line("status", "{0}/c"),
    "failures": on_the_command_line("failures", "{0}/c"),
    "diff": on_the_command_line("diff", "{0}/c", PRODUCER, TEXT.fingerprint.short),
    "read": reading,
    "export": on_the_command_line("export", "{0}/c", "--out", "{0}/out.npz"),
}


@pytest.mark.parametrize("is_damaged", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("folder", [FOLDERS[0], *(pytest.param(each, marks=pytest.mark.slow) for each in FOLDERS[1:])])
def test_no_command_changes_anything_behind_a_link(made: Path, tmp_path: Path, folder: str, is_damaged: bool) -> None:
    for number, (name, command) in enumerate(COMMANDS.items()):
        root = tmp_path / str(number)
        shutil.copytree(made, root)
        outside = tmp_path / f"outside-{number}"
        shutil.move(root / "c" / folder, outside)
        plant(outside)
        for path in outside.rglob("*.h5") if is_damaged else ():
            path.write_bytes(path.read_bytes()[:-1] + b"?")
        (root / "c" / folder).symlink_to(outside)
        before = look(outside)
        try:
            command(root)
        except FeatcacheError as error:
            assert "\n" not in str(error)
        assert look(outside) == before, name


@pytest.mark.parametrize("folder", FOLDERS)
def test_an_extraction_a_repair_and_deleting_say_which_folder_is_a_link(
    made: Path, tmp_path: Path, folder: str
) -> None:
    shutil.copytree(made, tmp_path / "r")
    where = tmp_path / "r" / "c" / folder
    shutil.move(where, tmp_path / "outside")
    where.symlink_to(tmp_path / "outside")
    before = look(tmp_path / "r" / "c")
    for command in (extracting(LATER), forecasting, lambda root: repair(root / "c")):
        with pytest.raises(FeatcacheError) as caught:
            command(tmp_path / "r")
        assert str(caught.value).startswith(f"{where} is a link") and "\n" not in str(caught.value)
    result = CliRunner().invoke(cli.featcache_app, ["gc", str(tmp_path / "r" / "c"), "--delete"])
    assert f"{where} is a link" in str(result.exception)
    assert look(tmp_path / "r" / "c") == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", ["features/loop", f"features/{PRODUCER}/loop", "requests/loop", "memo/d.h5", "memo/checked/loop"]
)
def test_a_link_that_leads_in_a_circle_stops_nobody(made: Path, tmp_path: Path, place: str) -> None:
    shutil.copytree(made, tmp_path / "r")
    where = tmp_path / "r" / "c" / place
    where.unlink(missing_ok=True)
    where.symlink_to(where.name)
    for name in ("extract again", "repair", "gc --delete", "verify", "status", "read"):
        COMMANDS[name](tmp_path / "r")
    assert verify(Cache.open(tmp_path / "r" / "c"), deep=True).is_sound


def test_a_cache_that_is_itself_reached_through_links_is_like_any_other(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "far" / "r")
    (tmp_path / "near").symlink_to(tmp_path / "far")
    (tmp_path / "c").symlink_to(tmp_path / "near" / "r" / "c")
    shutil.copytree(made / "d", tmp_path / "d")
    for name in ("extract", "gc --delete", "repair"):
        COMMANDS[name](tmp_path)
    assert verify(Cache.open(tmp_path / "c"), deep=True).is_sound
    assert (tmp_path / "c").is_symlink() and (tmp_path / "near").is_symlink()


def test_what_is_behind_links_is_read_and_verify_names_the_links(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "r")
    cache = Cache.open(tmp_path / "r" / "c")
    expected = open_store(cache.path).arrays()
    shutil.move(cache.path / "features", tmp_path / "disk")
    (cache.path / "features").symlink_to(tmp_path / "disk")
    for path in [*cache.path.glob("encoders/*.json"), *cache.path.glob("samples/*.h5")]:
        shutil.move(path, tmp_path / path.name)
        path.symlink_to(tmp_path / path.name)
    found = open_store(cache.path).arrays()
    assert found.sample_id.tolist() == expected.sample_id.tolist()
    for modality in expected.features:
        assert (found.present[modality] == expected.present[modality]).all()
    report = verify(cache, deep=True)
    notes = {note.path.relative_to(cache.path).as_posix(): note.message for note in report.notes}
    assert report.is_sound and notes["features"].startswith("a link: what is in it is read")
    assert any(message.startswith("a link, and 2 others are") for message in notes.values())


def test_a_path_that_leads_out_of_the_root_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "c" / ".." / "x", tmp_path / "other" / "x", tmp_path / "c" / "a" / ".." / ".." / "x"):
        with pytest.raises(FeatcacheError, match="is not below"):
            check_inside(path, root=tmp_path / "c")


def test_links_on_the_way_are_refused_at_any_depth_and_the_last_part_may_be_one(tmp_path: Path) -> None:
    root, outside = tmp_path / "c", tmp_path / "o"
    (root / "a").mkdir(parents=True)
    outside.mkdir()
    (root / "a" / "b").symlink_to(outside)
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    for path in (root / "a" / "b" / "x", root / "a" / "b" / "c" / "d", root / "dangling" / "x"):
        with pytest.raises(FeatcacheError, match=r"/(b|dangling) is a link"):
            check_inside(path, root=root)
        with pytest.raises(FeatcacheError, match="is a link"):
            make_folder(path.parent, root=root)
    check_inside(root / "a" / "b", root=root)
    check_inside(root / "new" / "folder" / "x", root=root)
    make_folder(root / "new" / "folder", root=root)
    assert (root / "new" / "folder").is_dir() and list(outside.iterdir()) == [] and not (tmp_path / "nowhere").exists()


def test_a_walk_yields_links_and_follows_none(tmp_path: Path) -> None:
    root, outside = tmp_path / "c", tmp_path / "o"
    (root / "a").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").write_text("x")
    (root / "a" / "f").write_text("x")
    (root / "a" / "folder").symlink_to(outside)
    (root / "a" / "file").symlink_to(outside / "secret")
    (root / "b").symlink_to(root / "a")
    names = [path.relative_to(root).as_posix() for path in walk_inside(root, root=root)]
    assert names == ["b", "a/f", "a/file", "a/folder"]
    assert list(walk_inside(root / "b", root=root)) == [] and list(walk_inside(root / "nowhere", root=root)) == []
    assert [p.name for p in walk_inside(root / "a", root=root)] == ["f", "file", "folder"]
