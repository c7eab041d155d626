"""Extractions share a cache; whoever deletes from it is alone; the dead keep nobody waiting."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cli
from featcache.cache.folder import Cache
from featcache.cache.lease import SILENCE_SECONDS, shared_lease, sole_lease
from featcache.errors import FeatcacheError
from featcache.extraction.run import ExtractOptions, extract
from featcache.files.owner import Owner
from featcache.upkeep.gc import collect_garbage

from factories import FakeSpec, make_cache, read_manifest, write_dataset

HOLD = """
import pathlib, sys, time
from featcache.cache.lease import shared_lease, sole_lease
lease = {"shared": shared_lease, "sole": sole_lease}[sys.argv[1]]
with lease(pathlib.Path(sys.argv[2])):
    print("held", flush=True)
    time.sleep(60)
"""


def leases(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "claims" / "leases").glob("*.json"))


def hold(kind: str, root: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, kind, str(root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)


def put(path: Path, owner: Owner, *, silent: float) -> None:
    """A note of somebody who gave the last sign of life some seconds ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(vars(owner)))
    os.utime(path, (time.time() - silent,) * 2)


def test_extractions_share_and_leave_nothing(tmp_path: Path) -> None:
    with shared_lease(tmp_path), shared_lease(tmp_path):
        assert len(leases(tmp_path)) == 2
    assert leases(tmp_path) == []
    with sole_lease(tmp_path):
        assert len(leases(tmp_path)) == 2
    assert leases(tmp_path) == []


def test_who_deletes_and_who_extracts_keep_each_other_out(tmp_path: Path) -> None:
    with shared_lease(tmp_path):
        with pytest.raises(FeatcacheError, match=rf"extraction is at work .*process {os.getpid()} on"):
            sole_lease(tmp_path).__enter__()
        assert len(leases(tmp_path)) == 1
    with sole_lease(tmp_path):
        with pytest.raises(FeatcacheError, match="`featcache gc --delete` is at work"):
            shared_lease(tmp_path).__enter__()
        with pytest.raises(FeatcacheError, match="another `featcache gc --delete` is at work"):
            sole_lease(tmp_path).__enter__()


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [("shared", sole_lease), ("sole", shared_lease), ("sole", sole_lease)])
def test_a_lease_holds_as_long_as_its_process_lives_and_not_longer(tmp_path: Path, first: str, second: object) -> None:
    process = hold(first, tmp_path)
    try:
        with pytest.raises(FeatcacheError, match=f"at work on cache .*process {process.pid} on"):
            second(tmp_path).__enter__()
    finally:
        end(process)
    assert leases(tmp_path)
    with second(tmp_path):
        pass


@pytest.mark.parametrize("name", ["claims/leases/extract-elsewhere-1-00000000abcd.json", "claims/scan/d.json"])
def test_somebody_elsewhere_is_at_work_until_silent_for_long(tmp_path: Path, name: str) -> None:
    elsewhere = Owner("elsewhere", 1, "0" * 8)
    put(tmp_path / name, elsewhere, silent=SILENCE_SECONDS - 60)
    with pytest.raises(FeatcacheError, match=r"extraction is at work .*process 1 on elsewhere"):
        sole_lease(tmp_path).__enter__()
    put(tmp_path / name, elsewhere, silent=SILENCE_SECONDS + 60)
    with sole_lease(tmp_path):
        pass
    put(tmp_path / "claims" / "leases" / "gc.json", elsewhere, silent=SILENCE_SECONDS - 60)
    for lease in (shared_lease, sole_lease):
        with pytest.raises(FeatcacheError, match="at work on cache"):
            lease(tmp_path).__enter__()
    put(tmp_path / "claims" / "leases" / "gc.json", elsewhere, silent=SILENCE_SECONDS + 60)
    for lease in (shared_lease, sole_lease):
        with lease(tmp_path):
            pass


def test_what_stands_in_the_place_of_a_lease_or_comes_from_the_future_blocks_nobody(tmp_path: Path) -> None:
    path = tmp_path / "claims" / "leases" / "gc.json"
    put(path, Owner("elsewhere", 1, "0" * 8), silent=-1e9)
    with shared_lease(tmp_path):
        pass
    path.unlink()
    os.mkfifo(path)
    with shared_lease(tmp_path):
        pass
    with sole_lease(tmp_path):
        assert path.is_file()
    path.mkdir()
    with shared_lease(tmp_path):
        pass
    with pytest.raises(FeatcacheError, match=f"known by {path}"):
        sole_lease(tmp_path).__enter__()


def test_where_no_lease_can_be_had_nothing_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "claims").write_text("a file where the folder should be")
    with pytest.raises(FeatcacheError, match="cannot be written"):
        sole_lease(tmp_path).__enter__()


def test_an_extraction_holds_a_lease_while_it_works_and_deleting_waits_for_its_end(tmp_path: Path) -> None:
    data, cache = read_manifest(write_dataset(tmp_path / "d")), make_cache(tmp_path / "c")
    tried: list[str] = []

    def try_to_delete(_: object) -> None:
        if not tried:
            result = CliRunner().invoke(cli.featcache_app, ["gc", str(cache.path), "--delete"])
            tried.append(str(result.exception))

    extract(data, cache, [FakeSpec("image")], options=ExtractOptions(device="cpu"), progress=try_to_delete)
    assert "an extraction is at work" in tried[0] and leases(cache.path) == []
    assert collect_garbage(Cache.open(cache.path), delete=True).removed == ()
    assert leases(cache.path) == []


def test_an_extraction_that_was_killed_keeps_no_one_from_deleting(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d")
    extract(read_manifest(data), make_cache(tmp_path / "c"), [FakeSpec("image")], options=ExtractOptions(device="cpu"))
    end(hold("shared", tmp_path / "c"))
    assert len(leases(tmp_path / "c")) == 1
    (note,) = collect_garbage(Cache.open(tmp_path / "c"), delete=True).removed
    assert note.name.startswith("extract-") and leases(tmp_path / "c") == []
