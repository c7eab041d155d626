"""Claims save work, and nothing depends on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from featcache.extraction.planning.plan import build_plan
from featcache.extraction.run import ExtractOptions, extract
from featcache.extraction.survey.scan import scan
from featcache.files import claims as claims_module
from featcache.files.claims import Claims, sweep_claims
from featcache.files.inside import walk_inside
from featcache.files.owner import Owner
from featcache.store.opening import open_store

from factories import FakeSpec, make_cache, read_manifest, write_dataset

IMAGE = FakeSpec("image")
QUICK = ExtractOptions(device="cpu", batch_size=2, workers=2, unit_rows=4, claim_timeout=0.4)


def dead_owner() -> Owner:
    process = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    return Owner(Owner.current().host, int(process.stdout), "0" * 8)


def write_claim(path: Path, owner: Owner | None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("" if owner is None else json.dumps(vars(owner)))
    return path


def wait_until_taken(claims: Claims, unit: str, seconds: float = 10) -> float:
    started = time.monotonic()
    while not claims.take(unit):
        assert time.monotonic() - started < seconds
        time.sleep(0.02)
    return time.monotonic() - started


def test_a_unit_is_claimed_by_one_writer_at_a_time(tmp_path: Path) -> None:
    with Claims(tmp_path, timeout=60, root=tmp_path) as mine, Claims(tmp_path, timeout=60, root=tmp_path) as theirs:
        assert mine.take("u") and not theirs.take("u") and theirs.take("v")
        mine.release("u")
        assert theirs.take("u")
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_between_making_and_noting_a_claim_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = claims_module.create_exclusive

    def interrupted(path: Path, data: bytes, *, root: Path) -> bool:
        create(path, data, root=root)
        raise KeyboardInterrupt

    with Claims(tmp_path, timeout=60, root=tmp_path) as theirs, pytest.raises(KeyboardInterrupt):
        assert theirs.take("v")
        write_claim(tmp_path / "w.json", dead_owner())
        monkeypatch.setattr(claims_module, "create_exclusive", interrupted)
        with Claims(tmp_path, timeout=60, root=tmp_path) as mine:
            mine.take("u")
    assert [path.name for path in tmp_path.iterdir()] == ["w.json"]


def test_claims_are_given_up_when_the_work_is_interrupted(tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), Claims(tmp_path, timeout=60, root=tmp_path) as claims:
        assert claims.take("u")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == [] and threading.active_count() == before


@pytest.mark.slow
def test_a_heartbeat_keeps_a_claim_for_longer_than_the_timeout(tmp_path: Path) -> None:
    with Claims(tmp_path, timeout=0.4, root=tmp_path) as mine, Claims(tmp_path, timeout=0.4, root=tmp_path) as theirs:
        assert mine.take("u")
        deadline = time.monotonic() + 1.2
        while time.monotonic() < deadline:
            assert not theirs.take("u")
            time.sleep(0.05)


def test_the_claim_of_a_dead_process_of_this_machine_is_taken_at_once(tmp_path: Path) -> None:
    with Claims(tmp_path, timeout=60, root=tmp_path) as claims:
        write_claim(tmp_path / "u.json", dead_owner())
        assert claims.take("u")


def test_the_claim_of_an_earlier_process_with_our_number_is_taken_at_once(tmp_path: Path) -> None:
    with Claims(tmp_path, timeout=60, root=tmp_path) as claims:
        write_claim(tmp_path / "u.json", Owner(Owner.current().host, os.getpid(), "another0"))
        assert claims.take("u")


@pytest.mark.slow
@pytest.mark.parametrize(
    "owner", [Owner("elsewhere", 1, "0" * 8), Owner(Owner.current().host, os.getppid(), "0" * 8), None]
)
def test_a_claim_without_a_heartbeat_is_taken_over_after_the_timeout(tmp_path: Path, owner: Owner | None) -> None:
    with Claims(tmp_path, timeout=0.4, root=tmp_path) as claims:
        write_claim(tmp_path / "u.json", owner)
        assert not claims.take("u")
        assert 0.2 < wait_until_taken(claims, "u") < 5


@pytest.mark.slow
@pytest.mark.parametrize("moved", [-10 * 365 * 86400, 10 * 365 * 86400])
def test_a_claim_from_another_time_neither_hangs_nor_is_stolen(tmp_path: Path, moved: int) -> None:
    with Claims(tmp_path, timeout=0.4, root=tmp_path) as claims:
        path = write_claim(tmp_path / "u.json", Owner("elsewhere", 1, "0" * 8))
        os.utime(path, (time.time() + moved, time.time() + moved))
        assert not claims.take("u")
        wait_until_taken(claims, "u")


def test_what_a_clock_says_is_never_asked_about_a_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Claims(tmp_path, timeout=0.4, root=tmp_path) as mine, Claims(tmp_path, timeout=0.4, root=tmp_path) as theirs:
        assert mine.take("u")
        monkeypatch.setattr(claims_module.time, "time", lambda: 0.0)
        assert not theirs.take("u")
        mine.release("u")
        assert theirs.take("u")


def test_releasing_a_claim_that_was_taken_over_leaves_the_new_one(tmp_path: Path) -> None:
    with Claims(tmp_path, timeout=60, root=tmp_path) as claims:
        assert claims.take("u")
        replacement = write_claim(tmp_path / "new", Owner("elsewhere", 1, "0" * 8))
        replacement.rename(tmp_path / "u.json")
        claims.release("u")
        assert (tmp_path / "u.json").exists()


def test_a_claim_is_held_until_it_is_given_up_lost_or_taken_over(tmp_path: Path) -> None:
    with Claims(tmp_path, timeout=60, root=tmp_path) as claims:
        assert not claims.holds("u") and claims.take("u") and claims.holds("u")
        path = tmp_path / "u.json"
        path.write_text(json.dumps(vars(Owner("elsewhere", 1, "0" * 8))))  # a file with the number of ours
        assert not claims.holds("u")
        claims.release("u")
        assert path.exists() and not claims.take("u") and claims.take("v")
        (tmp_path / "v.json").unlink()
        assert not claims.holds("v") and claims.take("v") and claims.holds("v")
        claims.release("v")
        assert not claims.holds("v")


@pytest.mark.parametrize("n_errors", [1, 2, 3])
def test_a_claim_of_ours_that_cannot_be_read_for_a_moment_stays_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_errors: int
) -> None:
    read, n_asked = claims_module.read_owner, []

    def disturbed(path: Path) -> Owner | None:
        n_asked.append(path)
        return None if len(n_asked) <= n_errors else read(path)

    with Claims(tmp_path, timeout=60, root=tmp_path) as claims:
        assert claims.take("u")
        monkeypatch.setattr(claims_module, "read_owner", disturbed)
        assert not claims.holds("u") and claims.take("u") == (n_errors == 1)
        assert claims.holds("u")
    assert not list(tmp_path.iterdir())


def test_what_is_no_file_is_no_claim(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "link.json").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "fifo.json")
    with Claims(tmp_path, timeout=60, root=tmp_path) as claims:
        assert claims.take("folder") and claims.take("link") and claims.take("fifo")


def test_where_no_claim_can_be_made_the_work_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "claims").write_text("a file where the folder should be")
    with Claims(tmp_path / "claims", timeout=60, root=tmp_path) as claims:
        assert not claims.holds("u") and claims.take("u") and claims.holds("u")
        claims.release("u")
        assert not claims.holds("u")


def test_an_extraction_without_claims_looks_for_no_shards_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, cache = read_manifest(write_dataset(tmp_path / "d")), make_cache(tmp_path / "c")
    (cache.path / "claims").write_text("a file where the folder should be")
    monkeypatch.setattr("featcache.extraction.encoding.side.Side._missing", None)
    assert extract(data, cache, [IMAGE], options=QUICK).n_encoded == 18


def test_claims_of_the_dead_are_swept_and_those_of_the_living_are_not(tmp_path: Path) -> None:
    write_claim(tmp_path / "a" / "dead.json", dead_owner())
    for name, owner in (("living", Owner(Owner.current().host, os.getppid(), "0" * 8)), ("old", None), ("new", None)):
        write_claim(tmp_path / f"{name}.json", owner)
    for name in ("living", "old"):
        os.utime(tmp_path / f"{name}.json", (0, 0))
    assert sweep_claims(walk_inside(tmp_path, root=tmp_path)) == 2
    assert sorted(p.stem for p in tmp_path.glob("*.json")) == ["living", "new"]


def test_an_extraction_among_claims_left_behind_made_up_or_damaged_is_complete(tmp_path: Path) -> None:
    data = read_manifest(write_dataset(tmp_path / "d"))
    extract(data, make_cache(tmp_path / "whole"), [IMAGE], options=QUICK)
    cache = make_cache(tmp_path / "c")
    units = build_plan(cache, IMAGE, scan(data).table, view="clean", unit_rows=4).units
    folder = cache.path / "claims" / IMAGE.fingerprint.short / "clean"
    owners = [Owner("elsewhere", 1, "0" * 8), dead_owner(), None]
    for unit, owner in zip(units, owners, strict=False):
        write_claim(folder / f"{unit.name}.json", owner)
    (folder / f"{units[3].name}.json").mkdir()
    result = extract(data, cache, [IMAGE], options=QUICK)
    assert result.n_encoded == 18
    assert {p.name for p in folder.iterdir() if p.is_file()} == set()
    for name in ("c", "whole"):
        assert open_store(tmp_path / name).arrays().present["image"].all()
    features = [open_store(tmp_path / name).arrays().features["image"] for name in ("c", "whole")]
    np.testing.assert_array_equal(*features)


@pytest.mark.slow
def test_a_unit_in_the_hands_of_another_writer_is_left_to_it(tmp_path: Path) -> None:
    data = read_manifest(write_dataset(tmp_path / "d"))
    cache, image = make_cache(tmp_path / "c"), FakeSpec("image")
    extract(data, make_cache(tmp_path / "other"), [IMAGE], options=QUICK)
    units = build_plan(cache, image, scan(data).table, view="clean", unit_rows=4).units
    folder = cache.path / "claims" / image.fingerprint.short / "clean"
    shard = cache.shard_folder(image.fingerprint, "clean") / f"{units[0].name}.h5"
    theirs = tmp_path / "other" / shard.relative_to(cache.path)

    with Claims(folder, timeout=0.4, root=folder) as other:
        assert other.take(units[0].name)

        def finish() -> None:
            time.sleep(1)
            theirs.rename(shard)
            other.release(units[0].name)

        thread = threading.Thread(target=finish)
        thread.start()
        result = extract(data, cache, [image], options=QUICK)
        thread.join()
    assert (result.n_encoded, result.sides[0].n_elsewhere, sum(image.log)) == (14, 4, 14)
    assert open_store(cache.path).arrays().present["image"].all()


@pytest.mark.slow
def test_a_writer_that_lives_and_publishes_nothing_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featcache.extraction.encoding.passes._PATIENCE_TIMEOUTS", 2)
    data = read_manifest(write_dataset(tmp_path / "d"))
    cache = make_cache(tmp_path / "c")
    unit = build_plan(cache, IMAGE, scan(data).table, view="clean", unit_rows=4).units[0]
    with Claims(cache.path / "claims" / IMAGE.fingerprint.short / "clean", timeout=0.4, root=cache.path) as other:
        assert other.take(unit.name)
        assert extract(data, cache, [IMAGE], options=QUICK).n_encoded == 18
