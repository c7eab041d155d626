"""What the source of a data set lacked, or had damaged, when it was last read, and where that is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from featcache.cache.folder import Cache
from featcache.errors import ShardError
from featcache.files.sealed import check_intact, read_sealed, replace_sealed

__all__ = ["Orphans", "orphans_path", "read_orphans", "scan_folder", "write_orphans"]

FORMAT_VERSION = 1
_MAX_ORPHANS = 1000


@dataclass(frozen=True)
class Orphans:
    """What the manifest named and is no regular file, or is not there, left out on the user's word; and what of the
    source was damaged.

    Attributes
    ----------
    n : int
        How many named files were left out.
    lines : tuple of str
        A line for each of the first thousand.
    n_broken : int
        Parts of the source, such as tars and members of tars, that are damaged or refused.
    broken : tuple of str
        A line for each of the first thousand.
    """

    n: int = 0
    lines: tuple[str, ...] = ()
    n_broken: int = 0
    broken: tuple[str, ...] = ()


def scan_folder(cache: Cache, dataset: str) -> Path:
    """Return the folder of what went wrong while a data set's pictures were read."""
    return cache.path / "failures" / "samples" / dataset


def orphans_path(cache: Cache, dataset: str) -> Path:
    """Return the file of what a data set's source lacked, and of its parts that were damaged or refused."""
    return scan_folder(cache, dataset) / "orphans.json"


def write_orphans(path: Path, lines: Sequence[str], broken: Sequence[str] = (), *, root: Path) -> None:
    """Write what a manifest's reader left out, and what was damaged: a list of no failures, with these beside it."""
    document = {"format_version": FORMAT_VERSION, "unit": "orphans", "failures": []}
    for name, found in (("orphans", lines), ("broken", broken)):
        document |= {f"n_{name}": len(found), name: list(found[:_MAX_ORPHANS])}
    replace_sealed(path, document, root=root)


def read_orphans(path: Path) -> Orphans:
    """Read what was left out and what was damaged; nothing if there is no such file.

    Raises
    ------
    ShardError
        If the file is malformed or was damaged.
    """
    if not path.is_file():
        return Orphans()
    document, is_intact = read_sealed(path)
    n, lines = document.get("n_orphans"), document.get("orphans")
    n_broken, broken = document.get("n_broken", 0), document.get("broken", [])
    is_known = document.get("format_version") == FORMAT_VERSION and isinstance(n_broken, int)
    if not is_known or not isinstance(n, int) or not isinstance(lines, list) or not isinstance(broken, list):
        raise ShardError.damaged(f"{path} is no list of orphans of format version {FORMAT_VERSION}")
    if max(len(lines), len(broken)) > _MAX_ORPHANS:
        raise ShardError.damaged(f"{path} has {max(len(lines), len(broken))} lines, expected at most {_MAX_ORPHANS}")
    check_intact(path, is_intact)
    return Orphans(n, tuple(map(str, lines)), n_broken, tuple(map(str, broken)))
