"""Paths of another machine, found below a folder of this one."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice

from featcache.dataset.readers.cells import quoted
from featcache.dataset.readers.table import Table
from featcache.errors import ManifestError

__all__ = ["rebase"]

_DRIVE = re.compile(r"^[A-Za-z]:(?=[\\/])")
_TRIED = 1000


def rebase(table: Table, images: Iterable[object]) -> tuple[str | None, Callable[[str], str]]:
    """Return the folder in which a table's pictures are, and what shortens their paths to begin there.

    Without `Reading.root` that is the table's own folder, and paths stay as they are. With it, as many leading folders
    are dropped from every path as it takes to find one of the first pictures below the root; only folders that all
    paths have in common, and as few as possible. Paths of Windows are understood then.

    Raises
    ------
    ManifestError
        The root is no folder, or none of the first thousand pictures is below it.
    """
    root = table.reading.root
    if not root:
        return table.folder, lambda path: path
    if not os.path.isdir(root):  # noqa: PTH112
        raise ManifestError(f"--root {quoted(root)}: expected a folder, found none")
    paths = [image for image in images if isinstance(image, str)]
    common = _common_folders(paths)
    tried = [_parts(path) for path in islice(paths, _TRIED)]
    for n_dropped in range(len(common) + 1):
        if any(_is_file(root, parts[n_dropped:]) for parts in tried):
            return root, partial(_drop, n_dropped)
    if not tried:
        return root, lambda path: path
    shortest = "/".join(tried[0][len(common) :])
    raise ManifestError(
        f"--root {quoted(root)}: expected the pictures of {table.origin} below it, found none of the first "
        f"{len(tried)}, neither {quoted('/'.join(tried[0]))} nor {quoted(shortest)}"
    )


def _drop(n_folders: int, path: str) -> str:
    return "/".join(_parts(path)[n_folders:])


def _parts(path: str) -> list[str]:
    """Split a path without what is in front of its first folder."""
    path = _DRIVE.sub("", path)
    if "/" not in path:
        path = path.replace("\\", "/")
    return [part for part in path.split("/") if part not in ("", ".")]


def _common_folders(paths: Sequence[str]) -> list[str]:
    common = _parts(paths[0])[:-1] if paths else []
    for path in paths:
        parts = _parts(path)[:-1]
        if parts[: len(common)] != common:
            equal = (one == other for one, other in zip(common, parts, strict=False))
            common = common[: next((place for place, same in enumerate(equal) if not same), len(parts))]
    return common


def _is_file(root: str, parts: Sequence[str]) -> bool:
    try:
        return os.path.isfile("/".join((root, *parts)))  # noqa: PTH113
    except ValueError:  # a NUL
        return False
