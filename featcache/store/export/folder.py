"""An export as a folder of ``.npy`` files, which numpy maps without reading them."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from featcache.errors import FeatcacheError
from featcache.files.drafts import remove_draft
from featcache.files.folders import new_folder, recover_folder
from featcache.files.publish import LEFTOVER_SECONDS
from featcache.files.regular import open_regular
from featcache.store.export.columns import ARRAYS, FORMAT, Source
from featcache.store.export.npz import constants, write_npy

__all__ = ["describe_taken", "prepare_npy_folder", "write_npy_folder"]

_INDEX = "index.json"
_OWN = frozenset(f"{name}.npy" for name in ARRAYS) | {_INDEX}
_MAX_INDEX = 1 << 24
_EARLY_DRAFT = re.compile(r"\.tmp-new-\d+-[0-9a-f]{8}")


def describe_taken(path: Path) -> str:
    """Say that there is something at a path that is not to be replaced unasked, and what to do."""
    return f"cannot export to {str(path)!r}: it exists already; choose another --out, or replace it with --overwrite"


def prepare_npy_folder(path: Path, *, overwrite: bool) -> None:
    """Raise if an export must not take the place of ``path``; else undo what killed exports left beside it.

    Raises
    ------
    FeatcacheError
        If something is there that is neither an empty folder nor an earlier export alone, or a link; without
        ``overwrite`` also an earlier export.
    """
    _check_replaceable(path, overwrite=overwrite)
    _sweep_early_drafts(path.parent)
    recover_folder(path)
    _check_replaceable(path, overwrite=overwrite)


def _check_replaceable(path: Path, *, overwrite: bool) -> None:
    if not os.path.lexists(path):
        return
    if path.is_symlink():
        raise FeatcacheError(f"cannot export to {str(path)!r}: it is a link, expected the folder itself")
    is_file: dict[str, bool] = {}
    try:
        with os.scandir(path) as entries:
            is_file = {entry.name: not entry.is_dir(follow_symlinks=False) for entry in entries}
        # What the index lists is nobody's word: anybody may have written it.
        is_ours = not is_file or (all(is_file.values()) and is_file.keys() <= _OWN & {_INDEX, *_listed(path)})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        is_ours = False
    if not is_ours:
        raise FeatcacheError(f"cannot export to {str(path)!r}: it exists, and is no folder of an earlier export alone")
    if is_file and not overwrite:
        raise FeatcacheError(describe_taken(path))


def _listed(path: Path) -> set[str]:
    with open_regular(path / _INDEX) as file:
        document = json.loads(file.read(_MAX_INDEX).decode("utf-8"))
    if document["format"] != FORMAT:
        raise ValueError(document["format"])
    return {entry["file"] for entry in document["arrays"].values()}


def _sweep_early_drafts(parent: Path) -> None:
    """Remove drafts of early versions, which tell neither what they were for nor whose they are, after a day."""
    with suppress(OSError):
        for draft in [path for path in parent.iterdir() if _EARLY_DRAFT.fullmatch(path.name)]:
            status = draft.lstat()
            is_old = time.time() - status.st_ctime > LEFTOVER_SECONDS
            if is_old and stat.S_ISDIR(status.st_mode) and _holds_arrays_alone(draft):
                remove_draft(draft)


def _holds_arrays_alone(folder: Path) -> bool:
    return all(file.is_file() and file.name in _OWN for file in folder.iterdir())


def write_npy_folder(source: Source, path: Path, *, overwrite: bool) -> int:
    """Write one ``.npy`` an array, and ``index.json``: what the arrays are, their files, dtypes and shapes.

    Written beside its name and put there when complete, with ``overwrite`` in the place of an earlier export. Returns
    the size of all.
    """
    check = partial(_check_replaceable, overwrite=overwrite)
    with new_folder(path, check=check, overwrite=overwrite) as draft:
        _fill(source, draft)
    return sum(file.stat().st_size for file in path.iterdir())


def _fill(source: Source, folder: Path) -> None:
    arrays = {}
    for column in (*source.strings, *source.numbers, constants(source)[0]):
        name = f"{column.name}.npy"
        with (folder / name).open("wb") as file:
            write_npy(column, file)
        arrays[column.name] = {"file": name, "dtype": column.dtype.str, "shape": list(column.shape)}
    text = json.dumps({**source.about, "arrays": arrays}, indent=1) + "\n"
    (folder / _INDEX).write_text(text, encoding="utf-8")
