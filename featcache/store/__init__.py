"""Reading: aligned arrays of the vectors of a data set's samples. Needs no torch."""

from featcache.store.arrays import Arrays
from featcache.store.opening import open_store
from featcache.store.selection import Selection
from featcache.store.shard_set import ShardSet
from featcache.store.store import FeatureStore

__all__ = ["Arrays", "FeatureStore", "Selection", "ShardSet", "open_store"]
