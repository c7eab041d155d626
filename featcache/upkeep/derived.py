"""Files that are made of others, and that an extraction makes anew: the index, and what it remembers of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from featcache.cache.folder import Cache
from featcache.cache.index import Index
from featcache.cache.memo import Memo
from featcache.cache.shard import SUFFIX
from featcache.errors import ShardError
from featcache.upkeep.damage import Note, Problem

__all__ = ["find_damaged"]


def find_damaged(cache: Cache, index: Index, *, deep: bool) -> Iterator[Problem | Note]:
    """Yield what is damaged of them; a memo saves time and nothing else, so that this is no problem."""
    path = cache.path / "index.json"
    if path.is_dir():
        what = "a folder is in the place of the index, and no extract can write it"
        yield Problem(path, f"{what}: `featcache repair` moves it aside and makes the index anew")
    elif index.state == "damaged":
        what = "the index was damaged and is not used; nothing is lost"
        yield Problem(path, f"{what}: `featcache repair` or the next extract rebuilds it")
    for path in sorted(cache.path.glob(f"memo/[!.]*{SUFFIX}")):
        name = f"the memo of data set {path.stem!r}"
        if path.is_dir():
            yield Note(path, f"a folder is in the place of {name}: every extract reads all pictures until it is moved")
        elif deep and not _is_usable(path):
            what = f"{name} was damaged, or is of another version, and is not used; nothing is lost"
            yield Note(path, f"{what}: the next extract reads the pictures once more")


def _is_usable(memo: Path) -> bool:
    try:
        Memo.read(memo)
    except ShardError:
        return False
    return True
