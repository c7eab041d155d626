from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.errors import FeatcacheError
from featcache.extraction.partition import Partition, scanning
from featcache.files.claims import Claims

from factories import make_cache

ARRAY = {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "3"}
ARRAY |= {"SLURM_ARRAY_TASK_MAX": "6", "SLURM_ARRAY_TASK_STEP": "1"}


def parts(text: str, environment: dict[str, str] | None = None) -> tuple[int, int]:
    part = Partition.parse(text, environment or {})
    return part.index, part.count


@given(st.integers(1, 40), st.integers(0, 500))
def test_every_run_is_taken_by_exactly_one_part(count: int, run: int) -> None:
    assert sum(Partition(index, count).takes(run) for index in range(count)) == 1


@given(st.integers(1, 50), st.integers(0, 10_000), st.integers(1, 5000))
def test_every_part_has_work_where_there_are_as_many_contents_as_parts(count: int, n: int, rows: int) -> None:
    unit = Partition(0, count).unit_rows(n, rows)
    n_runs = -(-n // unit)
    assert 1 <= unit <= rows
    assert n < count or n_runs >= count or unit == rows == 1 or count == 1


def test_a_part_is_read_as_arrays_count_them() -> None:
    assert parts("0/8") == (0, 8) and parts(" 7/8 ") == (7, 8) and str(Partition(3, 8)) == "3/8"


@pytest.mark.parametrize("text", ["8/8", "9/8"])
def test_a_part_counted_from_one_is_refused_with_the_hint(text: str) -> None:
    with pytest.raises(FeatcacheError, match=r"count from 0, the last is 7/8 .*--array=0-7"):
        parts(text)


@pytest.mark.parametrize("text", ["", "3", "3/", "/8", "-1/8", "1/8/2", "a/8", "1.0/8", "٣/8", "1/0", "0/99999999"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(FeatcacheError, match="shard"):
        parts(text)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (ARRAY, (2, 4)),
        ({"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "3"}, (0, 3)),
        (ARRAY | {"SLURM_ARRAY_TASK_STEP": "10", "SLURM_ARRAY_TASK_ID": "23", "SLURM_ARRAY_TASK_MAX": "33"}, (2, 4)),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "4"}, (1, 4)),
        ({"RANK": "3", "WORLD_SIZE": "4"}, (3, 4)),
        ({"JOB_COMPLETION_INDEX": "2", "JOB_COMPLETIONS": "5"}, (2, 5)),
        (ARRAY | {"RANK": "3", "WORLD_SIZE": "9", "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, (2, 4)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "RANK": "3", "WORLD_SIZE": "4"}, (3, 4)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, (0, 1)),
    ],
)  # fmt: skip
def test_the_environment_of_a_scheduler_tells_which_part(
    environment: dict[str, str], expected: tuple[int, int]
) -> None:
    assert parts("auto", environment) == expected


def test_a_said_count_takes_the_task_number_as_it_stands() -> None:
    environment = ARRAY | {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "7"}
    assert parts("auto/16", environment) == (7, 16) and parts("auto/16", {"JOB_COMPLETION_INDEX": "2"}) == (2, 16)
    with pytest.raises(FeatcacheError, match=r"gaps.*auto/N"):
        parts("auto", environment)
    with pytest.raises(FeatcacheError, match="count from 0"):
        parts("auto/7", environment)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "has none of SLURM_ARRAY_TASK_ID"),
        ({"JOB_COMPLETION_INDEX": "1"}, r"JOB_COMPLETIONS is not set.*--shard auto/N"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK is 'x'"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK is '-1'"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "count from 0"),
        ({"SLURM_ARRAY_TASK_ID": "1"}, "SLURM_ARRAY_TASK_COUNT is not set"),
        (ARRAY | {"SLURM_ARRAY_TASK_STEP": "0"}, "STEP is '0'"),
        (ARRAY | {"SLURM_ARRAY_TASK_STEP": "4"}, "gaps"),
        (ARRAY | {"SLURM_ARRAY_TASK_ID": "2"}, "gaps"),
    ],
)
def test_an_environment_that_does_not_tell_is_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(FeatcacheError, match=message):
        parts("auto", environment)


def test_whoever_comes_first_scans_alone_and_the_others_find_what_it_left(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "c")
    at_work: list[int] = []
    found: list[bool] = []
    inside = threading.Event()

    def scan() -> None:
        with scanning(cache, "d", timeout=2.0) as has_memo:
            if not has_memo:
                at_work.append(1)
                inside.set()
                time.sleep(0.2)
                assert len(at_work) == 1
            found.append(has_memo)

    first = threading.Thread(target=scan)
    first.start()
    inside.wait(5)
    others = [threading.Thread(target=scan) for _ in range(3)]
    for thread in others:
        thread.start()
    for thread in (first, *others):
        thread.join(20)
    assert sorted(found) == [False, True, True, True]
    assert not [p for p in (cache.path / "claims").rglob("*") if p.is_file()]


def test_a_scan_whose_owner_gives_no_sign_of_life_is_taken_over(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "c")
    folder = cache.path / "claims" / "scan"
    folder.mkdir(parents=True)
    (folder / "d.json").write_text('{"host": "elsewhere", "pid": 1, "process": "00000000"}')
    waited: list[int] = []
    with scanning(cache, "d", timeout=0.2, waiting=lambda: waited.append(1)) as has_memo:
        assert not has_memo and waited and (folder / "d.json").exists()
    assert not (folder / "d.json").exists()


def test_data_sets_are_scanned_beside_each_other_and_an_error_frees_the_turn(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "c")
    with Claims(cache.path / "claims" / "scan", timeout=60, root=cache.path) as claims:
        assert claims.take("other")
        with pytest.raises(KeyboardInterrupt), scanning(cache, "d", timeout=60):
            raise KeyboardInterrupt
        with scanning(cache, "d", timeout=60) as has_memo:
            assert not has_memo
