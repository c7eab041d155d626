from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from featcache.cache.failures import Failure, failed_keys, read_failures, write_failures
from featcache.cache.folder import Cache, Defaults, has_lost_marker, unit_name
from featcache.errors import FeatcacheError, ShardError
from featcache.extraction.run import extract
from featcache.files.publish import publish_new, temporary_beside
from featcache.files.sealed import read_sealed, replace_sealed, write_sealed
from featcache.project import Project, load_project
from featcache.upkeep.repair import repair

from factories import FakeSpec, make_cache, read_manifest, write_dataset


def test_the_first_defaults_stay(tmp_path: Path) -> None:
    first = Cache.open_or_create(tmp_path / "c", Defaults("bfloat16", "float32"))
    before = (tmp_path / "c" / "cache.json").read_bytes()
    second = Cache.open_or_create(tmp_path / "c", Defaults("float32", "float16"))
    assert first.defaults == second.defaults == Defaults("bfloat16", "float32")
    assert (tmp_path / "c" / "cache.json").read_bytes() == before


def test_a_folder_with_something_else_in_it_is_never_made_a_cache(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(FeatcacheError, match="neither empty nor a cache"):
        make_cache(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_cache_is_imagined_until_it_is_made(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "deep" / "c"):
        imagined = Cache.open_or_imagine(path, Defaults("bfloat16", "float32"))
        assert imagined.datasets == imagined.views(FakeSpec("image").fingerprint) == () and not imagined.producers
        assert not (path / "cache.json").exists() and not (tmp_path / "deep").exists()
        imagined.make()
        before = (path / "cache.json").read_bytes()
        imagined.make()
        assert (path / "cache.json").read_bytes() == before
        assert Cache.open(path) == imagined == Cache.open_or_imagine(path, Defaults("float32", "float16"))


def test_a_cache_that_another_made_since_is_used_only_if_it_means_the_same(tmp_path: Path) -> None:
    same, other = (
        Cache.open_or_imagine(tmp_path / "c", Defaults(dtype, "float16")) for dtype in ("float32", "float16")
    )
    make_cache(tmp_path / "c")
    same.make()
    with pytest.raises(FeatcacheError, match=r"made by another .* compute in float32 and store float16; run the same"):
        other.make()


def test_a_file_is_no_place_for_a_cache(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("x")
    for make in (Cache.open_or_imagine, Cache.open_or_create):
        with pytest.raises(FeatcacheError, match="is no folder"):
            make(tmp_path / "c", Defaults("float32", "float16"))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"format_version": 2}, "format version 2, this program reads 1"),
        ({"format_version": 1}, "has no defaults"),
        ({"format_version": 1, "defaults": {"compute_dtype": "int8", "storage_dtype": "float16"}}, "'int8' is unknown"),
        ([], "holds no JSON object"),
    ],
)
def test_a_cache_of_another_make_is_refused(tmp_path: Path, document: object, message: str) -> None:
    (tmp_path / "cache.json").write_text(json.dumps(document))
    with pytest.raises(FeatcacheError, match=message):
        Cache.open(tmp_path)


def test_what_stops_an_open_says_what_to_do_and_another_version_is_no_damage(tmp_path: Path) -> None:
    path = make_cache(tmp_path / "c").path / "cache.json"
    good = path.read_text()
    for damaged in (good.replace("float16", "float61"), good.replace("defaults", "d"), good[:-9], "[]", '{"a": 1}'):
        path.write_text(damaged)
        with pytest.raises(ShardError, match=r"cache\.json.*; `featcache repair` moves it aside"):
            Cache.open(tmp_path / "c")
    replace_sealed(path, {"format_version": 2}, root=path.parent)
    with pytest.raises(FeatcacheError, match=r"format version 2, this program reads 1$"):
        Cache.open(tmp_path / "c")


@pytest.mark.parametrize("left", ["encoders", "features", "samples", "index.json"])
def test_a_cache_that_lost_its_marker_is_told_from_other_folders(left: str, tmp_path: Path) -> None:
    folder = tmp_path / "a cache"
    extract(read_manifest(write_dataset(tmp_path / "d", n_captions=1)), make_cache(folder), [FakeSpec("image")])
    (folder / "cache.json").unlink()
    for path in folder.iterdir():
        if path.name != left:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert has_lost_marker(folder)
    for use in (lambda: Cache.open(folder), lambda: make_cache(folder)):
        with pytest.raises(
            FeatcacheError, match=f"no cache.json, but looks .*: `featcache repair '{folder}'` makes it"
        ):
            use()


def test_a_folder_with_files_of_others_has_not_lost_its_marker(tmp_path: Path) -> None:
    files = ("samples/x.h5", "features/x/y/z.h5", "encoders/bert.json", "index.json", "cache.txt")
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert not has_lost_marker(tmp_path)
    for use in (lambda: Cache.open(tmp_path), lambda: make_cache(tmp_path), lambda: repair(tmp_path)):
        with pytest.raises(FeatcacheError, match=r"it has no cache\.json$"):
            use()
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()} == set(files)


def test_units_are_named_by_their_keys_in_order_their_view_and_their_outputs() -> None:
    keys = np.arange(64, dtype=np.uint8).reshape(2, 32)
    name = unit_name(keys, "clean", ("a", "b"))
    assert name == unit_name(keys.copy(), "clean", ("b", "a")) and len(name) == 32
    others = [
        unit_name(keys[::-1], "clean", ("a", "b")),
        unit_name(keys, "x", ("a", "b")),
        unit_name(keys, "clean", ("a",)),
    ]
    assert len({name, *others}) == 4


def test_publishing_never_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    final = tmp_path / "x"
    for text, published in (("one", True), ("two", False)):
        with temporary_beside(final, root=final.parent) as temp:
            temp.write_text(text)
            assert publish_new(temp, final) is published
    assert final.read_text() == "one" and [p.name for p in tmp_path.iterdir()] == ["x"]


def test_publishing_works_where_hard_links_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    test_publishing_never_replaces_and_leaves_nothing_behind(tmp_path)


def test_an_error_while_publishing_is_not_mistaken_for_missing_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="No space left"):
        write_sealed(tmp_path / "x.json", {}, root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_derived_file_is_replaced_whole(tmp_path: Path) -> None:
    replace_sealed(tmp_path / "i.json", {"a": 1}, root=tmp_path)
    replace_sealed(tmp_path / "i.json", {"b": "ü"}, root=tmp_path)
    assert read_sealed(tmp_path / "i.json") == ({"b": "ü"}, True)


def test_a_folder_in_the_place_of_a_derived_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "i.json").mkdir()
    with pytest.raises(FeatcacheError, match=r"i\.json is a folder, expected a file or nothing: move it away"):
        replace_sealed(tmp_path / "i.json", {"a": 1}, root=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["i.json"]


def test_of_several_attempts_the_last_failure_counts(tmp_path: Path) -> None:
    cache, fingerprint = make_cache(tmp_path / "c"), FakeSpec("image").fingerprint
    folder = cache.failure_folder(fingerprint, "clean")
    failure = Failure("ab" * 32, "s", "decode", "ImageError", "why", 1, "t")
    write_failures(folder, "u2", [Failure("ab" * 32, "s", "decode", "ImageError", "again", 2, "t")], root=folder)
    write_failures(folder, "u1", [failure, Failure("cd" * 32, "t", "read", "OSError", "gone", 1, "t")], root=folder)
    found = read_failures(cache, fingerprint, "clean")
    assert {f.key[:2]: f.attempt for f in found} == {"ab": 2, "cd": 1}
    assert failed_keys(found).shape == (2, 32) and failed_keys(()).shape == (0, 32)
    (folder / "u3.json").write_text('{"format_version": 1, "failures": [{"key": "zz"}]}')
    with pytest.raises(ShardError, match="malformed failure"):
        read_failures(cache, fingerprint, "clean")


def test_a_project_file_gives_defaults_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    assert load_project(tmp_path) == Project()
    file = tmp_path / "featcache.toml"
    file.write_text('data = "m.csv"\ncache = "c"\nimage_model = "none"\n')
    assert load_project(tmp_path) == Project(data="m.csv", cache=Path("c"), image_model="none")
    for text, message in (
        ('cashe = "x"', "key 'cashe' is unknown, expected one of data, labels, column, splits, root, cache, "),
        ("cache = 3", "cache is 3, expected a text"),
        ("cache = ", "cannot be read"),
    ):
        file.write_text(text)
        with pytest.raises(FeatcacheError, match=message):
            load_project(tmp_path)
