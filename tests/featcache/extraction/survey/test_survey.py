"""An extraction of which too many pictures cannot be read is given up before it encodes, and leaves a record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from featcache.cache.folder import Cache
from featcache.cache.requests import read_requests
from featcache.cache.samples import read_samples
from featcache.commands.failures import failures as failures_command
from featcache.commands.status import status as status_command
from featcache.dataset.manifest import Manifest
from featcache.errors import FeatcacheError
from featcache.extraction.fleet import extract_on
from featcache.extraction.forecast import forecast_extraction
from featcache.extraction.partition import Partition
from featcache.extraction.run import ExtractOptions, ExtractResult, FailureLimit, extract
from featcache.store.opening import open_store
from featcache.upkeep.failure_list import list_failures
from featcache.upkeep.status import cache_status
from featcache.upkeep.steps import next_steps
from featcache.upkeep.verify import verify

from factories import FakeSpec, make_cache, png, read_manifest, write_dataset

TEXT, IMAGE = FakeSpec("text", ("cls",)), FakeSpec("image")
SPECS = [TEXT, IMAGE]
LOST = ["0-real", "0-alpha", "0-beta", "1-real", "1-alpha"]
OPTIONS = ExtractOptions(device="cpu", unit_rows=4, workers=2, max_failures=FailureLimit(count=3))
GIVEN_UP = "stopped: 5 of 18 pictures cannot be read, more than the limit of 3, the first of sample '0-real'"


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return read_manifest(write_dataset(tmp_path / "d"))


def lose(folder: Path, names: list[str] = LOST) -> None:
    for name in names:
        (folder / f"{name}.png").unlink()


def mend(folder: Path, names: list[str] = LOST) -> None:
    for name in names:
        (folder / f"{name}.png").write_bytes(png(int.from_bytes(name.encode(), "big")))


def run(manifest: Manifest, path: Path, specs: list[FakeSpec] = SPECS, **how: Any) -> ExtractResult:
    return extract(manifest, make_cache(path), specs, options=replace(OPTIONS, **how))


def listed(path: Path) -> list[str]:
    return [failure.sample_id for failure in list_failures(Cache.open(path))]


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def printed(command: Any, path: Path) -> str:
    app = typer.Typer()
    app.command()(command)
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(path)], catch_exceptions=False)
    assert result.exit_code == 0
    return " ".join(result.output.split())


@pytest.mark.parametrize("processes", [False, True])
def test_what_could_not_be_read_is_on_record_although_there_is_no_table(
    manifest: Manifest, tmp_path: Path, processes: bool
) -> None:
    lose(tmp_path / "d")
    with pytest.raises(FeatcacheError, match=f"^{GIVEN_UP}.*; no sample table was written, `featcache failures` lists"):
        run(manifest, tmp_path / "c", processes=processes)
    cache = Cache.open(tmp_path / "c")
    found = list_failures(cache)
    assert [f.sample_id for f in found] == LOST and cache.datasets == ()
    assert {(f.dataset, f.stage, f.error, f.producer) for f in found} == {("d", "read", "FileNotFoundError", None)}
    assert not list(cache.path.rglob("*.h5")) or [p.parent.name for p in cache.path.rglob("*.h5")] == ["memo"]
    assert not list(cache.path.glob("claims/**/*.json"))
    report = verify(cache, deep=True)
    assert report.is_sound and ["given up while its pictures were read" in note.message for note in report.notes] == [1]


def test_status_and_failures_tell_how_to_go_on_where_there_is_neither_a_table_nor_a_vector(
    manifest: Manifest, tmp_path: Path
) -> None:
    lose(tmp_path / "d")
    with pytest.raises(FeatcacheError):
        extract(manifest, make_cache(tmp_path / "c"), SPECS, views="clean,hflip", options=OPTIONS)
    status = cache_status(Cache.open(tmp_path / "c"))
    assert (status.n_failures, status.n_failed_contents, list(status.unread)) == (5, 5, ["d"])
    again, look = (" ".join(step.command) for step in next_steps(status))
    assert again.endswith("--image-model fake-w0 --views clean,hflip") and f"{tmp_path}/d/manifest.csv" in again
    assert look == f"featcache failures {tmp_path / 'c'}"
    told = printed(status_command, tmp_path / "c")
    assert "no sample table of d, which was extracted before or never begun; 5 failed." in told
    told = printed(failures_command, tmp_path / "c")
    assert "5 pictures of d: read, FileNotFoundError" in told and again in told.replace("\\ ", "")


def test_the_next_run_leaves_alone_what_is_on_record_and_does_the_rest(manifest: Manifest, tmp_path: Path) -> None:
    lose(tmp_path / "d")
    with pytest.raises(FeatcacheError, match=GIVEN_UP):
        run(manifest, tmp_path / "c")
    result = run(manifest, tmp_path / "c")
    assert (result.n_encoded, len(result.unreadable), result.n_failed) == (6 + 13, 5, 5)
    assert sorted(listed(tmp_path / "c")) == sorted(LOST)
    mend(tmp_path / "d")
    assert run(manifest, tmp_path / "c").n_encoded == 5 and listed(tmp_path / "c") == []


def test_only_what_is_news_counts_towards_the_limit(manifest: Manifest, tmp_path: Path) -> None:
    lose(tmp_path / "d")
    with pytest.raises(FeatcacheError, match=GIVEN_UP):
        run(manifest, tmp_path / "c")
    lose(tmp_path / "d", ["5-real", "5-alpha", "5-beta"])
    (tmp_path / "d" / "4-beta.png").write_bytes(b"broken")
    with pytest.raises(FeatcacheError, match=r"stopped: 4 contents failed, more than the limit of 3 .*'4-beta'"):
        run(manifest, tmp_path / "c")
    lose(tmp_path / "d", ["4-real", "4-alpha", "3-beta", "3-alpha"])
    with pytest.raises(FeatcacheError, match=r"stopped: 4 of 10 pictures .* the first of sample '3-alpha'"):
        run(manifest, tmp_path / "c")
    assert len(listed(tmp_path / "c")) == 12 + 1


def test_a_retry_counts_all_that_it_tries_again(manifest: Manifest, tmp_path: Path) -> None:
    lose(tmp_path / "d")
    for retry in (False, True):
        with pytest.raises(FeatcacheError, match=GIVEN_UP):
            run(manifest, tmp_path / "c", retry_failed=retry)
    mend(tmp_path / "d")
    side = run(manifest, tmp_path / "c", retry_failed=True).sides[1]
    assert (side.n_encoded, side.n_new) == (5, 13) and listed(tmp_path / "c") == []


def test_an_earlier_table_stays_however_often_the_same_is_tried(manifest: Manifest, tmp_path: Path) -> None:
    run(manifest, tmp_path / "c")
    before = files(tmp_path / "c" / "samples") | files(tmp_path / "c" / "features")
    lose(tmp_path / "d")
    for _ in range(2):
        with pytest.raises(FeatcacheError, match=GIVEN_UP):
            run(manifest, tmp_path / "c")
        assert files(tmp_path / "c" / "samples") | files(tmp_path / "c" / "features") == before
        assert sorted(listed(tmp_path / "c")) == sorted(LOST)
    assert open_store(tmp_path / "c").arrays().present["image"].all() and verify(Cache.open(tmp_path / "c")).is_sound
    status = cache_status(Cache.open(tmp_path / "c"))
    assert status.n_missing == 0 and status.n_failed_contents == 5
    assert "Complete, but 5 failed." in printed(status_command, tmp_path / "c")
    result = run(manifest, tmp_path / "c", max_failures=FailureLimit(count=5))
    assert len(result.unreadable) == 5 and read_samples(tmp_path / "c/samples/d.h5").has("image").sum() == 13


def test_what_was_unreadable_before_an_extraction_was_given_up_is_still_tried_again(
    manifest: Manifest, tmp_path: Path
) -> None:
    lose(tmp_path / "d", ["5-beta"])
    run(manifest, tmp_path / "c")
    mend(tmp_path / "d", ["5-beta"])
    lose(tmp_path / "d")
    with pytest.raises(FeatcacheError, match=GIVEN_UP):
        run(manifest, tmp_path / "c")
    assert sorted(listed(tmp_path / "c")) == sorted([*LOST, "5-beta"])
    mend(tmp_path / "d")
    assert run(manifest, tmp_path / "c", retry_failed=True).n_encoded == 6 and listed(tmp_path / "c") == []


def test_if_none_can_be_read_that_is_on_record_without_any_limit(manifest: Manifest, tmp_path: Path) -> None:
    names = [sample.sample_id for sample in manifest.samples]
    lose(tmp_path / "d", names)
    for limit in (None, FailureLimit(count=20), FailureLimit(percent=100)):
        for _ in range(2):
            with pytest.raises(FeatcacheError, match=r"^none of the 18 pictures can be read, the first of sample '0-r"):
                run(manifest, tmp_path / "c", max_failures=limit)
        assert listed(tmp_path / "c") == names
    assert run(manifest, tmp_path / "c", [TEXT], max_failures=None).n_encoded == 6  # nothing is made of pictures


def test_all_parts_of_a_division_give_up_and_freeze_nothing(manifest: Manifest, tmp_path: Path) -> None:
    lose(tmp_path / "d")
    for index in (0, 1, 0):
        with pytest.raises(FeatcacheError, match=GIVEN_UP):
            run(manifest, tmp_path / "c", unit_rows=None, partition=Partition(index, 2))
        assert listed(tmp_path / "c") == LOST and not (tmp_path / "c" / "plans").exists()
    mend(tmp_path / "d")
    for index in (0, 1):
        run(manifest, tmp_path / "c", unit_rows=None, partition=Partition(index, 2))
    assert listed(tmp_path / "c") == [] and open_store(tmp_path / "c").arrays().present["image"].all()


def test_on_several_gpus_it_is_given_up_before_any_process_starts(manifest: Manifest, tmp_path: Path) -> None:
    lose(tmp_path / "d")
    with pytest.raises(FeatcacheError, match=f"^{GIVEN_UP}"):
        extract_on(("0", "1"), manifest, make_cache(tmp_path / "c"), SPECS, options=OPTIONS)
    cache = Cache.open(tmp_path / "c")
    assert listed(cache.path) == LOST and len(read_requests(cache, "d")) == 2


def test_a_forecast_gives_up_where_the_extraction_would_and_writes_nothing(manifest: Manifest, tmp_path: Path) -> None:
    lose(tmp_path / "d")
    cache = make_cache(tmp_path / "c")
    before = files(cache.path)
    with pytest.raises(FeatcacheError, match=f"^{GIVEN_UP}.*; the extraction would stop here$"):
        forecast_extraction(manifest, cache, SPECS, options=OPTIONS)
    assert files(cache.path) == before
    with pytest.raises(FeatcacheError, match=GIVEN_UP):
        run(manifest, cache.path)
    found = forecast_extraction(manifest, cache, SPECS, options=OPTIONS)
    assert (found.n_unreadable, [side.n_todo for side in found.sides]) == (5, [6, 13])


def test_the_record_of_a_data_set_goes_with_what_was_asked_for_of_it(manifest: Manifest, tmp_path: Path) -> None:
    lose(tmp_path / "d")
    with pytest.raises(FeatcacheError):
        run(manifest, tmp_path / "c")
    for path in (tmp_path / "c" / "requests" / "d").iterdir():
        path.unlink()
    (tmp_path / "c" / "requests" / "d").rmdir()
    assert listed(tmp_path / "c") == [] and not cache_status(Cache.open(tmp_path / "c")).unread
