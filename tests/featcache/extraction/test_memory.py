from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from featcache import FeatcacheError, parse_memory
from featcache.extraction.memory import available_memory

GB = 10**9


@pytest.mark.parametrize(("text", "size"), [("2GB", 2 * GB), ("1.5 mb", 1_500_000), (4096, 4096), ("10k", 10_000)])
def test_sizes_of_memory_are_read(text: Any, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "much", "-2GB", "0", "0.5", "2 PB", "1e9", "9" * 400 + "GB", "٣GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(FeatcacheError, match="expected a size like 2GB"):
        parse_memory(text)


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 GB left, whose process is in no group."""
    monkeypatch.setattr("featcache.extraction.memory._PROC", tmp_path / "proc")
    monkeypatch.setattr("featcache.extraction.memory._GROUPS", tmp_path / "groups")
    left = f"MemTotal: 9000000 kB\nMemAvailable:    {8 * GB // 1024} kB\n"
    write(tmp_path, {"proc/meminfo": left, "proc/self/cgroup": "0::/\n"})
    return tmp_path


def unified(limit: str, used: int, files: int = 0) -> dict[str, str]:
    statistics = f"anon {used - files}\ninactive_file {files}\nactive_file 5\n"
    return {"memory.max": f"{limit}\n", "memory.current": f"{used}\n", "memory.stat": statistics}


def old(limit: int, used: int, files: int = 0) -> dict[str, str]:
    statistics = f"inactive_file 1\ntotal_inactive_file {files}\n"
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
    return dict(zip(names, (f"{limit}\n", f"{used}\n", statistics), strict=True))


def test_what_the_machine_has_left_counts_where_no_group_has_a_limit(machine: Path) -> None:
    assert available_memory() == 8 * GB // 1024 * 1024
    write(machine / "groups", unified("max", GB))
    assert available_memory() == 8 * GB // 1024 * 1024


def test_the_tightest_of_the_groups_around_a_process_counts(machine: Path) -> None:
    write(machine / "proc", {"self/cgroup": "0::/job/step\n"})
    write(machine / "groups/job/step", unified("max", GB))
    write(machine / "groups/job", unified(str(3 * GB), 2 * GB, files=GB // 2))
    assert available_memory() == 1_500_000_000
    write(machine / "groups/job/step", unified(str(2 * GB), GB))
    assert available_memory() == GB


def test_groups_of_the_first_version_count_too(machine: Path) -> None:
    write(machine / "proc", {"self/cgroup": "9:cpu,cpuacct:/job\n4:memory:/job\n0::/\n"})
    write(machine / "groups/memory/job", old(4 * GB, 3 * GB, files=GB))
    write(machine / "groups/memory", old(2**63 - 4096, 20 * GB))
    assert available_memory() == 2 * GB


def test_a_container_that_sees_its_group_as_the_top_is_bounded_by_it(machine: Path) -> None:
    write(machine / "proc", {"self/cgroup": "4:memory:/docker/3f2a\n"})
    write(machine / "groups/memory", old(GB, GB // 4))
    assert available_memory() == GB - GB // 4


def test_a_group_beyond_its_limit_leaves_nothing(machine: Path) -> None:
    write(machine / "groups", unified(str(GB), 2 * GB))
    assert available_memory() == 0


def test_a_machine_that_tells_nothing_has_memory_nonetheless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featcache.extraction.memory._PROC", tmp_path)
    monkeypatch.setattr("featcache.extraction.memory._GROUPS", tmp_path)
    assert available_memory() > 0
    monkeypatch.delattr("os.sysconf")
    assert available_memory() == 4 * GB


def test_this_machine_has_memory() -> None:
    assert 0 < available_memory() < 2**50
