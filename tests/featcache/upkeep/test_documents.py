"""Damaged and misplaced documents: named by verify, mended or moved by repair, and nothing is deleted."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from featcache.cache.folder import Cache
from featcache.dataset.manifest import Manifest
from featcache.errors import FeatcacheError, ShardError
from featcache.extraction.partition import Partition
from featcache.extraction.run import ExtractOptions, extract
from featcache.store.opening import open_store
from featcache.upkeep.failure_list import list_failures
from featcache.upkeep.repair import RepairReport, repair
from featcache.upkeep.status import cache_status
from featcache.upkeep.verify import verify

from factories import FakeSpec, make_cache, write_dataset

pytestmark = pytest.mark.slow

TEXT, IMAGE, OTHER = FakeSpec("text", ("cls",)), FakeSpec("image"), FakeSpec("image", weights="w1")
A, B = (spec.fingerprint.short for spec in (IMAGE, OTHER))
KINDS = (
    f"encoders/{A}.json",
    "samples/d.h5",
    f"requests/d/{A}.json",
    "plans/d/*.json",
    f"failures/{A}/clean/*.json",
    "failures/samples/d/read.json",
    "failures/samples/d/orphans.json",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with two of everything."""
    folder = tmp_path_factory.mktemp("whole")
    cache = make_cache(folder / "c")
    for name, gone, n_captions in (("d", "0-alpha", 4), ("e", "2-beta", 5)):
        manifest = Manifest.from_source(write_dataset(folder / name, n_captions=n_captions))
        (folder / name / f"{gone}.png").unlink()
        for broken in ("1-real", "3-real"):
            (folder / name / f"{broken}.png").write_bytes(f"broken {name}".encode() + broken.encode())
        for part in range(2):
            options = ExtractOptions(device="cpu", unit_rows=3, partition=Partition(part, 2))
            extract(manifest, cache, [TEXT, IMAGE, OTHER], views=("clean", "hflip"), options=options)
    return folder / "c"


@pytest.fixture
def cache(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "c")
    return tmp_path / "c"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    place = len(data) // 2
    if path.suffix == ".h5":  # between columns there is room that means nothing
        with h5py.File(path) as file:
            place = file["image_key"].id.get_offset()
    data[place] ^= 1
    path.write_bytes(bytes(data))


def put_folder(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def problems(cache: Path) -> dict[str, str]:
    found = verify(Cache.open(cache), deep=True).problems
    return {p.path.relative_to(cache).as_posix(): p.message for p in found}


def check_repair(cache: Path) -> RepairReport:
    """Repair: every byte that was there still is, shards where they were; the next repair finds nothing to do."""
    before = contents(cache)
    report = repair(cache)
    after = contents(cache)
    index = before.pop("index.json", None)
    assert set(before.values()) <= set(after.values())
    assert {n: d for n, d in before.items() if n.startswith("features/")}.items() <= after.items()
    again = repair(cache)
    assert again.moved == again.missing == again.remade == () and contents(cache) == after
    assert again.after.problems == report.after.problems and again.after.notes == report.after.notes
    assert index is None or index in after.values() or "index.json" in after
    return report


def test_a_cache_with_two_of_everything_is_sound(cache: Path) -> None:
    report = verify(Cache.open(cache), deep=True)
    assert report.is_sound and report.notes == ()
    for kind in KINDS:
        assert list(cache.glob(kind.replace("/d", "/e"))), kind


@pytest.mark.parametrize("hurt", [flip, put_folder])
@pytest.mark.parametrize("kind", [*KINDS, "index.json"])
def test_what_is_damaged_is_named_and_moved_aside(kind: str, hurt: Callable[[Path], None], cache: Path) -> None:
    victim = next(cache.glob(kind))
    name = victim.relative_to(cache).as_posix()
    hurt(victim)
    assert name in problems(cache)
    report = check_repair(cache)
    assert [m.problem.path for m in report.moved] == [victim] and problems(cache) == {}
    assert report.after.is_sound and report.moved[0].path.parents[name.count("/") + 1].name == "quarantine"


@pytest.mark.parametrize("damage", [b"#", b"{", b"[]\n", b'{"format_version": 1}'])
@pytest.mark.parametrize("kind", [*KINDS, "cache.json"])
def test_every_command_that_meets_damage_says_what_to_do(kind: str, damage: bytes, cache: Path) -> None:
    victim = next(cache.glob(kind))
    victim.write_bytes(victim.read_bytes().replace(b"a", b"b") if damage == b"#" else damage)
    uses: list[Callable[[], object]] = [lambda: cache_status(Cache.open(cache))]
    uses += [lambda: list_failures(Cache.open(cache))] if kind.endswith("read.json") or f"failures/{A}" in kind else []
    uses += [lambda: open_store(cache, dataset="d")] if kind.startswith(("cache", "samples")) else []
    for use in uses:
        with pytest.raises(FeatcacheError, match=rf"{victim.name}.*`featcache (repair|extract)`"):
            use()


def swap(one: Path, other: Path) -> None:
    spare = one.with_name(".tmp-spare")
    one.rename(spare)
    other.rename(one)
    spare.rename(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"encoders/{A}.json", f"encoders/{B}.json"),
        ("samples/d.h5", "samples/e.h5"),
        (f"requests/d/{A}.json", f"requests/e/{A}.json"),
        (f"requests/d/{A}.json", f"requests/d/{B}.json"),
        ("plans/d/*.json", "plans/e/*.json"),
    ],
)
@pytest.mark.parametrize("indexed", [True, False])
def test_documents_that_changed_places_are_put_back(one: str, other: str, indexed: bool, cache: Path) -> None:
    before = contents(cache)
    paths = next(cache.glob(one)), next(cache.glob(other))
    swap(*paths)
    if not indexed:
        (cache / "index.json").unlink()
    found = problems(cache)
    for path in paths:
        assert re.search("moved or swapped; `featcache repair`", found[path.relative_to(cache).as_posix()])
    report = check_repair(cache)
    assert {(m.problem.path, m.path) for m in report.moved} == {paths, paths[::-1]}
    assert contents(cache) == before and problems(cache) == {} and report.commands == ()


@pytest.mark.parametrize("kind", ["samples/d.h5", f"requests/d/{A}.json", "plans/d/*.json", f"encoders/{A}.json"])
def test_a_document_over_another_is_moved_aside_and_a_renamed_one_back(kind: str, cache: Path) -> None:
    before = contents(cache)
    own = next(cache.glob(kind))
    other = next(p for p in cache.glob(kind.replace("/d", "/e").replace(A, B)))
    lost = other.read_bytes()
    own.rename(other)
    check_repair(cache)
    assert own.read_bytes() == before[own.relative_to(cache).as_posix()]
    assert other.read_bytes() == lost if "encoders" in kind else not other.exists()
    shutil.copyfile(own, other)
    report = check_repair(cache)
    assert [m.problem.path for m in report.moved] == [other] and "quarantine" in report.moved[0].path.parts
    assert problems(cache) == {}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((A, "clean", 0), (A, "clean", 1)),
        ((A, "clean", 0), (A, "hflip", 0)),
        ((A, "clean", 0), (B, "clean", 1)),
    ],
)
def test_failures_that_changed_places_are_moved_aside_and_tried_again(
    one: tuple[str, str, int], other: tuple[str, str, int], whole: Path, cache: Path
) -> None:
    paths = [sorted(cache.glob(f"failures/{f}/{view}/*.json"))[number] for f, view, number in (one, other)]
    n_failed = sum(lack.n_failed for lack in verify(Cache.open(cache)).lacks)
    swap(*paths)
    assert set(problems(cache)) == {path.relative_to(cache).as_posix() for path in paths}
    with pytest.raises(ShardError, match=r"is of unit '.*': it was moved or swapped; `featcache repair`"):
        cache_status(Cache.open(cache))
    report = check_repair(cache)
    assert {m.problem.path for m in report.moved} == set(paths) and problems(cache) == {}
    assert report.commands and cache_status(Cache.open(cache)).n_missing > 0
    for name in ("d", "e"):
        manifest = Manifest.from_source(whole.parent / name / "manifest.csv", on_orphan="skip", name=name)
        options = ExtractOptions(device="cpu", unit_rows=3)
        extract(manifest, Cache.open(cache), [TEXT, IMAGE, OTHER], views=("clean", "hflip"), options=options)
    assert sum(lack.n_failed for lack in verify(Cache.open(cache)).lacks) == n_failed


def test_what_could_not_be_read_and_what_was_not_there_do_not_pass_for_each_other(cache: Path) -> None:
    folder = cache / "failures" / "samples" / "d"
    swap(folder / "read.json", folder / "orphans.json")
    assert set(problems(cache)) == {"failures/samples/d/read.json", "failures/samples/d/orphans.json"}
    check_repair(cache)
    assert problems(cache) == {}


def test_what_names_a_place_outside_is_only_moved_aside(cache: Path, tmp_path: Path) -> None:
    from featcache.files.sealed import read_sealed, replace_sealed

    (path,) = cache.glob(f"requests/d/{A}.json")
    document, _ = read_sealed(path)
    for dataset in ("../../outside", "..", "a/b", "nul\0", "", ".hidden", str(tmp_path / "outside")):
        replace_sealed(path, document | {"dataset": dataset}, root=path.parent)
        (moved,) = repair(cache).moved
        assert moved.path.parents[3].name == "quarantine", dataset
    assert not (tmp_path / "outside").exists() and problems(cache) == {}


def test_a_data_set_may_be_named_like_a_file(tmp_path: Path) -> None:
    manifest = Manifest.from_source(write_dataset(tmp_path / "d"), name="d.json")
    cache = make_cache(tmp_path / "c")
    extract(manifest, cache, [IMAGE], options=ExtractOptions(device="cpu"))
    assert verify(cache, deep=True).is_sound and repair(cache.path).moved == ()


def test_a_damaged_document_stops_no_repair_of_another(cache: Path) -> None:
    victims = [next(cache.glob(kind)) for kind in (*KINDS, "index.json", "cache.json")]
    for victim in victims:
        flip(victim)
    with pytest.raises(FeatcacheError, match="`featcache repair`"):
        Cache.open(cache)
    report = check_repair(cache)
    assert {m.problem.path for m in report.moved} == set(victims)
