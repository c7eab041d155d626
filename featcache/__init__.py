"""Run frozen text and vision encoders once, cache the embeddings, read them at the speed of memory.

>>> from featcache import open_store
>>> store = open_store("cache")                     # doctest: +SKIP
>>> train = store.arrays("train")                   # doctest: +SKIP
>>> train.features["image"].shape, train.label_a    # doctest: +SKIP
"""

from featcache.dataset.manifest import Manifest
from featcache.dataset.sample import ImageFile, Sample
from featcache.encoders.single import encode_caption, encode_image
from featcache.errors import (
    FeatcacheError,
    FingerprintMismatch,
    ImageError,
    ManifestError,
    ModelError,
    ShardError,
)
from featcache.extraction.memory import parse_memory
from featcache.pictures.views import expand_views
from featcache.project import Project, load_project
from featcache.store.arrays import Arrays
from featcache.store.groups import link_rows, shared_rows
from featcache.store.opening import open_store
from featcache.store.selection import Selection
from featcache.store.store import FeatureStore

__all__ = [
    "Arrays",
    "FeatcacheError",
    "FeatureStore",
    "FingerprintMismatch",
    "ImageError",
    "ImageFile",
    "Manifest",
    "ManifestError",
    "ModelError",
    "Project",
    "Sample",
    "Selection",
    "ShardError",
    "encode_caption",
    "encode_image",
    "expand_views",
    "link_rows",
    "load_project",
    "open_store",
    "parse_memory",
    "shared_rows",
]

__version__ = "0.1.0"
