"""CLIP-family and other ViT-like vision encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from featcache.decode import DECODE_DOCUMENT, decode_rgb
from featcache.encoders.base import Device
from featcache.encoders.loading import autocast, load_weights, resolve_device
from featcache.errors import ModelError
from featcache.fingerprint import Fingerprint
from featcache.models import ModelFolder
from featcache.preprocess import Preprocessor

__all__ = ["IMAGE_OUTPUTS", "ImageSpec", "VisionEncoder"]

IMAGE_OUTPUTS = ("pooled", "cls")


@dataclass(frozen=True)
class _Architecture:
    model_class: str
    has_class_token: bool
    pooler: str | None
    """Prefix of the pooling layer's parameters, which a checkpoint may lack; None: pooling has none of its own."""
    any_size: bool = False
    """Whether the model interpolates its position embeddings to other picture sizes than its own."""


_ARCHITECTURES = {
    "clip": _Architecture("CLIPVisionModel", True, None),
    "clip_vision_model": _Architecture("CLIPVisionModel", True, None),
    "vit": _Architecture("ViTModel", True, "pooler."),
    "dinov2": _Architecture("Dinov2Model", True, None, any_size=True),
    "dinov2_with_registers": _Architecture("Dinov2WithRegistersModel", True, None, any_size=True),
    "siglip": _Architecture("SiglipVisionModel", False, None),
    "siglip_vision_model": _Architecture("SiglipVisionModel", False, None),
}


@dataclass(frozen=True)
class ImageSpec:
    """Which vision encoder, and which of its outputs.

    Attributes
    ----------
    folder : ModelFolder
        A CLIP (whole or vision tower), ViT, DINOv2 or SigLIP model.
    outputs : tuple of {"pooled", "cls"}
        ``pooled``: the tower's pooled output, *before* any projection. ``cls``: class token of the last hidden
        state. A model without one of them refuses it.
    compute_dtype, storage_dtype : str
        Of the forward, and on disk.
    """

    folder: ModelFolder
    outputs: tuple[str, ...] = ("pooled",)
    compute_dtype: str = "float32"
    storage_dtype: str = "float16"
    modality: Literal["image"] = field(default="image", init=False)

    def __post_init__(self) -> None:
        if self.folder.model_type not in _ARCHITECTURES:
            raise ModelError(
                f"model {self.folder.name!r} has type {self.folder.model_type!r}, expected one of "
                f"{', '.join(sorted(_ARCHITECTURES))}"
            )
        for output in self.outputs:
            if output not in IMAGE_OUTPUTS:
                raise ModelError(f"image output {output!r} is unknown, expected one of {', '.join(IMAGE_OUTPUTS)}")
        if "cls" in self.outputs and not self.architecture.has_class_token:
            raise ModelError(
                f"model {self.folder.name!r} ({self.folder.model_type}) has no output 'cls'; it has: pooled"
            )
        expected = self._vision_config().get("image_size")
        fixed = isinstance(expected, int) and not self.architecture.any_size
        if fixed and self.preprocessor.size != (expected, expected):
            height, width = self.preprocessor.size
            raise ModelError(
                f"model {self.folder.name!r} takes {expected} × {expected} pixels, "
                f"its preprocessor_config.json makes {height} × {width}"
            )

    @property
    def architecture(self) -> _Architecture:
        """How transformers builds and pools this type of model."""
        return _ARCHITECTURES[self.folder.model_type]

    def _vision_config(self) -> Mapping[str, Any]:
        config = self.folder.config
        nested = config.get("vision_config")
        return nested if isinstance(nested, dict) else config

    @cached_property
    def preprocessor(self) -> Preprocessor:
        """The model's own preprocessing."""
        config = self.folder.read_json("preprocessor_config.json")
        return Preprocessor.from_config(config, model_type=self.folder.model_type)

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Identity of the producer."""
        identity = {
            "format": 1,
            "modality": "image",
            "model": self.folder.document(),
            "decode": DECODE_DOCUMENT,
            "preprocess": self.preprocessor.document(),
            "compute_dtype": self.compute_dtype,
            "storage_dtype": self.storage_dtype,
        }
        return Fingerprint(identity, self.folder.source())

    def prepare(self, content: bytes) -> NDArray[np.uint8]:
        """Decode file bytes and bring them to the encoder's size: (H, W, 3) uint8."""
        return self.preprocessor.pixels(decode_rgb(content))

    def load(self, device: Device) -> VisionEncoder:
        """Read the weights."""
        return VisionEncoder(self, resolve_device(device))


class VisionEncoder:
    """A loaded vision encoder."""

    def __init__(self, spec: ImageSpec, device: str) -> None:
        import torch
        import transformers

        self.spec = spec
        self.device = device
        architecture = spec.architecture
        optional = (architecture.pooler,) if architecture.pooler else ()
        model, absent = load_weights(spec.folder, getattr(transformers, architecture.model_class), optional)
        if absent and "pooled" in spec.outputs:
            raise ModelError(
                f"model {spec.folder.name!r} has no output 'pooled': its pooling layer has no weights; it has: cls"
            )
        self._model = model.to(device)
        p = spec.preprocessor
        std = torch.tensor(p.std, device=device).view(1, 3, 1, 1)
        self._scale = p.rescale / std
        self._shift = torch.tensor(p.mean, device=device).view(1, 3, 1, 1) / std

    def encode(self, batch: Sequence[NDArray[np.uint8]]) -> Mapping[str, NDArray[np.float32]]:
        """Return one (n, d) float32 array per output for ``n`` pictures of (H, W, 3) uint8."""
        import torch

        pixels = torch.from_numpy(np.stack(batch)).to(self.device).permute(0, 3, 1, 2)
        with torch.inference_mode(), autocast(self.device, self.spec.compute_dtype):
            states = self._model(pixel_values=pixels.float() * self._scale - self._shift)
        vectors = {
            name: states.pooler_output if name == "pooled" else states.last_hidden_state[:, 0]
            for name in self.spec.outputs
        }
        return {name: vector.float().cpu().numpy() for name, vector in vectors.items()}
