"""Hugging Face's ImageFolder: tables called metadata in a folder, or in its folders of splits, beside the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from featcache.dataset.readers.cells import quoted, quoted_path
from featcache.dataset.readers.left_out import LeftOut
from featcache.dataset.readers.parquet import read_parquet
from featcache.dataset.readers.reading import TODAY, Reading
from featcache.dataset.readers.table import Table
from featcache.dataset.readers.table_set import TablePart, join_tables
from featcache.dataset.readers.text_files import read_csv, read_jsonl
from featcache.dataset.readers.tree import is_metadata, read_tree
from featcache.dataset.sample_list import SampleList
from featcache.errors import ManifestError

__all__ = ["find_metadata", "leave_unnamed", "read_image_folder"]

_UNNAMED = "no row of the metadata names them"


def find_metadata(folder: Path, reading: Reading = TODAY) -> tuple[Path, ...]:
    """List the tables in the folders of splits that a folder has; none if it is another kind of folder.

    Raises
    ------
    ManifestError
        A folder of a split holds two of them, or cannot be read.
    """
    if not folder.is_dir():
        return ()
    try:
        splits = sorted(path for path in folder.iterdir() if reading.split_of(path.name) and path.is_dir())
        found = [
            sorted(file for file in split.iterdir() if is_metadata(file.name) and file.is_file()) for split in splits
        ]
    except OSError as error:
        raise ManifestError(f"folder {quoted_path(folder)} cannot be read: {error}") from error
    if several := next((files for files in found if len(files) > 1), None):
        names = " and ".join(quoted(file.name) for file in several)
        raise ManifestError(f"folder {quoted_path(several[0].parent)} holds {names}: leave one of them there")
    return tuple(file for files in found for file in files)


def read_image_folder(files: Sequence[Path], folder: Path, *, reading: Reading) -> Table:
    """Join the tables of splits to one; the names of pictures are relative to each one's folder.

    Raises
    ------
    ManifestError
        A table cannot be read.
    """
    parts = []
    for file in files:
        table = _READERS[file.suffix.lower()](file)
        parts.append(TablePart(table, file.relative_to(folder).as_posix(), len(table.load([0])[0])))
    return join_tables(parts, str(folder), reading)


def leave_unnamed(folder: Path, samples: SampleList, *, is_early: bool) -> tuple[LeftOut, ...]:
    """Find the pictures below a folder that none of the samples of its tables has."""
    tree = read_tree(folder, is_early=is_early)
    named = {samples.path[row] for row in range(len(samples))}
    unnamed = tuple(name for name in tree.pictures if f"{folder}/{name}" not in named)
    left = tuple(
        LeftOut(each.reason, tuple(name for name in each.names if f"{folder}/{name}" not in named), each.root)
        for each in (LeftOut(_UNNAMED, unnamed, str(folder)), *tree.left_out)
    )
    return tuple(each for each in left if each.names)


def _read_csv(path: Path) -> Table:
    return read_csv(path, delimiter=",")


_READERS = {".csv": _read_csv, ".jsonl": read_jsonl, ".parquet": read_parquet}
