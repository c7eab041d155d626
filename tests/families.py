"""Tiny random vision models of every family, as transformers itself saves them, and what it computes of pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as t
from PIL import Image

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SQUARE = SMALL | {"image_size": 32, "patch_size": 16}
TEXT = SMALL | {"num_hidden_layers": 1, "vocab_size": 20, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
CROPPED = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
EXACT = {"size": {"height": 32, "width": 32}}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


@dataclass(frozen=True)
class Family:
    """How a tiny model is made, fed and read; the classes are transformers' own."""

    saved: str
    config: Any
    vision: str
    processor: str
    options: Mapping[str, Any]
    prefix: int = 1
    lacks: frozenset[str] = frozenset()
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Save it with weights of which none is a zero or a one."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = getattr(t, self.saved)(self.config, **self.arguments)
            for parameter in model.parameters():
                parameter.data += 0.2 * torch.randn_like(parameter)
        model.save_pretrained(folder)
        processor = {"image_processor_type": self.processor, "do_convert_rgb": True, **IMAGENET, **self.options}
        (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
        return folder

    def inputs(self, folder: Path, pictures: Sequence[Image.Image], **changes: Any) -> dict[str, torch.Tensor]:
        """Return what transformers feeds the model."""
        if self.processor == "DINOv3ViTImageProcessor":
            return {"pixel_values": torch.stack([dinov3_pixels(picture) for picture in pictures])}
        processor = getattr(t, f"{self.processor}Pil").from_pretrained(folder, **changes)
        return dict(processor(list(pictures), return_tensors="pt"))

    def reference(self, folder: Path, inputs: Mapping[str, torch.Tensor], **options: Any) -> dict[str, np.ndarray]:
        """Return every output of transformers' own forward."""
        name, _, part = self.vision.partition(".")
        model = getattr(t, name).from_pretrained(folder, **self.arguments).eval()
        model = getattr(model, part) if part else model
        with torch.no_grad():
            states = model(**inputs, output_hidden_states=True, **options)
        mask = inputs.get("pixel_attention_mask", torch.ones(states.last_hidden_state[:, self.prefix :].shape[:2]))
        weights = (mask / mask.sum(1, keepdim=True)).unsqueeze(-1)

        def mean(tokens: torch.Tensor) -> torch.Tensor:
            return (tokens[:, self.prefix :] * weights).sum(1)

        found = {"mean": mean(states.last_hidden_state), "cls": states.last_hidden_state[:, 0]}
        if states.pooler_output is not None:
            found["pooled"] = states.pooler_output
        for k in (1, 2):
            found |= {f"layers:{k}": states.hidden_states[k][:, 0], f"layers_mean:{k}": mean(states.hidden_states[k])}
        if "projected" not in self.lacks:
            whole = getattr(t, self.saved).from_pretrained(folder).eval()
            with torch.no_grad():
                found["projected"] = whole.get_image_features(**inputs).pooler_output
        return {name: vectors.numpy() for name, vectors in found.items() if name not in self.lacks}


def dinov3_pixels(picture: Image.Image) -> torch.Tensor:
    """What DINOv3's own processor does, which needs torchvision: rescale, resize, normalise."""
    levels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
    resized = torch.nn.functional.interpolate(levels, (32, 32), mode="bilinear", antialias=True)[0]
    mean, std = (torch.tensor(IMAGENET[name]).view(3, 1, 1) for name in ("image_mean", "image_std"))
    return (resized - mean) / std


def _whole(name: str, vision: Mapping[str, Any], **options: Any) -> Any:
    return getattr(t, name)(text_config=dict(TEXT), vision_config=dict(vision), **options)


_TOKENS = frozenset({"cls", "layers:1", "layers:2"})
_PROJECTED = frozenset({"projected"})
_BEIT = SQUARE | {"use_relative_position_bias": True, "use_absolute_position_embeddings": True}
_NAFLEX = SMALL | {"patch_size": 8, "num_patches": 16}
_PATCHES = {"patch_size": 8, "max_num_patches": 20}
FAMILIES: dict[str, Family] = {
    "dinov3": Family("DINOv3ViTModel", t.DINOv3ViTConfig(**SQUARE, num_register_tokens=3), "DINOv3ViTModel",
                     "DINOv3ViTImageProcessor", EXACT, 4, _PROJECTED),
    "metaclip2": Family("MetaClip2Model", _whole("MetaClip2Config", SQUARE, projection_dim=8), "MetaClip2VisionModel",
                        "CLIPImageProcessor", CROPPED),
    "metaclip2-tower": Family("MetaClip2VisionModel", t.MetaClip2VisionConfig(**SQUARE), "MetaClip2VisionModel",
                              "CLIPImageProcessor", CROPPED, lacks=_PROJECTED),
    "deit": Family("DeiTModel", t.DeiTConfig(**SQUARE), "DeiTModel", "DeiTImageProcessor",
                   {"size": {"height": 36, "width": 36}, "crop_size": {"height": 32, "width": 32}}, 2, _PROJECTED),
    "beit": Family("BeitModel", t.BeitConfig(**_BEIT), "BeitModel", "BeitImageProcessor", EXACT, lacks=_PROJECTED),
    "beit-shared": Family("BeitModel", t.BeitConfig(**SQUARE, use_mean_pooling=False,
                                                    use_shared_relative_position_bias=True),
                          "BeitModel", "BeitImageProcessor", EXACT, lacks=_PROJECTED),
    "data2vec": Family("Data2VecVisionModel", t.Data2VecVisionConfig(**_BEIT), "Data2VecVisionModel",
                       "BeitImageProcessor", EXACT, lacks=_PROJECTED, arguments={"add_pooling_layer": True}),
    "aimv2": Family("Aimv2Model", _whole("Aimv2Config", SQUARE, projection_dim=8), "Aimv2Model.vision_model",
                    "CLIPImageProcessor", CROPPED, 0, _TOKENS | _PROJECTED),
    "aimv2-tower": Family("Aimv2VisionModel", t.Aimv2VisionConfig(**SQUARE, use_head=False, is_native=True),
                          "Aimv2VisionModel", "CLIPImageProcessor", CROPPED, 0, _TOKENS | {"projected", "pooled"}),
    "naflex": Family("Siglip2Model", _whole("Siglip2Config", _NAFLEX), "Siglip2VisionModel", "Siglip2ImageProcessor",
                     _PATCHES, 0, _TOKENS | _PROJECTED),
    "naflex-tower": Family("Siglip2VisionModel", t.Siglip2VisionConfig(**_NAFLEX), "Siglip2VisionModel",
                           "Siglip2ImageProcessor", _PATCHES, 0, _TOKENS | _PROJECTED),
}  # fmt: skip
