"""What the configuration of a vision model says of its tower: how it is built, what it puts out, how wide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from featcache.encoders.first_tokens import n_blocks
from featcache.encoders.model_folder import ModelFolder
from featcache.errors import ModelError
from featcache.identity.outputs import layer_name

__all__ = ["IMAGE_OUTPUTS", "PROJECTION", "VisionTower"]

IMAGE_OUTPUTS = ("pooled", "cls", "projected", "mean")
"""Names besides ``layers:k``."""
PROJECTION = "visual_projection."
"""Prefix of the parameters of the projection into the space shared with text."""


@dataclass(frozen=True)
class _Architecture:
    model_class: str
    has_class_token: bool = True
    pooler: str | None = None
    """Prefix of the pooling layer's parameters, which a checkpoint may lack; None: pooling has none of its own."""
    any_size: bool = False
    """Whether the model interpolates its position embeddings to other picture sizes than its own."""
    projecting_class: str | None = None
    n_registers: int = 0
    """How many register tokens there are if the configuration does not say."""


_CLIP = _Architecture("CLIPVisionModel", projecting_class="CLIPVisionModelWithProjection")
_SIGLIP = _Architecture("SiglipVisionModel", has_class_token=False)
_ARCHITECTURES = {
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "vit": _Architecture("ViTModel", pooler="pooler."),
    "dinov2": _Architecture("Dinov2Model", any_size=True),
    "dinov2_with_registers": _Architecture("Dinov2WithRegistersModel", any_size=True, n_registers=4),
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
}
# What the configuration classes of all these mean by a field that is not there.
_DEFAULTS = {"hidden_size": 768, "num_hidden_layers": 12, "projection_dim": 512, "vision_use_head": True}


@dataclass(frozen=True)
class VisionTower:
    """The vision tower of a checkpoint, before any weight is read.

    Parameters
    ----------
    folder : ModelFolder
        A CLIP (whole or vision tower), ViT, DINOv2 or SigLIP model.

    Raises
    ------
    ModelError
        If the folder holds another model.
    """

    folder: ModelFolder

    def __post_init__(self) -> None:
        if self.folder.model_type not in _ARCHITECTURES:
            raise ModelError(
                f"model {self.folder.name!r} has type {self.folder.model_type!r}, expected one of "
                f"{', '.join(sorted(_ARCHITECTURES))}"
            )

    @property
    def architecture(self) -> _Architecture:
        """How transformers builds and pools this type of model."""
        return _ARCHITECTURES[self.folder.model_type]

    @cached_property
    def _config(self) -> Mapping[str, Any]:
        nested = self.folder.config.get("vision_config")
        return _DEFAULTS | (nested if isinstance(nested, dict) else self.folder.config)

    def _size(self, name: str, config: Mapping[str, Any]) -> int:
        value = config.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 20:
            raise ModelError(f"model {self.folder.name!r}: config.json has {name} {value!r}, expected a whole number")
        return value

    @property
    def hidden_size(self) -> int:
        """Columns of a token."""
        return self._size("hidden_size", self._config)

    @property
    def projection_dim(self) -> int:
        """Columns after the projection into the space shared with text, where there is one."""
        # A whole CLIP projects to the width stated beside its towers, whatever is written in them.
        is_whole = "vision_config" in self.folder.config
        return self._size("projection_dim", _DEFAULTS | self.folder.config if is_whole else self._config)

    @property
    def n_blocks(self) -> int:
        """How many blocks follow each other."""
        return n_blocks(self._config)

    @property
    def n_prefix(self) -> int:
        """How many tokens come before those of the patches: class token and registers."""
        registers = self._config.get("num_register_tokens", self.architecture.n_registers)
        return int(self.architecture.has_class_token) + (registers if isinstance(registers, int) else 0)

    @property
    def image_size(self) -> int | None:
        """Side of the pictures that it takes; None if any size will do, or the configuration does not say."""
        size = self._config.get("image_size")
        return size if isinstance(size, int) and not self.architecture.any_size else None

    @cached_property
    def untrained(self) -> Mapping[str, str]:
        """Outputs of this architecture of which the checkpoint has no weights, and which those are."""
        found = {}
        pooler, projecting = self.architecture.pooler, self.architecture.projecting_class
        if pooler and not self.folder.may_have(pooler):
            found["pooled"] = "its pooling layer has no weights"
        if projecting and not self.folder.may_have(PROJECTION):
            found["projected"] = "it has no weights of a projection"
        return found

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Names of what it can put out, as far as its configuration and the names of its weights tell."""
        lacks = set(self.untrained) | (set() if self._config["vision_use_head"] else {"pooled"})
        lacks |= set() if self.architecture.projecting_class else {"projected"}
        lacks |= set() if self.architecture.has_class_token else {"cls"}
        layers = range(1, self.n_blocks + 1) if self.architecture.has_class_token else ()
        return (*(name for name in IMAGE_OUTPUTS if name not in lacks), *map(layer_name, layers))

    def width(self, output: str) -> int:
        """Return how many columns an output has."""
        return self.projection_dim if output == "projected" else self.hidden_size
