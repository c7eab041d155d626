"""Folders that are whole or absent: filled beside their place, synced, and then put there at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from featcache.errors import FeatcacheError
from featcache.files.drafts import draft_beside, find_drafts, remove_draft, sweep_drafts
from featcache.files.exchange import exchange_names
from featcache.files.sync import sync

__all__ = ["find_waiting", "new_folder", "recover_folder"]


@contextmanager
def new_folder(out: Path, *, check: Callable[[Path], None], overwrite: bool = True) -> Iterator[Path]:
    """Give an empty draft folder to fill, and put it in the place of ``out`` when the block ends without an error.

    What was at ``out`` is exchanged with it and then removed. Where two names cannot be exchanged it waits under a
    name of its own meanwhile, and `recover_folder` puts it back if this process is killed before the draft is there.

    Parameters
    ----------
    out : Path
        Where the folder is to be.
    check : callable
        Called with ``out``, before anything is removed, before the block and after it; raises if what is there must
        not be replaced.
    overwrite : bool
        Whether anything but an empty folder may be: not even what comes after the last check.

    Raises
    ------
    FeatcacheError
        If the draft cannot be made, or cannot take its place.
    """
    if out.name in ("", ".."):
        raise FeatcacheError(f"cannot write {str(out)!r}: expected a path that ends in the name of a folder")
    check(out)  # before anything is removed
    recover_folder(out)
    check(out)
    draft = draft_beside(out)
    try:
        with _told(out):
            draft.mkdir(parents=True)
        yield draft
        with _told(out):
            for path in (*draft.rglob("*"), draft):
                sync(path)
        check(out)
        with _told(out):
            _put(draft, out, overwrite=overwrite)
    finally:
        remove_draft(draft)


def recover_folder(out: Path) -> None:
    """Undo what commands that were killed left beside ``out``: what was there is put back, drafts are removed."""
    waiting = find_waiting(out)
    if waiting is not None:
        with _told(out):
            waiting.rename(out)
            sync(out.parent)
    sweep_drafts(out.parent, out.name)


def find_waiting(out: Path) -> Path | None:
    """Return what was at ``out`` when a command was killed that was to replace it; None if there is no such thing."""
    if os.path.lexists(out):
        return None
    waiting = [d for d in find_drafts(out.parent, out.name) if d.is_old and d.path.is_dir() and d.is_abandoned]
    return max(waiting, key=lambda draft: draft.changed).path if waiting else None


def _put(draft: Path, out: Path, *, overwrite: bool) -> None:
    if not overwrite or not os.path.lexists(out):
        draft.rename(out)
    elif not exchange_names(draft, out):
        _put_aside(draft, out)
    sync(out.parent)


def _put_aside(draft: Path, out: Path) -> None:
    old = draft.with_suffix(".old")
    try:
        out.rename(old)
        draft.rename(out)
    except BaseException:
        if os.path.lexists(old) and not os.path.lexists(out):
            old.rename(out)
        raise
    sync(out.parent)
    remove_draft(old)


@contextmanager
def _told(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FeatcacheError(f"cannot write {out}: {error.strerror or error}") from error
