"""Who may be in a cache together: any number of extractions, or `gc --delete` alone.

A lease is a claim with a heartbeat in ``claims/leases``, under a name of its own for each extraction and under one
name for whoever is to be alone. Everybody first takes a lease and then looks for others: of two that come at the same
time at least one sees the other. How long somebody has been silent is told by the clock that stamps the files alone,
by which the looker's own lease is the present.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from featcache.cache.layout import CLAIMS, is_claim, walk_cache
from featcache.errors import FeatcacheError
from featcache.files.claims import SUFFIX, Claims, forget_claim, is_alive, read_owner
from featcache.files.owner import Owner

__all__ = ["SILENCE_SECONDS", "shared_lease", "sole_lease"]

SILENCE_SECONDS = 600.0
"""After which an owner of whom nothing is known is taken for dead. A heart beats every few seconds."""
_MINUTES = round(SILENCE_SECONDS / 60)
_SOLE = "gc"
_BEAT_TIMEOUT = 60.0


@contextmanager
def shared_lease(root: Path) -> Iterator[None]:
    """Be one of any number of extractions that are at work on the cache ``root``.

    Raises
    ------
    FeatcacheError
        If somebody is deleting from the cache.
    """
    with _lease(root, "extract") as (_, own):
        for path in sorted(_folder(root).glob(f"{_SOLE}*{SUFFIX}")):
            if _is_of_gc(path) and _is_there(path, own):
                raise FeatcacheError(
                    f"`featcache gc --delete` is at work on cache {str(root)!r} ({_whose(path)}): wait until it has "
                    f"ended, or for {_MINUTES} minutes if it died on another machine"
                )
        yield


@contextmanager
def sole_lease(root: Path) -> Iterator[None]:
    """Be alone at work on the cache ``root``; the dead keep nobody waiting.

    Raises
    ------
    FeatcacheError
        If somebody else is at work on it, or may be.
    """
    with _lease(root, _SOLE) as (leases, own):
        sole = _path(root, _SOLE)
        if not own.is_file():
            raise FeatcacheError(f"folder {own.parent} cannot be written: nobody would know that something is deleted")
        if not _is_there(sole, own):
            forget_claim(sole, root=root)
        if not leases.take(_SOLE) or not sole.is_file():
            raise FeatcacheError(
                f"another `featcache gc --delete` is at work on cache {str(root)!r} ({_whose(sole)}): wait until it "
                f"has ended, or for {_MINUTES} minutes if it died on another machine"
            )
        for path, name in walk_cache(root):
            if is_claim(name) and not _is_of_gc(path) and _is_there(path, own):
                raise FeatcacheError(
                    f"an extraction is at work on cache {str(root)!r} ({_whose(path)}): wait until it has ended, "
                    f"or for {_MINUTES} minutes if it died on another machine"
                )
        yield


@contextmanager
def _lease(root: Path, kind: str) -> Iterator[tuple[Claims, Path]]:
    """Hold a lease under a name of its own; gives the leases of this process, and where that one is."""
    owner = Owner.current()
    name = f"{kind}-{owner.host}-{owner.pid}-{owner.process}{secrets.token_hex(2)}"
    with Claims(_folder(root), root=root, timeout=_BEAT_TIMEOUT) as leases:
        # Where no lease can be had nothing can be written either: that will be said of something that matters more.
        leases.take(name)
        yield leases, _path(root, name)


def _folder(root: Path) -> Path:
    return root / CLAIMS / "leases"


def _path(root: Path, name: str) -> Path:
    return _folder(root) / f"{name}{SUFFIX}"


def _is_of_gc(path: Path) -> bool:
    """Whether it is of somebody who wants to be alone: of them the one with the one name is."""
    return path.parent.name == "leases" and path.stem.partition("-")[0] == _SOLE


def _is_there(path: Path, own: Path) -> bool:
    try:
        return is_alive(path, now=own.lstat().st_mtime, timeout=SILENCE_SECONDS)
    except OSError:
        return False


def _whose(path: Path) -> str:
    owner = read_owner(path)
    who = "nobody knows whose" if owner is None else f"process {owner.pid} on {owner.host}"
    return f"{who}, known by {path}"
