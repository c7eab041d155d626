"""Tiny random models of timm, as timm and transformers save them, and what timm itself computes of pictures."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.Image import Resampling
from safetensors.torch import save_file

LEVELS = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
SMALL = {"img_size": 32, "patch_size": 16, "embed_dim": 16, "depth": 2, "num_heads": 2}


class _AnyName(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _AnyName(name, (_Unused,), {})


class _Unused(metaclass=_AnyName):
    """Stands for what timm imports of torchvision; none of the models here computes with it."""


class _StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if _is_torchvision(name) else None

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__getattr__"] = _Unused.__class__.__getattr__.__get__(_Unused)


def _is_torchvision(name: str) -> bool:
    return name.partition(".")[0] == "torchvision"


def _forget_torchvision() -> None:
    for name in [name for name in sys.modules if _is_torchvision(name)]:
        del sys.modules[name]


def import_timm() -> Any:
    """Return timm; what it imports of torchvision is stood in for where torchvision is not, or not of this torch.

    PyPI's torchvision is built for CUDA: beside a torch for CPUs it cannot be imported, and timm needs it to begin.
    """
    if "timm" not in sys.modules:
        if importlib.util.find_spec("timm") is None:
            pytest.skip("timm is not installed")
        try:
            importlib.import_module("torchvision")
        except (ImportError, RuntimeError):
            _forget_torchvision()
            finder = _StandIn()
            sys.meta_path.insert(0, finder)
            try:
                importlib.import_module("timm")
            finally:
                sys.meta_path.remove(finder)
                _forget_torchvision()
    return importlib.import_module("timm")


@dataclass(frozen=True)
class TimmModel:
    """How a tiny model of timm is made, and how it brings pictures to its size."""

    architecture: str
    arguments: Mapping[str, Any] = field(default_factory=lambda: SMALL)
    side: int = 32
    pixels: Mapping[str, Any] = field(default_factory=lambda: {"crop_pct": 0.9})
    classifier: Any = "head"
    prefix: int | None = 1
    """How many tokens come before those of the patches; None: it has no tokens."""
    has_class_token: bool = True

    @property
    def pretrained(self) -> dict[str, Any]:
        """What timm writes beside the weights."""
        size = {"input_size": [3, self.side, self.side], "fixed_input_size": self.prefix is not None}
        return {**size, "interpolation": "bicubic", **LEVELS, "classifier": self.classifier, **self.pixels}

    def make(self) -> Any:
        """Make it with a classifier, and with weights of which none is a zero or a one."""
        timm = import_timm()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = timm.create_model(self.architecture, num_classes=3, **self.arguments)
            for parameter in model.parameters():
                parameter.data += 0.2 * torch.randn_like(parameter)
        return model

    def write(self, folder: Path) -> Path:
        """Save it as timm saves a model for the hub."""
        folder.mkdir(parents=True)
        config = {
            "architecture": self.architecture, "num_classes": 3, "model_args": {**self.arguments, "num_classes": 3},
            "pretrained_cfg": self.pretrained,
        }  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        save_file(self.make().state_dict(), folder / "model.safetensors", {"format": "pt"})
        return folder

    def write_wrapped(self, folder: Path) -> Path:
        """Save it as transformers' wrapper saves it, which needs a torchvision that can be imported."""
        folder.mkdir(parents=True)
        config = {
            "architecture": self.architecture, "architectures": ["TimmWrapperModel"], "do_pooling": True,
            "initializer_range": 0.02, "model_args": dict(self.arguments), "model_type": "timm_wrapper",
            "pretrained_cfg": self.pretrained, "num_classes": 3, "label_names": ["a", "b", "c"],
        }  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        model = self.make()
        model.reset_classifier(0)
        weights = {f"timm_model.{name}": tensor for name, tensor in model.state_dict().items()}
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        return folder

    def reference(self, pixels: torch.Tensor) -> dict[str, np.ndarray]:
        """Return every output of timm's own forward without its classifier."""
        model = self.make().eval()
        model.reset_classifier(0, **({} if self.prefix is None else {"global_pool": model.global_pool}))
        with torch.no_grad():
            states = model.forward_features(pixels)
            found = {"pooled": model.forward_head(states)}
            if self.prefix is not None:
                found |= {"cls": states[:, 0], "mean": states[:, self.prefix :].mean(1)}
                how = {"output_fmt": "NLC", "return_prefix_tokens": True, "intermediates_only": True}
                for k, block in enumerate(model.forward_intermediates(pixels, **how), 1):
                    patches, before = block if isinstance(block, tuple) else (block, block)
                    found |= {f"layers:{k}": before[:, 0], f"layers_mean:{k}": patches.mean(1)}
        lacks = set() if self.has_class_token else {"cls", "layers:1", "layers:2"}
        return {name: vectors.numpy() for name, vectors in found.items() if name not in lacks}

    def pixels_of(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """What timm's transforms for evaluation make of pictures."""
        mean, std = (torch.tensor(LEVELS[name]).view(3, 1, 1) for name in ("mean", "std"))
        levels = [np.array(timm_resized(picture, self.side, **self.pixels)) for picture in pictures]
        tensors = [torch.from_numpy(level).permute(2, 0, 1).float() / 255 for level in levels]
        return torch.stack([(tensor - mean) / std for tensor in tensors])


def timm_resized(
    picture: Image.Image, side: int, crop_pct: float = 0.875, crop_mode: str = "center", interpolation: str = "bicubic"
) -> Image.Image:
    """What timm's transforms for evaluation and torchvision's `Resize` and `CenterCrop` do to a PIL picture."""
    scaled = int(np.floor(side / crop_pct))
    width, height = picture.size
    if crop_mode == "squash":
        size = (scaled, scaled)
    elif width <= height:
        size = (scaled, int(scaled * height / width))
    else:
        size = (int(scaled * width / height), scaled)
    resized = picture.resize(size, Resampling[interpolation.upper()])
    left, top = round((size[0] - side) / 2.0), round((size[1] - side) / 2.0)
    return resized.crop((left, top, left + side, top + side))


TIMM_MODELS: dict[str, TimmModel] = {
    "vit": TimmModel("vit_tiny_patch16_224", {**SMALL, "reg_tokens": 3}, prefix=4),
    "distilled": TimmModel("deit_tiny_distilled_patch16_224", classifier=["head", "head_dist"], prefix=2),
    "siglip": TimmModel("vit_base_patch16_siglip_224", pixels={"crop_mode": "squash", "crop_pct": 1.0}, prefix=0,
                        has_class_token=False),
    "beit": TimmModel("beit_base_patch16_224"),
    "eva02": TimmModel("eva02_tiny_patch14_224", {**SMALL, "patch_size": 16}),
    "pe-core": TimmModel("vit_pe_core_tiny_patch16_384", {**SMALL, "attn_pool_num_heads": 2}),
    "dinov3": TimmModel("vit_small_patch16_dinov3", pixels={"crop_pct": 1.0, "interpolation": "bilinear"}, prefix=5),
    "resnet": TimmModel("test_resnet", {}, 64, {"crop_mode": "squash", "crop_pct": 0.95}, "fc", None),
    "efficientnet": TimmModel("test_efficientnet", {}, 64, classifier="classifier", prefix=None),
}  # fmt: skip
