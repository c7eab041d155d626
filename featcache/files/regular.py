"""Opening regular files and nothing else: what is in a folder may be a FIFO, a device or a socket by now."""

from __future__ import annotations

import os
import stat
from io import FileIO
from typing import BinaryIO

__all__ = ["check_regular", "open_descriptor", "open_regular", "open_unbuffered"]


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading; devices, FIFOs, sockets and folders are refused without being opened.

    Raises
    ------
    OSError
        The path names no regular file, or the file cannot be opened.
    """
    return os.fdopen(open_descriptor(path), "rb")


def open_unbuffered(path: str | os.PathLike[str]) -> FileIO:
    """Do the same without a buffer: what is read is read once, or mapped."""
    return os.fdopen(open_descriptor(path), "rb", buffering=0)


def open_descriptor(path: str | os.PathLike[str]) -> int:
    """Do the same and return the descriptor: for a thousand files that makes something."""
    try:
        check_regular(os.stat(path), path)  # noqa: PTH116 - three times as fast as Path.stat, for every picture
    except ValueError as error:  # a NUL or a lone surrogate: no file can have this name
        raise OSError(f"{os.fspath(path)!r} cannot be the name of a file") from error
    # The path may have been exchanged since: never block on a FIFO, and look again at what was opened.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        check_regular(os.fstat(descriptor), path)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def check_regular(status: os.stat_result, path: str | os.PathLike[str]) -> None:
    """Refuse what is no regular file.

    Raises
    ------
    OSError
        The status of the path is that of something else.
    """
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{os.fspath(path)!r} is not a regular file")
