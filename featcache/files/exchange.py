"""Two names exchanged at once, where the kernel and the file system can: nobody sees either of them missing."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

__all__ = ["exchange_names"]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h
_RENAME_SWAP = 2  # sys/stdio.h of macOS
# EPERM is what some sandboxes answer to calls that they do not know.
_NOT_HERE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}


def exchange_names(one: Path, other: Path) -> bool:
    """Exchange what two names stand for; links are exchanged themselves.

    Returns
    -------
    bool
        False, and nothing happened, where that is not possible.

    Raises
    ------
    OSError
        If it is possible and fails.
    """
    names = os.fsencode(one), os.fsencode(other)
    ctypes.set_errno(0)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            failed = library.renamex_np(*names, ctypes.c_uint(_RENAME_SWAP))
        else:
            failed = library.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_RENAME_EXCHANGE))
    except (AttributeError, OSError, TypeError):  # no such function, or no such library at all
        return False
    if not failed:
        return True
    number = ctypes.get_errno()
    if number in _NOT_HERE:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))
