"""What the configuration of a vision model says of its tower: how it is built, what it puts out, how wide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from featcache.encoders import open_clip, timm_files
from featcache.encoders.blocks import n_blocks
from featcache.encoders.clip_config import check_said_once
from featcache.encoders.model_folder import ModelFolder
from featcache.errors import ModelError
from featcache.identity.outputs import CLASS_TOKENS, PATCH_MEANS, layer_name

__all__ = ["IMAGE_OUTPUTS", "PROJECTION", "VisionTower"]

IMAGE_OUTPUTS = ("pooled", "cls", "projected", "mean")
"""Names besides ``layers:k`` and ``layers_mean:k``."""
PROJECTION = "visual_projection."
"""Prefix of the parameters of the projection into the space shared with text."""


@dataclass(frozen=True)
class _Foreign:
    """How files are read that another library than transformers wrote."""

    config: Callable[[ModelFolder], Mapping[str, Any]]
    """What they say of the tower, in transformers' words."""
    pixels: Callable[[ModelFolder], dict[str, Any]]
    """What they say of the preprocessing, as `Preprocessor` takes it."""
    load: Callable[[ModelFolder, str], Any]
    """Makes the frozen model, of the named class where transformers has one for it."""


@dataclass(frozen=True)
class _Architecture:
    model_class: str
    has_class_token: bool = True
    class_token_field: str | None = None
    """Field of the configuration that says whether there is a class token, where that differs from model to model."""
    tokens_field: str | None = None
    """Field of the configuration that says whether it has tokens at all; None: it has."""
    pooler: str | None = None
    """Prefix of the pooling layer's parameters, which a checkpoint may lack; None: pooling has none of its own."""
    pooler_field: str | None = None
    """Field of the configuration that says whether the pooling layer has parameters; None: it always has."""
    head_field: str | None = None
    """Field of the configuration that says whether there is a pooled output at all; None: there always is."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What the model class has to be told besides its configuration."""
    sizes: Literal["fixed", "interpolated", "any"] = "interpolated"
    """Which pictures it takes: of its own size only; others if it is told to interpolate its positions; any."""
    projecting_class: str | None = None
    projection: str = PROJECTION
    """Prefix of the parameters of the projection, as the files name them."""
    n_registers: int = 0
    """How many tokens there are between class token and patches if the configuration does not say."""
    takes_patches: bool = False
    """Whether it takes patches, a mask and the shape of each picture, instead of pictures of one size."""
    kept_in_float32: tuple[str, ...] = ()
    """Modules whose weights decide in which dtype something else is computed, too."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """What its configuration class means by a field that is not there, where that differs from most."""
    foreign: _Foreign | None = None
    """How its files are read; None: transformers does."""


_CLIP = _Architecture(
    "CLIPVisionModel", projecting_class="CLIPVisionModelWithProjection", defaults={"patch_size": 32}
)  # fmt: skip
_METACLIP = _Architecture(
    "MetaClip2VisionModel", projecting_class="MetaClip2VisionModelWithProjection", defaults={"patch_size": 32}
)  # fmt: skip
_SIGLIP = _Architecture("SiglipVisionModel", has_class_token=False, head_field="vision_use_head")
_NAFLEX = _Architecture(
    "Siglip2VisionModel", has_class_token=False, pooler="head.", head_field="vision_use_head", takes_patches=True
)
_AIMV2 = _Architecture(
    "Aimv2VisionModel", has_class_token=False, pooler="head.", head_field="use_head", sizes="fixed",
    defaults={"hidden_size": 1024, "num_hidden_layers": 24, "patch_size": 14},
)  # fmt: skip
_AIMV2_WHOLE = replace(_AIMV2, arguments={"key_mapping": {r"^vision_model\.": ""}})
_DINOV3 = _Architecture(
    "DINOv3ViTModel", sizes="any", kept_in_float32=("patch_embeddings",), defaults={"hidden_size": 384}
)  # fmt: skip
_BEIT = _Architecture("BeitModel", pooler="pooler.", pooler_field="use_mean_pooling", sizes="fixed")
_DATA2VEC = _Architecture(
    "Data2VecVisionModel", pooler="pooler.", pooler_field="use_mean_pooling", sizes="fixed",
    arguments={"add_pooling_layer": True},
)  # fmt: skip
_OPEN_CLIP = replace(
    _CLIP, projection="visual.proj",
    foreign=_Foreign(open_clip.clip_config, open_clip.pixel_options, open_clip.load),
)  # fmt: skip
_TIMM = _Architecture(
    "timm", class_token_field="has_class_token", tokens_field="has_tokens", sizes="fixed",
    foreign=_Foreign(timm_files.describe, timm_files.pixel_options, timm_files.load),
)  # fmt: skip
_ARCHITECTURES = {
    "aimv2": _AIMV2_WHOLE,
    "aimv2_vision_model": _AIMV2,
    "beit": _BEIT,
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "data2vec-vision": _DATA2VEC,
    "deit": _Architecture("DeiTModel", pooler="pooler.", n_registers=1),
    "dinov2": _Architecture("Dinov2Model", sizes="any", defaults={"patch_size": 14}),
    "dinov2_with_registers": _Architecture("Dinov2WithRegistersModel", sizes="any", n_registers=4),
    "dinov3_vit": _DINOV3,
    "metaclip_2": _METACLIP,
    "metaclip_2_vision_model": _METACLIP,
    "open_clip": _OPEN_CLIP,
    "siglip": _SIGLIP,
    "siglip2": _NAFLEX,
    "siglip2_vision_model": _NAFLEX,
    "siglip_vision_model": _SIGLIP,
    "timm_wrapper": _TIMM,
    "vit": _Architecture("ViTModel", pooler="pooler."),
}
_REFUSED = {
    "dinov3_convnext": "a convolutional network, which has no tokens; use one of DINOv3's vision transformers",
}
"""Types of model that are near to one of these, and what to use."""
# What the configuration classes of most of these mean by a field that is not there.
_DEFAULTS = {"hidden_size": 768, "num_hidden_layers": 12, "projection_dim": 512, "image_size": 224, "patch_size": 16}


@dataclass(frozen=True)
class VisionTower:
    """The vision tower of a checkpoint, before any weight is read.

    Parameters
    ----------
    folder : ModelFolder
        A model of one of the types of the table above, the whole or its vision tower.

    Raises
    ------
    ModelError
        If the folder holds another model.
    """

    folder: ModelFolder

    def __post_init__(self) -> None:
        kind = self.folder.model_type
        if kind in _REFUSED:
            raise ModelError(f"model {self.folder.name!r} has type {kind!r}: {_REFUSED[kind]}")
        if kind not in _ARCHITECTURES:
            raise ModelError(
                f"model {self.folder.name!r} has type {kind!r}, expected one of {', '.join(sorted(_ARCHITECTURES))}; "
                "models of texts are named with --text-model"
            )
        if kind == "clip":
            check_said_once(self.folder, "vision_config")

    @property
    def architecture(self) -> _Architecture:
        """How transformers builds and pools this type of model."""
        return _ARCHITECTURES[self.folder.model_type]

    @cached_property
    def _whole_config(self) -> Mapping[str, Any]:
        foreign = self.architecture.foreign
        return self.folder.config if foreign is None else foreign.config(self.folder)

    @cached_property
    def _config(self) -> Mapping[str, Any]:
        nested = self._whole_config.get("vision_config")
        stated = nested if isinstance(nested, dict) else self._whole_config
        return {**_DEFAULTS, **self.architecture.defaults, **stated}

    def _says(self, name: str | None) -> bool:
        return name is None or bool(self._config.get(name, True))

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
        is_whole = "vision_config" in self._whole_config
        return self._size("projection_dim", {**_DEFAULTS, **self._whole_config} if is_whole else self._config)

    @property
    def has_class_token(self) -> bool:
        """Whether the first token stands for the picture."""
        return self.architecture.has_class_token and self._says(self.architecture.class_token_field)

    @property
    def n_blocks(self) -> int:
        """How many blocks follow each other."""
        return n_blocks(self._config)

    @property
    def n_prefix(self) -> int:
        """How many tokens come before those of the patches: class token, registers, distillation token."""
        registers = self._config.get("num_register_tokens", self.architecture.n_registers)
        return int(self.has_class_token) + (registers if isinstance(registers, int) else 0)

    @property
    def sizes(self) -> Literal["fixed", "interpolated", "any"]:
        """Which pictures it takes, as `_Architecture` has it; AIMv2 of native resolution computes its positions."""
        return "any" if self._config.get("is_native") is True else self.architecture.sizes

    @property
    def image_size(self) -> int | None:
        """Side of the pictures that it takes; None if any size will do, or the configuration does not say."""
        size = self._config.get("image_size")
        is_told = self.sizes != "any" and not self.architecture.takes_patches
        return size if isinstance(size, int) and is_told else None

    @property
    def patch_size(self) -> int:
        """Side of a patch."""
        return self._size("patch_size", self._config)

    @property
    def pooler(self) -> str | None:
        """Prefix of the parameters of its pooling layer; None if that has none."""
        architecture = self.architecture
        has_one = self._says(architecture.pooler_field) and self._says(architecture.head_field)
        return architecture.pooler if has_one else None

    @cached_property
    def untrained(self) -> Mapping[str, str]:
        """Outputs of this architecture of which the checkpoint has no weights, and which those are."""
        found = {}
        projecting = self.architecture.projecting_class
        if self.pooler and not self.folder.may_have(self.pooler):
            found["pooled"] = "its pooling layer has no weights"
        if projecting and not self.folder.may_have(self.architecture.projection):
            found["projected"] = "it has no weights of a projection"
        return found

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Names of what it can put out, as far as its configuration and the names of its weights tell."""
        architecture = self.architecture
        lacks = set(self.untrained) | (set() if self._says(architecture.head_field) else {"pooled"})
        lacks |= set() if architecture.projecting_class else {"projected"}
        lacks |= set() if self.has_class_token else {"cls"}
        lacks |= set() if self._says(architecture.tokens_field) else {"cls", "mean"}
        families = (CLASS_TOKENS, PATCH_MEANS) if self.has_class_token else (PATCH_MEANS,)
        layers = (layer_name(k, family) for family in families for k in range(1, self.n_blocks + 1))
        return (*(name for name in IMAGE_OUTPUTS if name not in lacks), *layers)

    @property
    def default_output(self) -> str:
        """What is meant where no output is named: ``pooled``, or ``mean`` of a model that was made without a head."""
        return "pooled" if self._says(self.architecture.head_field) else "mean"

    def width(self, output: str) -> int | None:
        """Return how many columns an output has; None if only the loaded model tells."""
        if output == "projected":
            return self.projection_dim
        if not self._says(self.architecture.tokens_field):
            return None
        pooled = self._config.get("pooler_output_size") if output == "pooled" else None
        return self.hidden_size if pooled is None else self._size("pooler_output_size", self._config)
