"""Files and folders that are whole or absent: written beside their place, synced, then renamed."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heads.errors import HeadsError

__all__ = ["check_out", "new_folder", "write_file"]


def check_out(out: Path, *, marker: str, overwrite: bool = False) -> None:
    """Raise if a folder must not be written to ``out``.

    With ``overwrite`` an empty folder, or one that holds the file ``marker``, may be replaced; nothing else.
    """
    if not out.exists() and not out.is_symlink():
        return
    if not overwrite:
        raise HeadsError(f"{out} exists already: choose another --out, or replace it with --overwrite")
    if out.is_symlink() or not out.is_dir() or (any(out.iterdir()) and not (out / marker).is_file()):
        raise HeadsError(f"{out} is not a folder with a {marker}: it is not overwritten")


@contextmanager
def new_folder(out: Path, *, marker: str, overwrite: bool = False) -> Iterator[Path]:
    """Give an empty draft folder to fill, and publish it as ``out`` when the block ends without an error.

    What was at ``out`` is moved aside first, deleted last, and put back if the draft cannot take its place.
    """
    check_out(out, marker=marker, overwrite=overwrite)
    draft = out.parent / f".{out.name}.{secrets.token_hex(6)}.tmp"
    try:
        try:
            draft.mkdir(parents=True)
        except OSError as error:
            raise HeadsError(f"cannot write {out}: {error.strerror}") from error
        yield draft
        for path in (*draft.rglob("*"), draft):
            _sync(path)
        check_out(out, marker=marker, overwrite=overwrite)
        _publish(draft, out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_file(path: Path, data: bytes) -> None:
    """Write a file, replacing what is there."""
    draft = path.parent / f".{path.name}.{secrets.token_hex(6)}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(data)
        _sync(draft)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise HeadsError(f"cannot write {path}: {error.strerror}") from error
    _sync(path.parent)


def _publish(draft: Path, out: Path) -> None:
    old = draft.with_suffix(".old")
    replaces = out.exists()
    if replaces:
        out.rename(old)
    try:
        draft.rename(out)
    except OSError as error:
        if replaces:
            old.rename(out)
        raise HeadsError(f"cannot write {out}: {error.strerror}") from error
    _sync(out.parent)
    if replaces:
        shutil.rmtree(old)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
