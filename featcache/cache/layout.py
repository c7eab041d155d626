"""Which names a cache has: the tree of docs/format.md, for whatever deletes and whoever looks for strangers."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from featcache.errors import FeatcacheError
from featcache.files.inside import check_inside, walk_inside
from featcache.files.publish import TEMP_PREFIX

__all__ = ["CLAIMS", "QUARANTINE", "check_folders", "is_claim", "is_known", "is_temporary", "walk_cache"]

CLAIMS, QUARANTINE = "claims", "quarantine"

_DEPTHS = {"encoders": 0, "features": 2, "samples": 0, "failures": 2, "requests": 1, "plans": 1, CLAIMS: 2, "memo": 2}
"""Folders of a cache, and how many levels of folders they have."""
_PRODUCER, _UNIT = "[0-9a-f]{12}", "[0-9a-f]{32}"
_CLAIM = re.compile(rf"{CLAIMS}/({_PRODUCER}/[^/]+/{_UNIT}|scan/[^/]+|leases/[^/]+)\.json")
_KNOWN = re.compile(
    rf"(cache|index)\.json|encoders/{_PRODUCER}\.json|features/{_PRODUCER}/[^/]+/[^/]+\.h5|(samples|memo)/[^/]+\.h5"
    rf"|memo/checked/{_PRODUCER}/[^/]+\.json|failures/.+\.json|(requests|plans)/[^/]+/{_PRODUCER}\.json|{_CLAIM.pattern}|{QUARANTINE}/.+"
)


def is_known(name: str) -> bool:
    """Whether a path relative to the cache, with ``/``, is one of the format under its final name."""
    return _KNOWN.fullmatch(name) is not None


def is_claim(name: str) -> bool:
    """Whether it is a note of a writer at work."""
    return _CLAIM.fullmatch(name) is not None


def is_temporary(name: str) -> bool:
    """Whether it is an unfinished file in a folder of the format."""
    folder, _, last = name.rpartition("/")
    top = folder.partition("/")[0]
    return last.startswith(TEMP_PREFIX) and (not folder or folder.count("/") <= _DEPTHS.get(top, -1))


def walk_cache(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield what is inside of a cache but for folders and the quarantine, each with its name relative to the cache."""
    for path in walk_inside(root, root=root):
        name = path.relative_to(root).as_posix()
        if not name.startswith(f"{QUARANTINE}/"):
            yield path, name


def check_folders(root: Path) -> None:
    """Refuse a cache some folder of which is a link: worth knowing before the work.

    Raises
    ------
    FeatcacheError
        The first of them is named.
    """
    for name, depth in _DEPTHS.items():
        for folder in _folders(root / name, depth):
            check_inside(folder / "inside", root=root)
    check_inside(root / QUARANTINE / "inside", root=root)


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    yield folder
    if depth and stat.S_ISDIR(_mode(folder)):
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if _is_folder(entry):
                yield from _folders(Path(entry.path), depth - 1)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is one, or a link to one; a link that leads round in a circle leads to none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise FeatcacheError(f"{path} cannot be looked at: {error.strerror}") from error
