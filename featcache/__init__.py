"""Run frozen text and vision encoders once, cache the embeddings, read them at the speed of memory.

>>> from featcache import open_store
>>> store = open_store("cache")                     # doctest: +SKIP
>>> train = store.arrays("train")                   # doctest: +SKIP
>>> train.features["image"].shape, train.label_a    # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from featcache.dataset.loose import read_pictures
from featcache.dataset.manifest import Manifest
from featcache.dataset.sample import ImageFile, Sample
from featcache.encoders.single import ContentEncoder, encode_caption, encode_image, load_encoder
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

if TYPE_CHECKING:
    from featcache.extraction.pictures import ExtractedPictures, extract_pictures
    from featcache.extraction.results import Progress
    from featcache.pictures.decode import decode_rgb

__all__ = [
    "Arrays",
    "ContentEncoder",
    "ExtractedPictures",
    "FeatcacheError",
    "FeatureStore",
    "FingerprintMismatch",
    "ImageError",
    "ImageFile",
    "Manifest",
    "ManifestError",
    "ModelError",
    "Progress",
    "Project",
    "Sample",
    "Selection",
    "ShardError",
    "decode_rgb",
    "encode_caption",
    "encode_image",
    "expand_views",
    "extract_pictures",
    "link_rows",
    "load_encoder",
    "load_project",
    "open_store",
    "parse_memory",
    "read_pictures",
    "shared_rows",
]

__version__ = "0.1.0"

_LAZY = {
    "ExtractedPictures": "featcache.extraction.pictures",
    "Progress": "featcache.extraction.results",
    "decode_rgb": "featcache.pictures.decode",
    "extract_pictures": "featcache.extraction.pictures",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import what only those need who encode or decode: reading a store needs numpy and h5py alone."""
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_LAZY[name]), name)
