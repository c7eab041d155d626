"""What every reader makes of its source: samples, classes, and what was left out."""

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from featcache.dataset.readers.cells import is_unicode, quoted, quoted_path
from featcache.dataset.readers.left_out import Gap, LeftOut
from featcache.dataset.readers.reading import Reading
from featcache.dataset.readers.table import more_rows
from featcache.dataset.readers.troubles import explain
from featcache.dataset.readers.words import is_missing
from featcache.dataset.sample import ImageFile
from featcache.dataset.sample_list import SampleList
from featcache.errors import ManifestError

__all__ = ["MissingWords", "OnOrphan", "Parsed", "check_unique", "find_image", "settle_orphans"]

OnOrphan = Literal["error", "skip", "tell"]
"""``tell`` leaves them out as ``skip`` does, also where nothing else is there."""

_ODD = re.compile(r"//|(^|/)\.(/|$)|/$|^$")
"""In a path that a path object would write in another way: ``./a``, ``a//b``, ``a/``."""


class Parsed(NamedTuple):
    """What a reader makes of its source; the fields are those of `Manifest`."""

    samples: SampleList
    generators: tuple[str, ...]
    orphans: tuple[Gap, ...]
    broken: tuple[Gap, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


def find_image(path: str, folder: str | None, *, takes_any_name: bool = False) -> ImageFile | Gap:
    """Resolve a path against a folder and look whether a regular file is there, without opening it.

    Returns
    -------
    ImageFile or Gap
        The picture, or where it should be and what is wrong with the path. One that is not UTF-8 leads to none unless
        ``takes_any_name``.
    """
    if folder is None and not os.path.isabs(path):  # noqa: PTH117
        hint = explain(path, "") or "say with --root DIR where the pictures are"
        return Gap(
            path, f"{quoted_path(path)} is a relative path, and there is no folder it could be relative to ({hint})"
        )
    file = _join(folder or "", path)
    try:
        if stat.S_ISREG(os.stat(file).st_mode) and (takes_any_name or is_unicode(path)):  # noqa: PTH116
            return ImageFile(file)
    except (OSError, ValueError):  # ValueError: a NUL or a lone surrogate, which no file's name has
        reason = explain(path, folder or "")
        return Gap(file, f"there is no file {quoted_path(path)}{f' ({reason})' if reason else ''}")
    return Gap(file, f"{quoted_path(path)} is not a regular file")


def _join(folder: str, path: str) -> str:
    """Return ``str(Path(folder, path))``; called for every sample, and a Path takes memory for each that never ends."""
    if os.sep != "/" or _ODD.search(path):
        return str(Path(folder, path))
    return os.path.join(folder, path)  # noqa: PTH118


class MissingWords:
    """Takes captions such as ``nan`` and ``NULL`` for missing, except by rules 1, and counts them."""

    def __init__(self, reading: Reading) -> None:
        self._is_kept = reading.rules == 1
        self._count, self._first = 0, ""

    def drop(self, caption: str | None) -> str | None:
        """Return a caption, or None in the place of one that says that there is none."""
        if caption is None or not is_missing(caption):
            return caption
        self._count, self._first = self._count + 1, self._first or caption
        return caption if self._is_kept else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about those that were met."""
        if not self._count:
            return ()
        what = f"{self._count:,} caption{'s' * (self._count > 1)} such as {quoted(self._first)}"
        if self._is_kept:
            return (f"{what}: kept as text, as the earlier version read them into this cache",)
        return (f"{what}: taken for missing",)


def settle_orphans(orphans: Sequence[Gap], n_samples: int, on_orphan: OnOrphan) -> None:
    """Raise for orphans, unless they are told, or skipped and samples are left.

    Raises
    ------
    ManifestError
        There are orphans under ``on_orphan="error"``, or nothing but orphans under ``"skip"``.
    """
    if orphans and on_orphan == "error":
        hint = "put them in their places or leave such rows out with --on-orphan skip"
        raise ManifestError(f"{orphans[0].message}{more_rows(len(orphans))}: {hint}")
    if orphans and not n_samples and on_orphan != "tell":
        raise ManifestError(f"no samples are left without orphans: {orphans[0].message}{more_rows(len(orphans))}")


def check_unique(samples: SampleList) -> None:
    """Refuse samples of which two have one id.

    Raises
    ------
    ManifestError
        An id occurs twice; the message names both rows.
    """
    # Numbers first: a dict of the ids would take more memory than the samples.
    hashes = np.fromiter(map(hash, samples.sample_id), np.int64, len(samples))
    ordered = np.sort(hashes)
    suspects = np.flatnonzero(np.isin(hashes, ordered[1:][ordered[1:] == ordered[:-1]]))
    first: dict[str, int] = {}
    repeated = [row for row in suspects.tolist() if first.setdefault(samples.sample_id[row], row) != row]
    if repeated:
        again = samples.sample_id[repeated[0]]
        raise ManifestError(
            f"{samples.where[repeated[0]]}: sample_id {quoted(again)} is taken by {samples.where[first[again]]}, "
            f"expected unique ids{more_rows(len(repeated))}"
        )
