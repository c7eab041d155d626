"""Paths of another machine, found below a folder of this one."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice

from featcache.dataset.readers.cells import quoted, quoted_path
from featcache.dataset.readers.table import Table
from featcache.errors import ManifestError

__all__ = ["rebase"]

_DRIVE = re.compile(r"^[A-Za-z]:(?=[\\/])")
_TRIED = 1000


def rebase(table: Table, images: Iterable[object]) -> tuple[str | None, Callable[[str], str]]:
    """Return the folder in which a table's pictures are, and what shortens their paths to begin there.

    Without `Reading.root` that is the table's own folder, and paths stay as they are. With it, as many leading folders
    are dropped from every path as it takes to find one of the first pictures below the root; only folders that all
    paths have in common, and as few as possible. Paths of Windows are understood then, among others and with ``/`` in
    them, too.

    Raises
    ------
    ManifestError
        The root is no folder, or none of the first thousand pictures is below it.
    """
    root = table.reading.root
    if not root:
        return table.folder, lambda path: path
    if not os.path.isdir(root):  # noqa: PTH112
        raise ManifestError(f"--root {quoted_path(root)}: expected a folder, found none")
    paths = [image for image in images if isinstance(image, str)]
    if not paths:
        return root, lambda path: path
    for split in (_parts, _all_parts):
        common = _common_folders(paths, split)
        tried = [split(path) for path in islice(paths, _TRIED)]
        for n_dropped in range(len(common) + 1):
            if any(_is_file(root, parts[n_dropped:]) for parts in tried):
                return root, partial(_drop, root, n_dropped)
    shortest = "/".join(tried[0][len(common) :])
    raise ManifestError(
        f"--root {quoted_path(root)}: expected the pictures of {table.origin} below it, found none of the first "
        f"{len(tried)}, neither {quoted('/'.join(tried[0]))} nor {quoted(shortest)}"
    )


def _drop(root: str, n_folders: int, path: str) -> str:
    parts = _parts(path)[n_folders:]
    if "\\" in path and not _is_file(root, parts):
        parts = _all_parts(path)[n_folders:]
    return "/".join(parts)


def _parts(path: str) -> list[str]:
    """Split a path without what is in front of its first folder; ``\\`` may be a letter of a name where ``/`` is."""
    return _all_parts(path) if "/" not in path else _named(_DRIVE.sub("", path).split("/"))


def _all_parts(path: str) -> list[str]:
    """Split a path as `_parts` does, at each ``/`` and ``\\``."""
    return _named(_DRIVE.sub("", path).replace("\\", "/").split("/"))


def _named(parts: Iterable[str]) -> list[str]:
    return [part for part in parts if part not in ("", ".")]


def _common_folders(paths: Sequence[str], split: Callable[[str], list[str]]) -> list[str]:
    common = split(paths[0])[:-1]
    for path in paths:
        parts = split(path)[:-1]
        if parts[: len(common)] != common:
            equal = (one == other for one, other in zip(common, parts, strict=False))
            common = common[: next((place for place, same in enumerate(equal) if not same), len(parts))]
    return common


def _is_file(root: str, parts: Sequence[str]) -> bool:
    try:
        return os.path.isfile("/".join((root, *parts)))  # noqa: PTH113
    except ValueError:  # a NUL
        return False
