"""Claims on work units: two writers that see each other's do not encode the same contents twice.

A claim is an exclusive file with its owner in it, and a heartbeat: its time of change moves as long as the owner
lives. Claims save work and nothing else. Shards are published without overwriting whoever holds a claim, so one that
is lost, deleted or made up costs time at most.
"""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from featcache.files.inside import check_inside
from featcache.files.owner import Owner
from featcache.files.publish import LEFTOVER_SECONDS, create_exclusive
from featcache.files.regular import open_regular

__all__ = ["SUFFIX", "Claims", "forget_claim", "is_abandoned", "is_alive", "read_owner", "sweep_claims"]

FORMAT_VERSION = 1
SUFFIX = ".json"
_BEATS_A_TIMEOUT = 8
_MAX_BYTES = 4096


class Claims:
    """The claims of this process on the units of one producer and view; a context that holds none at its end.

    Parameters
    ----------
    folder : Path
        Where the claims of all writers are.
    root : Path
        The cache: a folder that is reached through a link below it is refused.
    timeout : float
        Seconds of our own clock for which another's heartbeat may stand still before its claim is taken over.

    Raises
    ------
    FeatcacheError
        If the folder is reached through a link.
    """

    def __init__(self, folder: Path, *, root: Path, timeout: float) -> None:
        check_inside(folder / "claim", root=root)
        self._folder = folder
        self._root = root
        self._timeout = timeout
        self._held: dict[str, tuple[int, int] | None] = {}
        self._unclaimed: set[str] = set()
        self._seen: dict[str, tuple[tuple[int, int], float]] = {}
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for unit in tuple(self._held):
            self.release(unit)
        self._heart.join(self._timeout)

    def take(self, unit: str) -> bool:
        """Claim a unit unless somebody else is at work on it.

        Returns
        -------
        bool
            False if there is a claim whose owner seems to live. Asked again and again, the answer becomes True when
            the claim is gone, its owner is known to be dead, or its heartbeat has stood still for too long.
        """
        if self._is_ours(unit):
            return True
        try:
            if self._create(unit):
                return True
            if not self._is_abandoned(unit):
                return False
            self._path(unit).unlink(missing_ok=True)
            return self._create(unit)
        except OSError:
            # No claim can be made here: work without.
            self._held.pop(unit, None)
            self._unclaimed.add(unit)
            return True

    def holds(self, unit: str) -> bool:
        """Whether a claim was taken and not lost since: who beats for too long not at all loses it to another.

        So it is of a unit that is worked on without one, as none can be made here.
        """
        return unit in self._unclaimed or self._is_ours(unit)

    def _is_ours(self, unit: str) -> bool:
        path = self._path(unit)
        try:
            # The owner too: the file of who took it over may have got the number of ours.
            return self._held[unit] in (None, _inode(path)) and read_owner(path) == Owner.current()
        except (KeyError, OSError):
            return False

    def release(self, unit: str) -> None:
        """Give up a claim; nothing happens if it was lost."""
        with suppress(OSError):
            if self._is_ours(unit):
                self._path(unit).unlink()
        self._held.pop(unit, None)
        self._unclaimed.discard(unit)

    def _path(self, unit: str) -> Path:
        return self._folder / f"{unit}{SUFFIX}"

    def _create(self, unit: str) -> bool:
        path = self._path(unit)
        note = {"format_version": FORMAT_VERSION, **asdict(Owner.current())}
        note["time"] = datetime.now(UTC).isoformat(timespec="seconds")
        # Held before it is there: who is interrupted in between must not leave it behind.
        earlier = {unit: self._held[unit]} if unit in self._held else {}
        self._held[unit] = None
        if not create_exclusive(path, json.dumps(note).encode(), root=self._root):
            del self._held[unit]
            self._held |= earlier  # our own may be there, and not be read for a moment
            return False
        self._held[unit] = _inode(path)
        self._unclaimed.discard(unit)
        return True

    def _is_abandoned(self, unit: str) -> bool:
        path = self._path(unit)
        try:
            found = path.lstat()
        except FileNotFoundError:
            return True
        if not stat.S_ISREG(found.st_mode):
            return True
        # The time of change is no time to us, only something that moves: clocks differ, and are set back.
        beat = (found.st_ino, found.st_mtime_ns)
        now = time.monotonic()
        if unit not in self._seen or self._seen[unit][0] != beat:
            self._seen[unit] = (beat, now)
        owner = read_owner(path)
        return (owner is not None and owner.is_dead) or now - self._seen[unit][1] >= self._timeout

    def _beat(self) -> None:
        while not self._ended.wait(self._timeout / _BEATS_A_TIMEOUT):
            for unit in tuple(self._held):
                with suppress(OSError):
                    if self._is_ours(unit):
                        os.utime(self._path(unit), follow_symlinks=False)


def forget_claim(path: Path, *, root: Path) -> None:
    """Remove anybody's claim in the cache ``root`` on a unit that is done: it is of no use any more."""
    check_inside(path, root=root)
    with suppress(OSError):
        path.unlink(missing_ok=True)


def sweep_claims(claims: Iterable[Path]) -> int:
    """Remove those of some claims that are abandoned; returns how many there were.

    They are in nobody's way, but those on units that nobody plans any more would stay for ever.
    """
    n_removed = 0
    for path in claims:
        with suppress(OSError):
            if is_abandoned(path):
                path.unlink()
                n_removed += 1
    return n_removed


def is_abandoned(path: Path) -> bool:
    """Whether the owner of a claim will not come back: it is dead, or of elsewhere and has been silent for a day.

    Raises
    ------
    OSError
        If the claim is gone.
    """
    owner, silence = _look(path, time.time())
    return silence > LEFTOVER_SECONDS if owner is None or not owner.is_here else owner.is_dead


def is_alive(path: Path, *, now: float, timeout: float) -> bool:
    """Whether the owner of a claim can be at work: not known to be dead, and not silent for too long.

    Parameters
    ----------
    path : Path
        The claim; what is no file is none.
    now : float
        Seconds since 1970 by the clock that stamps the file. A heartbeat from the future is none.
    timeout : float
        Seconds of silence. The owner beats eight times in its own timeout.

    Raises
    ------
    OSError
        If the claim is gone.
    """
    owner, silence = _look(path, now)
    is_dead = owner is not None and owner.is_dead
    return stat.S_ISREG(path.lstat().st_mode) and not is_dead and abs(silence) <= timeout


def _look(path: Path, now: float) -> tuple[Owner | None, float]:
    """Return whose a claim is, as far as it says so, and for how many seconds it has been silent."""
    found = path.lstat()
    return read_owner(path) if stat.S_ISREG(found.st_mode) else None, now - found.st_mtime


def _inode(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def read_owner(path: Path) -> Owner | None:
    """Read whose claim it is; None if the file does not say, or is no claim."""
    try:
        with open_regular(path) as file:
            note = json.loads(file.read(_MAX_BYTES))
        host, pid, process = note["host"], note["pid"], note["process"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    is_owner = isinstance(host, str) and type(pid) is int and isinstance(process, str)
    return Owner(host, pid, process) if is_owner else None
