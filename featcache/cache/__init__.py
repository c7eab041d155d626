"""The folder on disk: one module a kind of file."""

from featcache.cache.folder import Cache, Defaults
from featcache.cache.samples import SampleTable, read_samples
from featcache.cache.shard import Shard, ShardHeader, read_shard

__all__ = ["Cache", "Defaults", "SampleTable", "Shard", "ShardHeader", "read_samples", "read_shard"]
