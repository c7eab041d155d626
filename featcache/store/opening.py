"""Opening a cache for reading: one of its data sets, with its shards checked or not."""

from __future__ import annotations

from pathlib import Path

from featcache.cache.folder import Cache
from featcache.cache.samples import read_samples
from featcache.errors import FeatcacheError, did_you_mean
from featcache.store.soundness import CheckProgress, Soundness
from featcache.store.store import FeatureStore

__all__ = ["open_store"]


def open_store(
    path: str | Path,
    *,
    dataset: str | None = None,
    check: bool = False,
    remember: bool = True,
    progress: CheckProgress | None = None,
) -> FeatureStore:
    """Open a cache for reading.

    Parameters
    ----------
    path : path
        The folder of the cache.
    dataset : str
        Which of its data sets; may be left out where there is one only.
    check : bool
        Read through the shards of a selection, checking all their digests, before its rows are first looked up: once,
        as fast as SHA-256 goes, which is remembered in the cache until a file looks different. Damage is then refused
        (`ShardError`) instead of read. By default nothing is read but what is asked for, and of damaged vectors only
        those are noticed whose file has another size or head: `featcache verify --deep` finds the others.
    remember : bool
        Whether what a check found is written into the cache: not into one that only somebody else's file names.
    progress : callable
        Called with (bytes checked, bytes to check) while that lasts.

    Raises
    ------
    FeatcacheError
        If the folder is no cache, or the data set is not there or not clear.
    ShardError
        If a file of the cache is damaged.
    """
    cache = Cache.open(path)
    names = cache.datasets
    if dataset is None and len(names) == 1:
        dataset = names[0]
    if dataset is None or dataset not in names:
        asked = "which data set is meant" if dataset is None else f"no data set {dataset!r}"
        near = "" if dataset is None else did_you_mean(dataset, names)
        raise FeatcacheError(
            f"cache {str(path)!r}: {asked}; it has: {', '.join(names) or 'none yet'} (option --dataset){near}"
        )
    soundness = Soundness(cache.path, remember=remember, progress=progress) if check else None
    return FeatureStore(cache, read_samples(cache.sample_path(dataset)), soundness=soundness)
