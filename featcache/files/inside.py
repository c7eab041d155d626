"""What is inside of a folder that somebody else may have made: links below it are read through, and nothing else.

A cache, a run or an export can be handed on by anybody. A link in it that shows elsewhere would let whoever made it
choose what is deleted, moved or written on the machine of whoever uses it. So everything that writes, moves or
deletes asks here first. The folder itself may be reached through links: that is its owner's business.

Folders are looked at by name, right before they are used. Whoever exchanges them while we are at work is not kept
out: HDF5 takes no handles of folders.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from featcache.errors import FeatcacheError

__all__ = ["check_inside", "is_inside", "make_folder", "walk_inside"]


def check_inside(path: Path, *, root: Path) -> None:
    """Refuse a path that leads out of ``root``, or through a link below it.

    The last part of the path may be a link, and need not be there: a name is made, renamed or removed in its folder,
    whatever it names.

    Raises
    ------
    FeatcacheError
        If a folder between ``root`` and the path is a link, or the path does not begin with ``root``.
    """
    if not path.is_relative_to(root) or ".." in path.relative_to(root).parts:
        raise FeatcacheError(f"{path} is not below {root}: nothing is written, moved or deleted there")
    for folder in _folders_between(root, path):
        try:
            mode = os.lstat(folder).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return
        if stat.S_ISLNK(mode):
            raise FeatcacheError(
                f"{folder} is a link, and nothing below {root} is written, moved or deleted through links: put the "
                f"folder itself there (moved back, or mounted), or move all of {root} and link that"
            )


def is_inside(path: Path, *, root: Path) -> bool:
    """Whether `check_inside` has nothing to say against a path."""
    try:
        check_inside(path, root=root)
    except FeatcacheError:
        return False
    return True


def make_folder(folder: Path, *, root: Path) -> None:
    """Make a folder below ``root``, and those above it, unless they are there.

    Raises
    ------
    FeatcacheError
        If `check_inside` refuses it, or the file system refuses.
    """
    check_inside(folder / "inside", root=root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FeatcacheError(f"folder {folder} cannot be made: {error.strerror}") from error


def walk_inside(folder: Path, *, root: Path) -> Iterator[Path]:
    """Yield what is in a folder below ``root`` (or in ``root``), at any depth, but for folders; ascending.

    Links are yielded, also those to folders, and never followed. Of a folder that is not inside there is nothing.
    """
    if not is_inside(folder / "inside", root=root):
        return
    for parent, folders, names in os.walk(folder):
        folders.sort()
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]  # noqa: PTH114, PTH118 - fast
        yield from (Path(parent, name) for name in sorted([*names, *links]))


def _folders_between(root: Path, path: Path) -> Iterator[Path]:
    """Yield the folders below ``root`` that a path leads through, the upper one first."""
    folder = root
    for part in path.relative_to(root).parts[:-1]:
        folder = folder / part
        yield folder
