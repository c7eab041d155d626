"""OpenCLIP's files as transformers' CLIP: plain vision transformers only, their weights renamed as they are loaded."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

from featcache.encoders.model_folder import ModelFolder
from featcache.errors import ModelError
from featcache.pictures.torchvision_config import parse_open_clip_config

__all__ = ["clip_config", "load", "pixel_options"]

_DEFAULTS: Mapping[str, object] = {
    "image_size": 224, "layers": 12, "width": 768, "patch_size": 16, "head_width": 64, "mlp_ratio": 4.0,
}  # fmt: skip
# Settings of a tower that change nothing: as they are by themselves, while it is trained, or unless another is given.
_PLAIN = {"pool_type": "tok", "pos_embed_type": "learnable", "block_type": "default"}
_WITHOUT_EFFECT = ("attn_pooler_", "output_tokens", "patch_dropout", "timm_")
_NAMES = {
    "class_embedding": "embeddings.class_embedding",
    "conv1.weight": "embeddings.patch_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_pre": "pre_layrnorm",
    "ln_post": "post_layernorm",
}
_NAMES_IN_BLOCKS = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def clip_config(folder: ModelFolder) -> Mapping[str, Any]:
    """Return what an ``open_clip_config.json`` says of the vision tower, in the words of transformers' CLIP.

    Raises
    ------
    ModelError
        If it is no plain vision transformer.
    """
    model = folder.config.get("model_cfg")
    tower = model.get("vision_cfg") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(tower, dict):
        raise ModelError(f"model {folder.name!r}: open_clip_config.json has no model_cfg with a vision_cfg")
    if isinstance(tower.get("timm_model_name"), str) and tower["timm_model_name"]:
        raise ModelError(
            f"model {folder.name!r} has a vision tower of timm, {tower['timm_model_name']!r}, in OpenCLIP's files: "
            "use the folder that timm itself has of it"
        )
    for name, value in tower.items():
        is_neutral = not value or value == _PLAIN.get(name) or name.startswith(_WITHOUT_EFFECT)
        if name not in _DEFAULTS and not is_neutral:
            raise ModelError(
                f"model {folder.name!r}: open_clip_config.json has {name} {value!r}, which transformers' CLIP has not; "
                "use a plain vision transformer, or the folder that transformers has of it"
            )
    stated = {**_DEFAULTS, **tower}
    ratio = stated.pop("mlp_ratio")
    if not isinstance(ratio, int | float) or not 0 < ratio < 1 << 10:
        raise ModelError(f"model {folder.name!r}: open_clip_config.json has mlp_ratio {ratio!r}, expected a number")
    sizes = {name: _whole_number(folder, name, stated[name]) for name in _DEFAULTS if name in stated}
    if sizes["width"] % sizes["head_width"]:
        raise ModelError(
            f"model {folder.name!r}: open_clip_config.json has width {sizes['width']}, expected a multiple of "
            f"head_width {sizes['head_width']}"
        )
    return {
        "projection_dim": _whole_number(folder, "embed_dim", model.get("embed_dim")),
        "vision_config": {
            "hidden_size": sizes["width"],
            "intermediate_size": int(sizes["width"] * ratio),
            "num_hidden_layers": sizes["layers"],
            "num_attention_heads": sizes["width"] // sizes["head_width"],
            "image_size": sizes["image_size"],
            "patch_size": sizes["patch_size"],
            "hidden_act": "quick_gelu" if model.get("quick_gelu") else "gelu",
        },
    }


def _whole_number(folder: ModelFolder, name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 20:
        raise ModelError(
            f"model {folder.name!r}: open_clip_config.json has {name} {value!r}, expected a whole number: "
            "only plain vision transformers are read"
        )
    return value


def pixel_options(folder: ModelFolder) -> dict[str, Any]:
    """Return how pictures are brought to the tower, as `featcache.pictures.preprocess.Preprocessor` takes it."""
    config = folder.config.get("preprocess_cfg")
    side = clip_config(folder)["vision_config"]["image_size"]
    return parse_open_clip_config(config if isinstance(config, dict) else {}, side)


def load(folder: ModelFolder, model_class: str) -> Any:
    """Make a frozen vision tower of transformers in float32 of the folder's weights.

    Raises
    ------
    ModelError
        If the files cannot be read, or lack a parameter of the tower.
    """
    import transformers

    config = clip_config(folder)
    fields = {**config["vision_config"], "projection_dim": config["projection_dim"]}
    model = getattr(transformers, model_class)(transformers.CLIPVisionConfig(**fields))
    weights = _renamed(_read(folder))
    # The names of the tower's parts differ by a prefix between versions of transformers, and between its classes.
    expected = {name: name.removeprefix("vision_model.") for name in model.state_dict()}
    found = {name: weights[short] for name, short in expected.items() if short in weights}
    lost = sorted(set(expected) - set(found))
    if lost:
        raise ModelError(
            f"model {folder.name!r} lacks {len(lost)} parameters of {model_class}, first {lost[0]!r}: "
            "they would be random numbers; use a folder with complete weights"
        )
    left_out = sorted(set(weights) - set(expected.values()) - {"visual_projection.weight"})
    if left_out:
        raise ModelError(
            f"model {folder.name!r} has {len(left_out)} weights that {model_class} leaves out, first {left_out[0]!r}: "
            "its open_clip_config.json is of another model"
        )
    try:
        model.load_state_dict(found)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"model {folder.name!r} cannot be loaded as {model_class}: {reason}") from None
    return model.float().eval().requires_grad_(False)


def _read(folder: ModelFolder) -> Mapping[str, Any]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = folder.weight_files[0]
    try:
        weights = load_file(file) if folder.uses_safetensors else torch.load(file, "cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ModelError(
            f"weights of model {folder.name!r} are a pickle that holds more than tensors: refused, use safetensors"
        ) from None
    except (SafetensorError, OSError, RuntimeError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"model {folder.name!r}: {file} is damaged or cut off: {reason}") from None
    inner = weights.get("state_dict") if isinstance(weights, dict) else None
    whole: Mapping[str, Any] = inner if isinstance(inner, dict) else weights
    return {str(name).removeprefix("module."): tensor for name, tensor in whole.items()}


def _renamed(weights: Mapping[str, Any]) -> dict[str, Any]:
    renamed = {}
    for name, tensor in weights.items():
        prefix, _, part = name.partition(".")
        if prefix != "visual":
            continue
        if part == "proj":
            renamed["visual_projection.weight"] = tensor.T.contiguous()
        elif part.startswith("transformer.resblocks."):
            number, _, within = part.removeprefix("transformer.resblocks.").partition(".")
            renamed |= _of_block(f"encoder.layers.{number}.", within, tensor)
        else:
            renamed[_replaced(part, _NAMES)] = tensor
    return renamed


def _of_block(block: str, within: str, tensor: Any) -> dict[str, Any]:
    kind = within.removeprefix("attn.in_proj_")
    if kind == within:
        return {block + _replaced(within, _NAMES_IN_BLOCKS): tensor}
    parts = zip("qkv", tensor.chunk(3), strict=True)
    return {f"{block}self_attn.{letter}_proj.{kind}": part.contiguous() for letter, part in parts}


def _replaced(name: str, names: Mapping[str, str]) -> str:
    for theirs, ours in names.items():
        if name == theirs or name.startswith(theirs + "."):
            return ours + name.removeprefix(theirs)
    return name
