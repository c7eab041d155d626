"""Files of a folder that is not trusted: each is read once, in bounds, and checked as it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from copy import copy
from pathlib import Path

from heads.errors import HeadsError
from heads.files.folder import hash_file, read_file

__all__ = ["Contents"]


class Contents:
    """Files of one folder, by name.

    Parameters
    ----------
    folder : Path
    checksums : mapping of file name to str, optional
        The sha256 of each, from somewhere else; default: nothing is known of the files.
    """

    def __init__(self, folder: Path, checksums: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._checksums = checksums
        self._unread = set(checksums or ())
        self._prefix = ""

    def within(self, prefix: str) -> Contents:
        """Return the files whose names begin with ``prefix``, by what follows it; what is read there is read here."""
        part = copy(self)
        part._prefix = self._prefix + prefix
        return part

    def path(self, name: str) -> Path:
        """Return where a file is."""
        return self.folder / (self._prefix + name)

    def read(self, name: str, *, limit: int) -> bytes:
        """Return the bytes of a regular file of at most ``limit`` bytes.

        Raises
        ------
        HeadsError
            If there is no such file, it is longer, or its bytes do not have their checksum.
        """
        data = read_file(self.path(name), limit)
        if self._checksums is not None:
            self._check(self._prefix + name, hashlib.sha256(data).hexdigest())
        return data

    def check_unread(self, *, limit: int) -> None:
        """Raise `HeadsError` if a file that nobody has read is longer than ``limit``, or not what was recorded."""
        for name in sorted(self._unread):
            self._check(name, hash_file(self.folder / name, limit))

    def _check(self, name: str, found: str) -> None:
        if self._checksums is None or self._checksums.get(name) != found:
            raise HeadsError(f"{self.folder / name} does not have the checksum on record: it was changed or damaged")
        self._unread.discard(name)
