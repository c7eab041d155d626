"""Checking shards before their rows are used: every digest, once for each state of a file."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from featcache.cache.checked import Checked, read_checked, remember_checked
from featcache.cache.index import Receipt
from featcache.cache.shard import Shard, read_shard
from featcache.cache.shard_digests import verify_shard
from featcache.errors import ShardError
from featcache.files.digests import digest_bytes
from featcache.files.file_state import FileState

__all__ = ["CheckProgress", "Soundness"]

CheckProgress = Callable[[int, int], None]
"""Called with (bytes checked, bytes to check), first with (0, …), from the thread that asked for the rows."""

_THREADS = max(2, min(8, os.cpu_count() or 2))


class Soundness:
    """Which shards of a cache are sound: each is read through when its file is first met as it looks now.

    What was found is remembered in the cache (`cache.checked`), if that can be written: a later process looks at
    the files from outside only. Against accidents, not against people: who can write the cache can write new digests,
    and can write there that they were checked.

    Parameters
    ----------
    cache : Path
        The folder of the cache.
    remember : bool
        Whether what was found may be written there.
    progress : callable
        Told how far a check is.
    """

    def __init__(self, cache: Path, *, remember: bool = True, progress: CheckProgress | None = None) -> None:
        self._cache = cache
        self._remembers = remember
        self._progress = progress
        self._known: dict[Path, dict[str, Checked]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Who shows progress stays in its process.
        return self.__dict__ | {"_progress": None}

    def check(self, shards: Sequence[Shard], outputs: Sequence[str], receipts: Mapping[Path, Receipt]) -> None:
        """Make sure that the shards that hold some outputs are sound; those that were, and look the same, are not read.

        Parameters
        ----------
        shards : sequence of Shard
            Shards of one producer and view.
        outputs : sequence of str
            What is about to be read.
        receipts : mapping of Path to Receipt
            Receipts that there are: their shards must fit them.

        Raises
        ------
        ShardError
            If any is damaged: the first is named, and how many there are.
        """
        if not shards:
            return
        folder, wanted = shards[0].path.parent, set(outputs)
        if folder not in self._known:
            self._known[folder] = read_checked(self._cache, folder)
        known, new = self._known[folder], []
        for shard in shards:
            receipt = receipts.get(shard.path)
            # Without a receipt it is the file itself that says which outputs it holds: not to be believed.
            is_used = receipt is None or not wanted.isdisjoint(shard.outputs)
            if is_used and not _is_known(known.get(shard.path.name), shard, receipt):
                new.append(shard)
        if new:
            self._read_through(folder, new, receipts)

    def _read_through(self, folder: Path, shards: Sequence[Shard], receipts: Mapping[Path, Receipt]) -> None:
        sound: dict[str, Checked] = {}
        faults: list[ShardError] = []
        now, done, total = time.time_ns(), 0, sum(shard.size for shard in shards)
        self._tell(done, total)
        pool = ThreadPoolExecutor(_THREADS)
        try:
            outcomes = pool.map(lambda shard: _outcome(shard, receipts.get(shard.path)), shards)
            for shard, outcome in zip(shards, outcomes, strict=True):
                if isinstance(outcome, ShardError):
                    faults.append(outcome)
                elif outcome is not None and outcome.state.is_settled(now):
                    sound[shard.path.name] = outcome
                done += shard.size
                self._tell(done, total)
        finally:
            pool.shutdown(cancel_futures=True)
            # Also when it was interrupted or something is damaged: the others need not be read twice.
            self._remember(folder, sound)
        if faults:
            raise self._refusal(faults)

    def _tell(self, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(done, total)

    def _remember(self, folder: Path, sound: Mapping[str, Checked]) -> None:
        if sound:
            self._known[folder] |= sound
        if sound and self._remembers:
            remember_checked(self._cache, folder, sound)

    def _refusal(self, faults: Sequence[ShardError]) -> ShardError:
        # What the system refuses (permissions, a network that is down) is no damage.
        damaged = [fault for fault in faults if getattr(fault.__cause__, "errno", None) is None]
        if not damaged:
            return faults[0]
        command = shlex.join(["featcache", "repair", str(self._cache)])
        how_many = "a damaged shard" if len(damaged) == 1 else f"{len(damaged)} damaged shards, the first is named"
        return ShardError(f"cache {str(self._cache)!r} has {how_many}, run `{command}`: {damaged[0]}")


def _is_known(known: Checked | None, shard: Shard, receipt: Receipt | None) -> bool:
    if known is None or (receipt is not None and known.sha256 != receipt.sha256):
        return False
    return known.state == FileState.of(shard.path)


def _outcome(shard: Shard, receipt: Receipt | None) -> Checked | ShardError | None:
    """Return what was found in what state, or what is wrong; None if the file changed while it was read."""
    before = FileState.of(shard.path)
    try:
        _check_digests(shard, receipt)
    except ShardError as error:
        return error
    is_same = before is not None and before == FileState.of(shard.path)
    return Checked(before, receipt.sha256 if receipt else "") if before is not None and is_same else None


def _check_digests(shard: Shard, receipt: Receipt | None) -> None:
    path = shard.path
    if receipt is None:
        verify_shard(shard)
        return
    with suppress(OSError):  # why it cannot be read is said below
        # A file that fits its receipt is, byte for byte, the one whose digests were checked for it.
        if digest_bytes(path) == receipt.sha256:
            return
    verify_shard(read_shard(path))
    raise ShardError(f"shard {path} has another checksum than its receipt in the index")
