"""Amounts of memory: how they are written, and how much there is to take."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from featcache.errors import FeatcacheError

__all__ = ["available_memory", "parse_memory"]

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_PROC = Path("/proc")
_GROUPS = Path("/sys/fs/cgroup")
# Limit, use, and what of the use is files that the kernel may drop: of control groups version 2 and version 1.
_UNIFIED = ("memory.max", "memory.current", "inactive_file")
_MEMORY = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_ASSUMED = 4 * 10**9  # where nothing tells


def parse_memory(text: str | int) -> int:
    """Read a number of bytes: ``"2GB"``, ``"500 MB"``, or a whole number.

    Raises
    ------
    FeatcacheError
        If it is none.
    """
    found = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([KMGT]?)B?\s*", str(text), re.IGNORECASE | re.ASCII)
    size = 0 if found is None else int(float(found[1]) * _UNITS[found[2].upper()])
    if size <= 0:
        raise FeatcacheError(f"memory is {text!r}, expected a size like 2GB or 500MB")
    return size


def available_memory() -> int:
    """Return how many bytes may still be taken: what the machine has left, or a control group of this process.

    Files that the kernel keeps in memory as long as nobody needs it count as left.
    """
    return max(0, min([_left_of_machine(), *_left_of_groups()]))


def _left_of_machine() -> int:
    try:
        found = re.search(r"^MemAvailable:\s*(\d+) kB$", (_PROC / "meminfo").read_text(), re.MULTILINE)
        if found is not None:
            return 1024 * int(found[1])
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return _ASSUMED


def _left_of_groups() -> Iterator[int]:
    """Yield what the limits leave of each group that this process is in, and of those around it."""
    try:
        lines = (_PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top, files = (_GROUPS / "memory", _MEMORY) if controllers else (_GROUPS, _UNIFIED)
        # A container may see its own group as the top, under whatever name it has outside.
        group = top / name.lstrip("/")
        for folder in (group, *group.parents):
            left = _left_of_group(folder, *files)
            if left is not None:
                yield left
            if folder == top:
                break


def _left_of_group(folder: Path, limit: str, used: str, reclaimable: str) -> int | None:
    """Return what a group may still take; None: it has no limit, or there is no such group."""
    try:
        most = (folder / limit).read_text().strip()
        if most == "max":
            return None
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return int(most) - int((folder / used).read_text()) + int(statistics.get(reclaimable, 0))
    except (OSError, ValueError):
        return None
