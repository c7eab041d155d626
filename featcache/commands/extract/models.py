"""From options to encoders: models, outputs, dtypes, and the cache that they are for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featcache.cache.folder import Cache
    from featcache.dataset.manifest import Manifest
    from featcache.encoders.base import EncoderSpec
    from featcache.encoders.model_folder import ModelFolder
    from featcache.encoders.towers import VisionTower

__all__ = ["Dtypes", "Models", "Pictures", "check_name", "find_device", "open_target"]


@dataclass(frozen=True)
class Dtypes:
    """Precision of the forward and on disk; ``auto`` is what the cache says."""

    compute: str
    storage: str

    def resolve(self, cache: Cache) -> dict[str, str]:
        """Return both as encoders take them."""
        defaults = cache.defaults
        return {
            "compute_dtype": defaults.compute_dtype if self.compute == "auto" else self.compute,
            "storage_dtype": defaults.storage_dtype if self.storage == "auto" else self.storage,
        }


@dataclass(frozen=True)
class Pictures:
    """What is done to pictures before an image encoder sees them."""

    resize: str = "pillow"
    square_crop: bool = False
    decode: str = "exact"
    image_size: int | None = None
    fit: str | None = None


@dataclass(frozen=True)
class Models:
    """What was asked for, by modality; None where nothing was.

    Attributes
    ----------
    text, image : str or None
        Hub id, folder, or ``none``.
    text_outputs, image_outputs, spectral_outputs : str or None
        Comma-separated names.
    template : str or None
        Text to encode, with ``{caption}``; None: as each encoder has it by itself.
    spectral, clip_text : bool
        Whether spectral features, and those of the image model's text tower, are wanted too.
    pictures : Pictures
        How pictures are prepared.
    variant : str or None
        Which of a model's weights are meant, e.g. ``fp16``.
    """

    text: str | None
    image: str | None
    text_outputs: str | None
    image_outputs: str | None
    template: str | None
    spectral_outputs: str | None = None
    spectral: bool = False
    clip_text: bool = False
    pictures: Pictures = Pictures()
    variant: str | None = None

    def specs(self, manifest: Manifest, cache: Cache, dtypes: Dtypes) -> list[EncoderSpec]:
        """Build the encoders that this data set has a use for.

        Raises
        ------
        FeatcacheError
            If there is none, or one cannot be built as it was asked for.
        """
        from featcache.errors import FeatcacheError
        from featcache.extraction.decoding import cache_rules

        has_text = bool(manifest.samples.caption.is_filled.any())
        has_image = bool(manifest.samples.has_image.any())
        precision = dtypes.resolve(cache)
        specs: list[EncoderSpec] = []
        if has_text or self.text:
            specs += self._of_captions(precision)
        if has_image or self.image:
            specs += self._of_pictures(precision, cache_rules(cache))
        if self.clip_text:
            specs.append(self._clip_text(precision))
        if not specs:
            raise FeatcacheError("nothing to do: no encoder is left for what this data set has")
        return specs

    def _of_captions(self, precision: dict[str, str]) -> list[EncoderSpec]:
        from featcache.encoders.model_folder import DEFAULT_TEXT_MODEL, resolve_model
        from featcache.encoders.text import TextSpec

        if self.text == "none":
            return []
        folder = resolve_model(self.text or DEFAULT_TEXT_MODEL, variant=self.variant)
        how: dict[str, Any] = {**precision, "template": self.template or ""}
        return [TextSpec(folder, _names(self.text_outputs or "cls"), **how)]

    def _of_pictures(self, precision: dict[str, str], rules: int) -> list[EncoderSpec]:
        from featcache.encoders.spectral.encoder import SPECTRAL_OUTPUTS, SpectralSpec
        from featcache.encoders.towers import VisionTower
        from featcache.encoders.vision import ImageSpec

        specs: list[EncoderSpec] = []
        if self.image != "none":
            how: dict[str, Any] = {**precision, **vars(self.pictures)}
            folder = self._image_folder
            wanted = self.image_outputs or _default_output(VisionTower(folder), folder)
            specs.append(ImageSpec(folder, _names(wanted), decode_rules=rules, **how))
        if self.spectral:
            outputs = _names(self.spectral_outputs) if self.spectral_outputs else SPECTRAL_OUTPUTS
            specs.append(SpectralSpec(outputs, precision["storage_dtype"], rules))
        return specs

    def _clip_text(self, precision: dict[str, str]) -> EncoderSpec:
        from featcache.encoders.clip_text import ClipTextSpec
        from featcache.errors import FeatcacheError

        if self.image == "none":
            raise FeatcacheError("--clip-text takes the text tower of the image model, and --image-model is none")
        how: dict[str, Any] = {**precision, "template": self.template or ""}
        return ClipTextSpec(self._image_folder, **how)

    @cached_property
    def _image_folder(self) -> ModelFolder:
        from featcache.encoders.model_folder import DEFAULT_IMAGE_MODEL, resolve_model

        return resolve_model(self.image or DEFAULT_IMAGE_MODEL, variant=self.variant)


def _default_output(tower: VisionTower, folder: ModelFolder) -> str:
    """Return the output that is meant where none is named; ModelError if the model's file has no weights for it."""
    from featcache.errors import ModelError
    from featcache.identity.outputs import abbreviate

    name = tower.default_output
    if name in tower.untrained:
        raise ModelError(
            f"model {folder.name!r} ({folder.model_type}) has no output {name!r}, which is taken where none is named: "
            f"{tower.untrained[name]}; name some of its own with --image-outputs: {abbreviate(tower.outputs)}"
        )
    return name


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def find_device(name: str) -> str:
    """Turn ``auto`` into ``cuda`` or ``cpu``; ModelError if CUDA is asked for and not there.

    Who says ``cpu`` is not made to wait for torch, which spectral features do without.
    """
    if name == "cpu":
        return name
    from featcache.encoders.loading import resolve_device

    return resolve_device("cuda" if name == "cuda" else "auto")


def _preferred_dtype(device: str) -> str:
    if device == "cpu":
        return "float32"
    from featcache.encoders.loading import preferred_dtype

    return preferred_dtype(device)


def open_target(path: Path, device: str, dtypes: Dtypes) -> Cache:
    """Open the cache to extract into; one that is not there is only imagined, for the extraction to make it."""
    from featcache.cache.folder import Cache, Defaults

    compute = _preferred_dtype(device) if dtypes.compute == "auto" else dtypes.compute
    defaults = Defaults(compute, "float16" if dtypes.storage == "auto" else dtypes.storage)
    return Cache.open_or_imagine(path, defaults)


def check_name(cache: Cache, manifest: Manifest, name: str | None) -> None:
    """Raise if a data set of another origin would be replaced without having been named."""
    from featcache.cache.samples import read_samples
    from featcache.errors import FeatcacheError

    if name is None and manifest.name in cache.datasets:
        origin = read_samples(cache.sample_path(manifest.name)).origin
        if origin != manifest.origin:
            raise FeatcacheError(
                f"cache {str(cache.path)!r} has a data set {manifest.name!r} already, from {origin!r}; "
                f"--name {manifest.name} replaces its sample table, another --name adds to it"
            )
