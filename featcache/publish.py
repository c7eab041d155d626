"""Putting files on disk so that a name, once visible, is complete."""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["TEMP_PREFIX", "publish_new", "replace_file", "replace_json", "temporary_beside", "write_new_json"]

TEMP_PREFIX = ".tmp-"
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


@contextmanager
def temporary_beside(final: Path) -> Iterator[Path]:
    """Give a fresh name in the folder of ``final`` and remove what is left under it at the end.

    The name tells its owner (host and process), so that leftovers of a dead one can be recognised.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    host = "".join(c for c in socket.gethostname() if c.isalnum())[:20] or "host"
    temp = final.parent / f"{TEMP_PREFIX}{host}-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        yield temp
    finally:
        temp.unlink(missing_ok=True)


def publish_new(temp: Path, final: Path) -> bool:
    """Make a closed file visible under its final name, never replacing one that is there.

    Returns
    -------
    bool
        False if ``final`` existed already: ours is dropped, theirs stays.
    """
    _sync(temp)
    try:
        os.link(temp, final)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if final.exists():
            return False
        # Without hard links two writers may both get here: they hold the same unit, so either file will do.
        temp.rename(final)
    temp.unlink(missing_ok=True)
    _sync(final.parent)
    return True


def write_new_json(path: Path, value: Any) -> bool:
    """Write JSON under a name that must not exist yet; returns False if it does."""
    with temporary_beside(path) as temp:
        temp.write_text(_readable(value), encoding="utf-8")
        return publish_new(temp, path)


def replace_json(path: Path, value: Any) -> None:
    """Write JSON under a name, atomically replacing what was there: for derived files only."""
    with temporary_beside(path) as temp:
        temp.write_text(_readable(value), encoding="utf-8")
        replace_file(temp, path)


def replace_file(temp: Path, final: Path) -> None:
    """Atomically put a closed file in the place of another."""
    _sync(temp)
    temp.replace(final)
    _sync(final.parent)


def _readable(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
