"""By which rules a cache's pictures become RGB: the identities of its producers say it, and nothing else has to."""

from __future__ import annotations

from collections.abc import Mapping

from featcache.cache.folder import Cache
from featcache.pictures.decode_rules import DECODE_RULES

__all__ = ["cache_rules"]


def cache_rules(cache: Cache) -> int:
    """Return the rules that a cache goes on by: those of the vectors of pictures that it has, the earliest of several.

    A cache without any begins with the latest.

    Raises
    ------
    ShardError
        If a producer's document is damaged.
    """
    on_disk = Cache(cache.path, cache.defaults)  # the extraction's own is to find those that are added
    documents = (producer.identity.get("decode") for producer in on_disk.producers.values())
    rules = [document.get("rules") for document in documents if isinstance(document, Mapping)]
    return min((each for each in rules if isinstance(each, int)), default=DECODE_RULES)
