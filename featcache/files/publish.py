"""Putting files on disk so that a name, once visible, is complete.

A new name is made with a hard link, which fails if it is there: of any number of writers exactly one succeeds, and
what a reader has opened is never exchanged. On file systems without hard links the writers of one name take turns
(see `publish_new`): the same holds unless a writer stands still for longer than ten seconds between its look at the
name and its rename. Even then a name only ever shows a complete file.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from featcache.errors import FeatcacheError
from featcache.files.inside import check_inside, make_folder
from featcache.files.owner import Owner
from featcache.files.sync import sync

__all__ = [
    "LEFTOVER_SECONDS",
    "TEMP_PREFIX",
    "create_exclusive",
    "is_leftover",
    "owner_of",
    "publish_new",
    "remove_leftovers",
    "replace_file",
    "temporary_beside",
]

TEMP_PREFIX = ".tmp-"
LEFTOVER_SECONDS = 24 * 3600.0
"""After which a file of which nobody knows the owner is taken for left behind."""
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_TURN_SECONDS = 10.0


@contextmanager
def temporary_beside(final: Path, *, root: Path) -> Iterator[Path]:
    """Give a fresh name in the folder of ``final`` and remove what is left under it at the end.

    The name tells its owner (host and process), so that leftovers of a dead one can be recognised.

    Parameters
    ----------
    final : Path
        Where the file is going to be.
    root : Path
        Folder below which no link is followed: the cache's folder, or that of ``final`` if a person named it.

    Raises
    ------
    FeatcacheError
        If the folder is not there and cannot be made, or is reached through a link below ``root``.
    """
    make_folder(final.parent, root=root)
    owner = Owner.current()
    temp = final.parent / f"{TEMP_PREFIX}{owner.host}-{owner.pid}-{owner.process}{secrets.token_hex(4)}"
    try:
        yield temp
    finally:
        # What cannot be removed, as on a read-only file system, must not hide why it was not written.
        with suppress(OSError):
            temp.unlink()


def publish_new(temp: Path, final: Path) -> bool:
    """Make a closed file visible under its final name, never replacing one that is there.

    Returns
    -------
    bool
        False if ``final`` existed already: ours is dropped, theirs stays.
    """
    sync(temp)
    try:
        os.link(temp, final)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if not _rename_new(temp, final):
            return False
    temp.unlink(missing_ok=True)
    sync(final.parent)
    return True


def _rename_new(temp: Path, final: Path) -> bool:
    """Rename unless the name is taken. Writers of one name take turns by an exclusive file beside it."""
    turn = final.with_name(f"{TEMP_PREFIX}turn-{final.name}")
    started = time.monotonic()
    while not create_exclusive(turn, b"", root=turn.parent):
        if final.exists():
            return False
        if time.monotonic() - started > _TURN_SECONDS:
            # Looking and renaming takes no time: whoever had its turn was killed in it.
            turn.unlink(missing_ok=True)
            started = time.monotonic()
        time.sleep(0.01)
    try:
        if final.exists():
            return False
        temp.rename(final)
        return True
    finally:
        turn.unlink(missing_ok=True)


def create_exclusive(path: Path, data: bytes, *, root: Path) -> bool:
    """Create a small file that must not exist yet; returns False if it does.

    For notes that may be lost: nothing is synced, and a reader can meet the file before its content. As for
    `temporary_beside` no link is followed below ``root``; what the file system refuses is an `OSError`.
    """
    check_inside(path, root=root)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
    return True


def remove_leftovers(files: Iterable[Path]) -> int:
    """Remove those of some files that are temporary and that nobody will finish; returns how many there were."""
    n_removed = 0
    for path in files:
        if path.name.startswith(TEMP_PREFIX) and is_leftover(path):
            with suppress(OSError):
                path.unlink()
                n_removed += 1
    return n_removed


def is_leftover(path: Path) -> bool:
    """Whether nobody will finish a temporary file.

    Those of a process of this machine are left over when it is dead and not as long as it lives; others after a day.
    """
    owner = owner_of(path)
    if owner is not None and owner.is_here:
        return owner.is_dead
    try:
        found = path.lstat()
    except OSError:
        return False
    # With the clock moved back files are from the future: they wait until it has caught up.
    return stat.S_ISREG(found.st_mode) and time.time() - found.st_mtime > LEFTOVER_SECONDS


def owner_of(temp: Path) -> Owner | None:
    """Return whose a temporary file is; None if its name does not say so."""
    host, _, rest = temp.name.removeprefix(TEMP_PREFIX).partition("-")
    pid, _, process = rest.partition("-")
    is_ours = temp.name.startswith(TEMP_PREFIX) and pid.isdecimal() and len(process) >= 8
    return Owner(host, int(pid), process[:8]) if is_ours else None


def replace_file(temp: Path, final: Path) -> None:
    """Atomically put a closed file in the place of another.

    Raises
    ------
    FeatcacheError
        If a folder is in that place.
    """
    sync(temp)
    try:
        temp.replace(final)
    except IsADirectoryError as error:
        raise FeatcacheError(
            f"{final} is a folder, expected a file or nothing: move it away (in a cache `featcache repair` does)"
        ) from error
    sync(final.parent)
