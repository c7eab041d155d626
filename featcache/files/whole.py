"""Whole files of bytes that are at hand: published under a free name, or put in the place of what was there."""

from __future__ import annotations

import errno
from pathlib import Path

from featcache.errors import FeatcacheError
from featcache.files.publish import publish_new, replace_file, temporary_beside

__all__ = ["publish_bytes", "replace_bytes"]

_FOLDER_ERRORS = (errno.EROFS, errno.EACCES, errno.EPERM)


def publish_bytes(path: Path, data: bytes | memoryview, *, root: Path) -> bool:
    """Write a file below ``root`` under a name that must not exist yet; returns False if it does.

    Raises
    ------
    FeatcacheError
        If there is no room, or the file system refuses.
    """
    with temporary_beside(path, root=root) as temp:
        _write(temp, data, path)
        return publish_new(temp, path)


def replace_bytes(path: Path, data: bytes | memoryview, *, root: Path) -> None:
    """Write a file below ``root``, atomically replacing what was there.

    Raises
    ------
    FeatcacheError
        If there is no room, or the file system refuses.
    """
    with temporary_beside(path, root=root) as temp:
        _write(temp, data, path)
        replace_file(temp, path)


def _write(temp: Path, data: bytes | memoryview, final: Path) -> None:
    try:
        temp.write_bytes(data)
    except OSError as error:
        what = f"folder {final.parent}" if error.errno in _FOLDER_ERRORS else final
        raise FeatcacheError(
            f"{what} cannot be written: {error.strerror}; what was published stays: put that right and run the same "
            "command again"
        ) from error
