"""Documents of the cache have bounded sizes: giants are refused before they are read or parsed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from featcache.cache.failures import read_failure_file
from featcache.cache.folder import Cache
from featcache.cache.orphans import read_orphans
from featcache.cache.plans import read_plan
from featcache.cache.requests import read_request
from featcache.errors import ShardError
from featcache.files.sealed import MAX_RECORDS, read_json, read_sealed, seal

SMALL: dict[str, Callable[[Path], object]] = {
    "cache.json": lambda path: Cache.open(path.parent),
    "orphans.json": read_orphans,
    "plan.json": read_plan,
    "request.json": read_request,
    "any.json": read_json,
}


@pytest.mark.parametrize("name", SMALL)
def test_a_giant_in_the_place_of_a_small_document_is_refused_unread(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(seal({"format_version": 1}))
    os.truncate(path, (1 << 24) + 1)
    with pytest.raises(ShardError, match=r"has 16777217 bytes, more than any file of its kind \(16777216\)"):
        SMALL[name](path)


def test_what_grows_with_the_data_may_be_larger(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    path.write_bytes(seal({"rows": ["x" * 1000] * 20_000}))
    with pytest.raises(ShardError, match="more than any file of its kind"):
        read_sealed(path)
    document, is_intact = read_sealed(path, max_bytes=MAX_RECORDS)
    assert is_intact and len(document["rows"]) == 20_000


def test_a_large_document_of_very_many_values_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "dense.json"
    path.write_bytes(b'{"rows": [' + b"[]," * 6_000_000 + b"[]]}")
    with pytest.raises(ShardError, match="holds more values than any file of its kind and size"):
        read_failure_file(path)


def test_a_document_that_nests_without_end_is_damage(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_bytes(b'{"a":' * 100_000)
    with pytest.raises(ShardError, match="cannot be read"):
        read_json(tmp_path / "deep.json")
