"""An export as a folder of ``.npy`` files, which numpy maps without reading them."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from pathlib import Path

from featcache.errors import FeatcacheError
from featcache.export.columns import FORMAT, Source
from featcache.export.npz import constants, write_npy
from featcache.publish import TEMP_PREFIX

__all__ = ["check_replaceable", "write_npy_folder"]

_INDEX = "index.json"


def check_replaceable(path: Path) -> None:
    """Raise `FeatcacheError` if something is there that is neither an empty folder nor an earlier export alone."""
    if not path.exists():
        return
    try:
        names = {file.name for file in path.iterdir()}
        is_ours = not names or names <= {_INDEX, *_listed(path)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        is_ours = False
    if not is_ours:
        raise FeatcacheError(f"cannot export to {str(path)!r}: it exists, and is no folder of an earlier export alone")


def _listed(path: Path) -> set[str]:
    document = json.loads((path / _INDEX).read_text(encoding="utf-8"))
    if document["format"] != FORMAT:
        raise ValueError(document["format"])
    return {entry["file"] for entry in document["arrays"].values()}


def write_npy_folder(source: Source, path: Path) -> None:
    """Write one ``.npy`` an array, and ``index.json``: what the arrays are, their files, dtypes and shapes.

    Written beside its name and moved there when complete; an earlier export is moved aside first and then removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    token = f"{os.getpid()}-{secrets.token_hex(4)}"
    temp, old = (path.parent / f"{TEMP_PREFIX}{kind}-{token}" for kind in ("new", "old"))
    temp.mkdir()
    try:
        _fill(source, temp)
        _move(temp, path, old)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _fill(source: Source, folder: Path) -> None:
    arrays = {}
    for column in (*source.strings, *source.numbers, constants(source)[0]):
        name = f"{column.name}.npy"
        with (folder / name).open("wb") as file:
            write_npy(column, file)
            file.flush()
            os.fsync(file.fileno())
        arrays[column.name] = {"file": name, "dtype": column.dtype.str, "shape": list(column.shape)}
    with (folder / _INDEX).open("w", encoding="utf-8") as text:
        text.write(json.dumps({**source.about, "arrays": arrays}, indent=1) + "\n")
        text.flush()
        os.fsync(text.fileno())


def _move(temp: Path, path: Path, old: Path) -> None:
    check_replaceable(path)
    try:
        if path.exists():
            path.rename(old)
        temp.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        raise
