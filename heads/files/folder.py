"""Files and folders: read in bounds and from regular files alone, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from featcache.files.drafts import draft_beside, find_drafts, find_leftovers, remove_draft, sweep_drafts
from featcache.files.folders import find_waiting, recover_folder
from featcache.files.folders import new_folder as new_whole_folder
from featcache.files.publish import publish_new, replace_file
from featcache.files.regular import check_regular, open_regular
from heads.errors import HeadsError

__all__ = [
    "check_out",
    "check_strangers",
    "file_size",
    "find_unfinished",
    "find_waiting",
    "hash_file",
    "new_file",
    "new_folder",
    "prepare_file",
    "prepare_out",
    "read_file",
    "remove_unfinished",
    "reserve_file",
    "sweep_folder",
    "write_file",
]

Known = Callable[[Path], Collection[str]]
_PIECE = 2**20


def read_file(path: Path, limit: int) -> bytes:
    """Return the bytes of a regular file of at most ``limit`` bytes; its size is looked at before it is read."""
    with _open_bounded(path, limit) as (file, size):
        data = file.read(size + 1)
    if len(data) != size:
        raise HeadsError(f"{path} has another size than a moment ago: it is being written; try again")
    return data


def hash_file(path: Path, limit: int) -> str:
    """Return the sha256 of a regular file of at most ``limit`` bytes, which need not fit into memory."""
    digest = hashlib.sha256()
    with _open_bounded(path, limit) as (file, left):
        while left > 0 and (piece := file.read(min(left, _PIECE))):
            digest.update(piece)
            left -= len(piece)
    return digest.hexdigest()


def file_size(path: Path) -> int:
    """Return the size of a regular file."""
    with _told(path):
        status = path.stat()
        check_regular(status, path)
    return status.st_size


@contextmanager
def _open_bounded(path: Path, limit: int) -> Iterator[tuple[BinaryIO, int]]:
    with _told(path), open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise HeadsError(f"{path} has {size} bytes, expected at most {limit}")
        yield file, size


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        is_none = isinstance(error, FileNotFoundError | NotADirectoryError) or error.errno is None
        why = "is not a file" if is_none else f"cannot be read: {error.strerror}"
        raise HeadsError(f"{path} {why}") from error


def prepare_out(out: Path, *, marker: str, known: Known, overwrite: bool = False) -> None:
    """Undo what a killed command left beside ``out``, and raise if a folder must not be written there."""
    check_out(out, marker=marker, known=known, overwrite=overwrite)  # before anything is removed
    recover_folder(out)
    check_out(out, marker=marker, known=known, overwrite=overwrite)


def check_out(out: Path, *, marker: str, known: Known, overwrite: bool = False) -> None:
    """Raise if a folder must not be written to ``out``.

    Parameters
    ----------
    out : Path
    marker : str
        Name of the file by which a folder of the kind is recognised.
    known : callable
        Returns the relative paths of what belongs to such a folder; those of folders end in ``/``.
    overwrite : bool
        An empty folder, or one of the kind in which nothing else is, may be replaced.
    """
    if not os.path.lexists(out):
        return
    if not overwrite:
        raise HeadsError(_taken(out))
    if out.is_symlink() or not out.is_dir() or (any(out.iterdir()) and not (out / marker).is_file()):
        raise HeadsError(f"{out} is not a folder with a {marker}: it is not overwritten")
    check_strangers(out, known(out))


def check_strangers(folder: Path, known: Collection[str]) -> None:
    """Raise if something lies in a folder that is not known, naming the first; links are not followed.

    Parameters
    ----------
    folder : Path
    known : collection of str
        Relative paths of files, and of folders with a final ``/``. A link counts as a file.
    """
    strangers = []
    for place, subfolders, files in os.walk(folder):
        links = {name for name in subfolders if Path(place, name).is_symlink()}
        subfolders[:] = [name for name in subfolders if name not in links]
        paths = {name: Path(place, name).relative_to(folder).as_posix() for name in (*subfolders, *links, *files)}
        strangers += [paths[name] for name in (*links, *files) if paths[name] not in known]
        strangers += [paths[name] for name in subfolders if paths[name] + "/" not in known]
        subfolders[:] = [name for name in subfolders if paths[name] + "/" in known]
    if strangers:
        raise HeadsError(
            f"{folder} holds {min(strangers)!r:.200}, which is no part of what is to be replaced: it is not "
            "overwritten; move that away, or choose another --out"
        )


@contextmanager
def new_folder(out: Path, *, marker: str, known: Known, overwrite: bool = False) -> Iterator[Path]:
    """Give an empty draft folder to fill, and publish it as ``out`` when the block ends without an error.

    As `featcache.files.folders.new_folder`; what may be replaced is said by `check_out`.
    """

    def check(place: Path) -> None:
        check_out(place, marker=marker, known=known, overwrite=overwrite)

    with new_whole_folder(out, check=check, overwrite=overwrite) as draft:
        try:
            yield draft
        except OSError as error:
            raise HeadsError(f"cannot write {out}: {error.strerror or error}") from error


def prepare_file(path: Path, *, overwrite: bool = True) -> None:
    """Raise if a file must not be written to ``path``; else remove what killed commands left beside it.

    Parameters
    ----------
    path : Path
        A file, or nothing yet; whatever else is there is refused.
    overwrite : bool
        Whether a file that is there may be replaced.
    """
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        what = "a link" if path.is_symlink() else "a folder" if path.is_dir() else "no regular file"
        raise HeadsError(f"cannot write {path}: it is {what}, expected a file or nothing there")
    if not overwrite and os.path.lexists(path):
        raise HeadsError(_taken(path))
    sweep_drafts(path.parent, path.name)


@contextmanager
def reserve_file(path: Path, *, overwrite: bool = False) -> Iterator[None]:
    """Hold the name of a file that takes long to make, against other processes of this machine that would make it.

    Parameters
    ----------
    path : Path
        A file of a folder that is there: who names a folder that is not has mistyped it.
    overwrite : bool
        Whether a file may be replaced, so that nobody need be first.

    Raises
    ------
    HeadsError
        If the file must not be written (`prepare_file`), its folder is not there, or another process is at it.
    """
    if not path.parent.is_dir():
        raise HeadsError(f"cannot write {path}: there is no folder {path.parent}; make it, or correct the name")
    prepare_file(path, overwrite=overwrite)
    draft = draft_beside(path)
    try:
        try:
            draft.touch(exist_ok=False)
            own = draft.lstat().st_ctime, draft
        except OSError as error:
            raise HeadsError(f"cannot write {path}: {error.strerror or error}") from error
        for other in () if overwrite else find_drafts(path.parent, path.name):
            owner = None if other.is_old or (other.changed, other.path) >= own else other.owner
            if owner is not None and owner.is_here and not owner.is_dead:
                raise HeadsError(f"{path} is being written by process {owner.pid}: wait, or choose another --out")
        yield
    finally:
        remove_draft(draft)


def write_file(path: Path, data: bytes) -> None:
    """Write a file, replacing what is there: a link itself, not what it leads to."""
    with new_file(path) as file:
        file.write(data)


@contextmanager
def new_file(path: Path, *, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Give a draft to write to, and publish it as ``path`` when the block ends without an error.

    What is there is replaced, a link itself and not what it leads to; unless ``overwrite`` it is refused, also if it
    came only meanwhile.
    """
    draft = draft_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("xb") as file:
            yield file
        if overwrite:
            replace_file(draft, path)
        elif not publish_new(draft, path):
            raise HeadsError(_taken(path))
    except OSError as error:
        raise HeadsError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        remove_draft(draft)


def _taken(path: Path) -> str:
    return f"{path} exists already: choose another --out, or replace it with --overwrite"


def find_unfinished(folder: Path, names: re.Pattern[str]) -> list[Path]:
    """Return the files of some names that killed commands left unfinished in a folder; none if that is a link."""
    return [] if folder.is_symlink() else [path for path in find_leftovers(folder, names) if not path.is_dir()]


def remove_unfinished(paths: Iterable[Path]) -> None:
    """Remove what `find_unfinished` found, as far as that is possible."""
    for path in paths:
        remove_draft(path)


def sweep_folder(folder: Path, names: re.Pattern[str]) -> None:
    """Remove what killed commands left of some names in a folder, unless that is reached by a link of this name."""
    if not folder.is_symlink():
        sweep_drafts(folder, names)
