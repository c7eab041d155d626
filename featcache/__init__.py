"""Run frozen text and vision encoders once, cache the embeddings, read them at the speed of memory.

>>> from featcache import open_store
>>> store = open_store("cache")                     # doctest: +SKIP
>>> train = store.arrays("train")                   # doctest: +SKIP
>>> train.features["image"].shape, train.label_a    # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from featcache.errors import (
    FeatcacheError,
    FingerprintMismatch,
    ImageError,
    ManifestError,
    ModelError,
    ShardError,
)

if TYPE_CHECKING:
    from featcache.dataset.loose import read_pictures
    from featcache.dataset.manifest import Manifest
    from featcache.dataset.sample import ImageFile, Sample
    from featcache.encoders.single import ContentEncoder, encode_caption, encode_image, load_encoder
    from featcache.extraction.memory import parse_memory
    from featcache.extraction.pictures import ExtractedPictures, extract_pictures
    from featcache.extraction.results import Progress
    from featcache.pictures.decode import decode_rgb
    from featcache.pictures.views import expand_views
    from featcache.project import Project, load_project
    from featcache.store.arrays import Arrays
    from featcache.store.groups import link_rows, shared_rows
    from featcache.store.opening import open_store
    from featcache.store.selection import Selection
    from featcache.store.store import FeatureStore

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
    "Arrays": "featcache.store.arrays",
    "ContentEncoder": "featcache.encoders.single",
    "ExtractedPictures": "featcache.extraction.pictures",
    "FeatureStore": "featcache.store.store",
    "ImageFile": "featcache.dataset.sample",
    "Manifest": "featcache.dataset.manifest",
    "Progress": "featcache.extraction.results",
    "Project": "featcache.project",
    "Sample": "featcache.dataset.sample",
    "Selection": "featcache.store.selection",
    "decode_rgb": "featcache.pictures.decode",
    "encode_caption": "featcache.encoders.single",
    "encode_image": "featcache.encoders.single",
    "expand_views": "featcache.pictures.views",
    "extract_pictures": "featcache.extraction.pictures",
    "link_rows": "featcache.store.groups",
    "load_encoder": "featcache.encoders.single",
    "load_project": "featcache.project",
    "open_store": "featcache.store.opening",
    "parse_memory": "featcache.extraction.memory",
    "read_pictures": "featcache.dataset.loose",
    "shared_rows": "featcache.store.groups",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import what is asked for: reading a store needs numpy and h5py alone, a worker process even less."""
        if name in _LAZY:
            globals()[name] = found = getattr(import_module(_LAZY[name]), name)
            return found
        own = f"{__name__}.{name}"
        try:
            return import_module(own)
        except ModuleNotFoundError as error:
            if error.name != own:
                raise
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
