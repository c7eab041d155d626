"""From options to encoders: models, outputs, dtypes, and the cache that they are for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from featcache.cache import Cache
    from featcache.encoders.base import EncoderSpec
    from featcache.manifest import Manifest

__all__ = ["Dtypes", "Models", "check_name", "open_target"]


@dataclass(frozen=True)
class Dtypes:
    """Precision of the forward and on disk; ``auto`` is what the cache says."""

    compute: str
    storage: str


@dataclass(frozen=True)
class Models:
    """What was asked for, by modality; None where nothing was."""

    text: str | None
    image: str | None
    text_outputs: str | None
    image_outputs: str | None
    template: str | None

    def specs(self, manifest: Manifest, cache: Cache, dtypes: Dtypes) -> list[EncoderSpec]:
        """Build the encoders that this data set has a use for."""
        from featcache.encoders.text import TextSpec
        from featcache.encoders.vision import ImageSpec
        from featcache.errors import FeatcacheError
        from featcache.models import DEFAULT_IMAGE_MODEL, DEFAULT_TEXT_MODEL, resolve_model

        defaults = cache.defaults
        precision = {
            "compute_dtype": defaults.compute_dtype if dtypes.compute == "auto" else dtypes.compute,
            "storage_dtype": defaults.storage_dtype if dtypes.storage == "auto" else dtypes.storage,
        }
        specs: list[EncoderSpec] = []
        has_text = any(s.caption for s in manifest.samples)
        has_image = any(s.image for s in manifest.samples)
        if self.text != "none" and (has_text or self.text):
            folder = resolve_model(self.text or DEFAULT_TEXT_MODEL)
            template = self.template or "{caption}"
            specs.append(TextSpec(folder, _names(self.text_outputs or "cls"), template, **precision))
        if self.image != "none" and (has_image or self.image):
            folder = resolve_model(self.image or DEFAULT_IMAGE_MODEL)
            specs.append(ImageSpec(folder, _names(self.image_outputs or "pooled"), **precision))
        if not specs:
            raise FeatcacheError("nothing to do: no encoder is left for what this data set has")
        return specs


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def open_target(path: Path, device: str, dtypes: Dtypes, *, dry_run: bool) -> Cache:
    """Open the cache to extract into; one that is not there is made, or only imagined for a dry run."""
    from featcache.cache import Cache, Defaults
    from featcache.encoders.loading import preferred_dtype

    compute = preferred_dtype(device) if dtypes.compute == "auto" else dtypes.compute
    defaults = Defaults(compute, "float16" if dtypes.storage == "auto" else dtypes.storage)
    if not dry_run:
        return Cache.open_or_create(path, defaults)
    is_new = not path.exists() or (path.is_dir() and not any(path.iterdir()))
    return Cache(path, defaults) if is_new else Cache.open(path)


def check_name(cache: Cache, manifest: Manifest, name: str | None) -> None:
    """Raise if a data set of another origin would be replaced without having been named."""
    from featcache.errors import FeatcacheError
    from featcache.samples import read_samples

    if name is None and manifest.name in cache.datasets:
        origin = read_samples(cache.sample_path(manifest.name)).origin
        if origin != manifest.origin:
            raise FeatcacheError(
                f"cache {str(cache.path)!r} has a data set {manifest.name!r} already, from {origin!r}; "
                f"--name {manifest.name} replaces its sample table, another --name adds to it"
            )
