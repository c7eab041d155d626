"""What timm and OpenCLIP say of their preprocessing, read as their transforms for evaluation on PIL pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from PIL.Image import Resampling

from featcache.errors import ModelError

__all__ = ["parse_open_clip_config", "parse_timm_config"]

_MAX_SIDE = 8192
_FILTERS = {name.lower(): Resampling[name] for name in ("NEAREST", "BOX", "BILINEAR", "HAMMING", "BICUBIC", "LANCZOS")}
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_OPENAI = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}


def parse_timm_config(config: Mapping[str, object]) -> dict[str, Any]:
    """Read the ``pretrained_cfg`` of a ``config.json``, with timm's meaning of what is not in it.

    Returns
    -------
    dict
        ``resize, crop, filter, mean, std, middle`` as `featcache.pictures.preprocess.Preprocessor` takes them.

    Raises
    ------
    ModelError
        If something of it cannot be honoured exactly.
    """
    match config.get("input_size") or [3, 224, 224]:
        case [3, int(height), int(width)] if height == width and 1 <= height <= _MAX_SIDE:
            side = height
        case other:
            raise ModelError(f"input_size is {other!r}, expected 3 channels of a square of 1 to {_MAX_SIDE} pixels")
    share = config.get("crop_pct") or 0.875
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise ModelError(f"crop_pct is {share!r}, expected more than 0 and at most 1")
    scaled = math.floor(side / share)
    if scaled > _MAX_SIDE:
        raise ModelError(f"crop_pct is {share!r}, which asks for {scaled} pixels, more than {_MAX_SIDE}")
    mode = config.get("crop_mode") or "center"
    if mode not in ("center", "squash"):
        raise ModelError(f"crop_mode is {mode!r}, expected center or squash")
    crop = (side, side)
    resize = scaled if mode == "center" else (scaled, scaled)
    return _options(config, _IMAGENET, resize, None if resize == crop else crop)


def parse_open_clip_config(config: Mapping[str, object], side: int) -> dict[str, Any]:
    """Read the ``preprocess_cfg`` of an ``open_clip_config.json`` for a model that takes squares of ``side`` pixels.

    Returns
    -------
    dict
        As `parse_timm_config` does.

    Raises
    ------
    ModelError
        If something of it cannot be honoured exactly, or it makes pictures of another size.
    """
    size = config.get("size") or side
    if size not in (side, [side, side]) or not 1 <= side <= _MAX_SIDE:
        raise ModelError(f"size is {size!r}, expected that of the model, {side} × {side}")
    mode = config.get("resize_mode") or "shortest"
    if mode not in ("shortest", "squash"):
        raise ModelError(f"resize_mode is {mode!r}, expected shortest or squash")
    is_cropped = mode == "shortest"
    if config.get("interpolation") == "random":  # random while it is trained only
        config = {**config, "interpolation": "bicubic"}
    return _options(config, _OPENAI, side if is_cropped else (side, side), (side, side) if is_cropped else None)


def _options(
    config: Mapping[str, object],
    usual: Mapping[str, object],
    resize: int | tuple[int, int],
    crop: tuple[int, int] | None,
) -> dict[str, Any]:
    name = config.get("interpolation") or "bicubic"
    if name not in _FILTERS:
        raise ModelError(f"interpolation is {name!r}, expected one of {', '.join(_FILTERS)}")
    return {
        "resize": resize,
        "crop": crop,
        "filter": _FILTERS[str(name)],
        "mean": _numbers("mean", config.get("mean") or usual["mean"]),
        "std": _numbers("std", config.get("std") or usual["std"]),
        "middle": "down" if crop is None else "even",
    }


def _numbers(name: str, value: object) -> tuple[float, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    numbers = tuple(float(n) for n in values if isinstance(n, int | float) and math.isfinite(n))
    if len(values) != 3 or len(numbers) != 3 or (name == "std" and 0.0 in numbers):
        raise ModelError(f"{name} is {value!r}, expected finite numbers for 3 channels, no zero to divide by")
    return numbers
