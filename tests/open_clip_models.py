"""Tiny random vision towers in OpenCLIP's files, and OpenCLIP's forward of them, written anew from its names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from timm_models import timm_resized

SIDE, PATCH, WIDTH, HEADS, DIM = 32, 16, 16, 2, 8
CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": DIM, "quick_gelu": False, "text_cfg": {"width": 16},
        "vision_cfg": {"image_size": SIDE, "layers": 2, "width": WIDTH, "patch_size": PATCH, "head_width": 8,
                       "mlp_ratio": 3.0},
    },
    "preprocess_cfg": {"mean": [0.48, 0.45, 0.4], "std": [0.26, 0.27, 0.28], "interpolation": "bicubic",
                       "resize_mode": "shortest"},
}  # fmt: skip


def make_weights() -> dict[str, torch.Tensor]:
    """Random weights by OpenCLIP's names, some of its text tower among them."""
    shapes = {
        "class_embedding": (WIDTH,), "positional_embedding": (1 + (SIDE // PATCH) ** 2, WIDTH), "proj": (WIDTH, DIM),
        "conv1.weight": (WIDTH, 3, PATCH, PATCH),
    }  # fmt: skip
    shapes |= {f"{norm}.{part}": (WIDTH,) for norm in ("ln_pre", "ln_post") for part in ("weight", "bias")}
    for k in range(2):
        products = {"attn.in_proj_": 3 * WIDTH, "attn.out_proj.": WIDTH, "mlp.c_fc.": 3 * WIDTH, "mlp.c_proj.": WIDTH}
        for name, n in products.items():
            columns = 3 * WIDTH if name == "mlp.c_proj." else WIDTH
            shapes |= {f"transformer.resblocks.{k}.{name}weight": (n, columns)}
            shapes |= {f"transformer.resblocks.{k}.{name}bias": (n,)}
        for norm in ("ln_1", "ln_2"):
            shapes |= {f"transformer.resblocks.{k}.{norm}.{part}": (WIDTH,) for part in ("weight", "bias")}
    rng = torch.Generator().manual_seed(0)
    weights = {f"visual.{name}": 0.4 * torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    return weights | {"logit_scale": torch.zeros(()), "transformer.resblocks.0.ln_1.weight": torch.ones(16)}


def write(folder: Path, *, as_bin: bool = False, **changes: Any) -> Path:
    """Save a tower as OpenCLIP does; ``changes`` are of its ``vision_cfg``, ``model_cfg`` or ``preprocess_cfg``."""
    folder.mkdir(parents=True)
    config = json.loads(json.dumps(CONFIG))
    config["model_cfg"]["vision_cfg"].update(changes.get("vision_cfg", {}))
    config["model_cfg"].update(changes.get("model_cfg", {}))
    config["preprocess_cfg"].update(changes.get("preprocess_cfg", {}))
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    if as_bin:
        torch.save(make_weights(), folder / "open_clip_pytorch_model.bin")
    else:
        save_file(make_weights(), folder / "open_clip_model.safetensors", {"format": "pt"})
    return folder


def reference(pictures: Sequence[Image.Image], *, quick_gelu: bool = False) -> dict[str, np.ndarray]:
    """Compute every output on the pixels of OpenCLIP's own transforms."""
    visual = {name.removeprefix("visual."): tensor for name, tensor in make_weights().items() if "visual." in name}
    how = CONFIG["preprocess_cfg"]
    mean, std = (torch.tensor(how[name]).view(3, 1, 1) for name in ("mean", "std"))
    levels = [np.array(timm_resized(picture, SIDE, crop_pct=1.0)) for picture in pictures]
    pixels = torch.stack([(torch.from_numpy(x).permute(2, 0, 1).float() / 255 - mean) / std for x in levels])
    x = torch.nn.functional.conv2d(pixels, visual["conv1.weight"], stride=PATCH).flatten(2).transpose(1, 2)
    x = torch.cat([visual["class_embedding"].expand(len(x), 1, -1), x], 1) + visual["positional_embedding"]
    x = _norm(x, visual, "ln_pre")
    found = {}
    for k in range(2):
        block = f"transformer.resblocks.{k}."
        x = x + _attention(_norm(x, visual, f"{block}ln_1"), visual, f"{block}attn.")
        hidden = _product(_norm(x, visual, f"{block}ln_2"), visual, f"{block}mlp.c_fc.")
        active = hidden * torch.sigmoid(1.702 * hidden) if quick_gelu else torch.nn.functional.gelu(hidden)
        x = x + _product(active, visual, f"{block}mlp.c_proj.")
        found |= {f"layers:{k + 1}": x[:, 0], f"layers_mean:{k + 1}": x[:, 1:].mean(1)}
    pooled = _norm(x, visual, "ln_post")[:, 0]
    found |= {"pooled": pooled, "projected": pooled @ visual["proj"], "cls": x[:, 0], "mean": x[:, 1:].mean(1)}
    return {name: vectors.numpy() for name, vectors in found.items()}


def _norm(x: torch.Tensor, weights: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    return torch.nn.functional.layer_norm(x, (WIDTH,), weights[f"{name}.weight"], weights[f"{name}.bias"])


def _product(x: torch.Tensor, weights: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    return x @ weights[f"{name}weight"].T + weights[f"{name}bias"]


def _attention(x: torch.Tensor, weights: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    n, tokens, _ = x.shape
    query, key, value = (
        part.view(n, tokens, HEADS, -1).transpose(1, 2) for part in _product(x, weights, f"{name}in_proj_").chunk(3, -1)
    )
    scores = (query @ key.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5).softmax(-1)
    return _product((scores @ value).transpose(1, 2).reshape(n, tokens, WIDTH), weights, f"{name}out_proj.")
