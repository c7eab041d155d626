"""timm's files, and those of transformers' wrapper of it: what the weights tell of a model, and timm's own forward."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from featcache.encoders.model_folder import ModelFolder
from featcache.errors import ModelError
from featcache.pictures.preprocess import Preprocessor
from featcache.pictures.torchvision_config import parse_timm_config

__all__ = ["describe", "load", "pixel_options"]

_WRAPPED = "timm_model."
"""Prefix that transformers puts before timm's names."""
_BLOCK = re.compile(r"blocks\.(\d+)\.attn\.(qkv|q_proj)\.weight")
# Parts of models whose tokens are joined by others on the way, or become a map again.
_OTHER_TOKENS = ("blocks_token_only.", "cls_attn_blocks.", "neck.")
_NAME = re.compile(r"\w[\w.-]*")
_HEADS = ("head", "head_dist")


def describe(folder: ModelFolder) -> Mapping[str, Any]:
    """Return what the names and shapes of the weights tell of a model, in transformers' words; timm is not needed.

    A model has tokens if it is a row of blocks of one width over patches, as timm's VisionTransformer, Eva and Beit.
    Of others only the pooled output is known.

    Raises
    ------
    ModelError
        If the weights are no safetensors, or the configuration is none of timm's.
    """
    shapes = _shapes(folder)
    patches = shapes.get("patch_embed.proj.weight", ())
    numbers = {int(found[1]): shapes[name] for name in shapes if (found := _BLOCK.fullmatch(name))}
    is_row = sorted(numbers) == list(range(len(numbers))) and {shape[-1] for shape in numbers.values()} == {
        *patches[:1]
    }
    if len(patches) != 4 or not is_row or any(name.startswith(_OTHER_TOKENS) for name in shapes):
        return {"has_tokens": False, "num_hidden_layers": 0, "image_size": _side(folder)}
    registers = shapes["reg_token"][1] if "reg_token" in shapes else 0
    return {
        "has_tokens": True,
        "has_class_token": "cls_token" in shapes,
        "num_register_tokens": registers + int("dist_token" in shapes),
        "hidden_size": patches[0],
        "num_hidden_layers": len(numbers),
        "patch_size": patches[-1],
        "image_size": _side(folder),
    }


def pixel_options(folder: ModelFolder) -> dict[str, Any]:
    """Return how pictures are brought to the model, as `featcache.pictures.preprocess.Preprocessor` takes it."""
    return parse_timm_config(_pretrained(folder))


def _side(folder: ModelFolder) -> int:
    return Preprocessor(**pixel_options(folder)).size[0]


def _pretrained(folder: ModelFolder) -> Mapping[str, Any]:
    config = folder.config.get("pretrained_cfg")
    if not isinstance(config, dict):
        raise ModelError(
            f"model {folder.name!r}: config.json has no pretrained_cfg, which says how pictures are brought to its size"
        )
    return config


def _arguments(folder: ModelFolder) -> tuple[str, dict[str, Any]]:
    name, arguments = folder.config.get("architecture"), folder.config.get("model_args") or {}
    # timm takes a name with a colon for a place to fetch a model from.
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not isinstance(arguments, dict):
        raise ModelError(f"model {folder.name!r}: config.json has architecture {name!r}, expected a name of timm's")
    if arguments.get("features_only"):
        raise ModelError(f"model {folder.name!r}: config.json asks timm for features_only, which cannot be pooled")
    return name, {key: value for key, value in arguments.items() if key not in ("num_classes", "features_only")}


def _shapes(folder: ModelFolder) -> dict[str, tuple[int, ...]]:
    names = folder.parameters
    if names is None:
        raise ModelError(
            f"model {folder.name!r} has no model.safetensors, whose names tell what a model of timm puts out: "
            "save it as safetensors"
        )
    from safetensors import safe_open

    found: dict[str, tuple[int, ...]] = {}
    for file in folder.weight_files:
        with safe_open(file, framework="numpy") as opened:
            for key in opened.keys():  # noqa: SIM118 - it is no mapping
                found[key.removeprefix(_WRAPPED)] = tuple(opened.get_slice(key).get_shape())
    return found


@dataclass(frozen=True)
class _States:
    """What a forward makes of pictures, named as transformers names it; pooled only if that is wanted."""

    model: Any
    last_hidden_state: Any

    @property
    def pooler_output(self) -> Any:
        return self.model.forward_head(self.last_hidden_state)


def load(folder: ModelFolder, _model_class: str) -> Any:
    """Make timm's frozen model, without its classifier, of the folder's weights; its forward returns `_States`.

    Raises
    ------
    ModelError
        If timm is not there or does not know the model, or the weights are not the model's.
    """
    from safetensors.torch import load_file

    model = _create(folder)
    weights: dict[str, Any] = {}
    for file in folder.weight_files:
        weights |= {name.removeprefix(_WRAPPED): tensor for name, tensor in load_file(file).items()}
    try:
        report = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"model {folder.name!r} cannot be loaded as timm's: {reason}") from None
    if report.missing_keys:
        raise ModelError(
            f"model {folder.name!r} lacks {len(report.missing_keys)} parameters of timm's model, "
            f"first {report.missing_keys[0]!r}: they would be random numbers; use a folder with complete weights"
        )
    unknown = [name for name in report.unexpected_keys if not name.startswith(_classifiers(folder))]
    if unknown:
        raise ModelError(
            f"model {folder.name!r} has {len(unknown)} parameters that timm's model has not, first {unknown[0]!r}: "
            "what it computes would be something else"
        )
    _check_tokens(folder, model)
    model.float().eval().requires_grad_(False)
    model.forward = lambda pixel_values: _States(model, model.forward_features(pixel_values))
    return model


def _create(folder: ModelFolder) -> Any:
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # torchvision built for another torch raises the latter
        raise ModelError(
            f"model {folder.name!r} needs timm, which cannot be imported: {error}; "
            "pip install 'featcache[timm]', with a torchvision that was built for the torch that is installed"
        ) from None
    name, arguments = _arguments(folder)
    known = {field.name for field in fields(timm.models.PretrainedCfg)}
    try:
        # What is passed by name cannot be set by the file: nothing is fetched, no other file is read.
        return timm.create_model(
            name,
            pretrained=False,
            pretrained_cfg={key: value for key, value in _pretrained(folder).items() if key in known},
            pretrained_cfg_overlay=None,
            checkpoint_path="",
            cache_dir=None,
            num_classes=0,
            **arguments,
        )
    except Exception as error:  # whatever timm raises of a configuration that is not what it expects
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"model {folder.name!r} cannot be made by timm {timm.__version__}: {reason}") from error


def _classifiers(folder: ModelFolder) -> tuple[str, ...]:
    named = _pretrained(folder).get("classifier")
    names = named if isinstance(named, list) else [named]
    return tuple(f"{name}." for name in (*names, *_HEADS) if isinstance(name, str) and name)


def _check_tokens(folder: ModelFolder, model: Any) -> None:
    said = describe(folder)
    if not said["has_tokens"]:
        return
    n_prefix = int(said["has_class_token"]) + said["num_register_tokens"]
    expected = (said["num_hidden_layers"], said["hidden_size"], n_prefix)
    blocks = getattr(model, "blocks", ())
    found = (len(blocks), getattr(model, "embed_dim", None), getattr(model, "num_prefix_tokens", None))
    if found != expected:
        raise ModelError(
            f"model {folder.name!r}: timm's model has (blocks, width, tokens before the patches) {found}, "
            f"its weights are of {expected}"
        )
