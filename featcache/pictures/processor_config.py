"""A model's ``preprocessor_config.json``, read as transformers' PIL image processors read it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from PIL.Image import Resampling

from featcache.errors import ModelError

__all__ = ["parse_patch_config", "parse_processor_config"]

_MAX_SIDE = 8192

# Defaults of transformers' classes. ``default_to_square``: a bare int means a square, not the shorter side.
_EXACT: dict[str, object] = {
    **dict.fromkeys(("do_resize", "do_rescale", "do_normalize", "default_to_square"), True),
    **dict.fromkeys(("image_mean", "image_std"), (0.5, 0.5, 0.5)),
    "size": {"height": 224, "width": 224},
    "do_center_crop": False,
    "crop_size": 224,
    "rescale_factor": 1 / 255,
    "resample": Resampling.BICUBIC,
}
_CLIP: dict[str, object] = _EXACT | {
    "size": {"shortest_edge": 224},
    "default_to_square": False,
    "do_center_crop": True,
    "image_mean": (0.48145466, 0.4578275, 0.40821073),
    "image_std": (0.26862954, 0.26130258, 0.27577711),
}
_IMAGENET: dict[str, object] = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}
_CLASSES: dict[str, dict[str, object]] = {
    "BeitImageProcessor": _EXACT,
    "BitImageProcessor": _CLIP,
    "CLIPImageProcessor": _CLIP,
    "DeiTImageProcessor": _EXACT | {"do_center_crop": True, "size": {"height": 256, "width": 256}},
    # It rescales before it resizes, without rounding: its pixels are ours to within one level.
    "DINOv3ViTImageProcessor": _EXACT | _IMAGENET | {"resample": Resampling.BILINEAR},
    "SiglipImageProcessor": _EXACT | {"default_to_square": False},
    "ViTImageProcessor": _EXACT | {"resample": Resampling.BILINEAR},
}
_CLASS_OF_MODEL = {
    **dict.fromkeys(("bit", "dinov2", "dinov2_with_registers"), "BitImageProcessor"),
    **dict.fromkeys(("aimv2", "altclip", "clip", "metaclip_2"), "CLIPImageProcessor"),
    **dict.fromkeys(("aimv2_vision_model", "clip_vision_model", "metaclip_2_vision_model"), "CLIPImageProcessor"),
    **dict.fromkeys(("beit", "data2vec-vision"), "BeitImageProcessor"),
    **dict.fromkeys(("ijepa", "vit", "vit_mae", "vit_msn"), "ViTImageProcessor"),
    **dict.fromkeys(("siglip", "siglip_vision_model"), "SiglipImageProcessor"),
    "deit": "DeiTImageProcessor",
    "dinov3_vit": "DINOv3ViTImageProcessor",
}
_PATCH_CLASS = "Siglip2ImageProcessor"
_PATCHES: dict[str, object] = {**_EXACT, "resample": Resampling.BILINEAR, "patch_size": 16, "max_num_patches": 256}
# Options that only name things, or that the PIL classes ignore when they are given an RGB picture.
_WITHOUT_EFFECT = (
    {"auto_map", "feature_extractor_type", "image_processor_type", "processor_class", "transformers_version"}
    | {"data_format", "device", "disable_grouping", "input_data_format", "model_input_names", "return_tensors"}
    | {"do_convert_rgb", "do_reduce_labels", "image_seq_length", "pad_size", "reduce_labels"}
)


def parse_processor_config(config: Mapping[str, object], *, model_type: str | None = None) -> dict[str, Any]:
    """Read a parsed ``preprocessor_config.json``, or a ``processor_config.json`` that nests one.

    Options that are absent or null have the default of the class that the config names. If it names none,
    ``model_type`` (from the model's ``config.json``) tells the class; else the known classes must agree.

    Returns
    -------
    dict
        ``resize, crop, filter, rescale, mean, std`` as `featcache.pictures.preprocess.Preprocessor` takes them.

    Raises
    ------
    ModelError
        If the class or an option cannot be honoured exactly.
    """
    given = _parse_options(config, _EXACT)
    name = _name(given) or _CLASS_OF_MODEL.get(model_type or "", model_type)
    if name is not None:
        base = _base(name)
        if base not in _CLASSES:
            raise ModelError(f"image_processor_type is {name!r}, expected one of {sorted(_CLASSES)}")
        return _parse(_CLASSES[base] | given)
    try:
        readings = [_parse(defaults | given) for defaults in _CLASSES.values()]
    except ModelError as error:
        raise ModelError(f"preprocessor config names no image_processor_type, and {error}") from None
    if any(reading != readings[0] for reading in readings):
        raise ModelError(f"preprocessor config names no image_processor_type, one of {sorted(_CLASSES)}")
    return readings[0]


def parse_patch_config(config: Mapping[str, object]) -> dict[str, Any]:
    """Read the configuration of a processor that makes patches, as `parse_processor_config` reads others.

    Returns
    -------
    dict
        ``patch_size, max_patches, filter, rescale, mean, std`` as `featcache.pictures.patches.PatchPreprocessor` takes
        them.

    Raises
    ------
    ModelError
        If the class or an option cannot be honoured exactly.
    """
    given = _parse_options(config, _PATCHES)
    name = _name(given) or _PATCH_CLASS
    if _base(name) != _PATCH_CLASS:
        raise ModelError(f"image_processor_type is {name!r}, expected {_PATCH_CLASS} for a model that takes patches")
    options = _PATCHES | {option: value for option, value in given.items() if option != "size"}
    if options["do_resize"] is not True or options["do_center_crop"] is not False:
        raise ModelError(f"{_PATCH_CLASS} is not to resize, or to crop, which cannot be honoured")
    sides = {option: _size(option, options[option], False) for option in ("patch_size", "max_num_patches")}
    parsed = _parse(options)
    return {
        "patch_size": sides["patch_size"],
        "max_patches": sides["max_num_patches"],
        **{key: parsed[key] for key in ("filter", "rescale", "mean", "std")},
    }


def _name(given: Mapping[str, object]) -> object:
    return given.get("image_processor_type") or given.get("feature_extractor_type")


def _base(name: object) -> str:
    return str(name).replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast").removesuffix("Pil")


def _parse_options(config: Mapping[str, object], known: Mapping[str, object]) -> dict[str, object]:
    """Options that are set, after a check that each is honoured or without effect."""
    nested = config.get("image_processor")
    options = nested if isinstance(nested, Mapping) else config
    given = {name: value for name, value in options.items() if value is not None and name[:1] != "_"}
    for name, value in given.items():
        if name not in known and name not in _WITHOUT_EFFECT and value is not False:
            raise ModelError(f"preprocessor option {name!r} is {value!r}, which cannot be honoured")
    return given


def _parse(options: dict[str, object]) -> dict[str, Any]:
    for name, value in options.items():
        if name in _EXACT and isinstance(_EXACT[name], bool) and not isinstance(value, bool):
            raise ModelError(f"{name} is {value!r}, expected true or false")
    resize = _size("size", options["size"], options["default_to_square"]) if options["do_resize"] else None
    crop = _size("crop_size", options["crop_size"], True) if options["do_center_crop"] else None
    if isinstance(crop, int):
        raise ModelError(f"crop_size is {options['crop_size']!r}, expected a height and a width")
    return {
        "resize": resize,
        "crop": None if crop == resize else crop,
        "filter": _filter(options["resample"]) if resize is not None else Resampling.BICUBIC,
        "rescale": _numbers("rescale_factor", options["rescale_factor"])[0] if options["do_rescale"] else 1.0,
        "mean": _numbers("image_mean", options["image_mean"]) if options["do_normalize"] else (0.0, 0.0, 0.0),
        "std": _numbers("image_std", options["image_std"]) if options["do_normalize"] else (1.0, 1.0, 1.0),
    }


def _size(name: str, value: object, is_square: object) -> int | tuple[int, int]:
    given = value
    if isinstance(value, Mapping):
        given = tuple(sorted((key, side) for key, side in value.items() if side is not None))
    match given:
        case int(side) if is_square:
            sides = [side, side]
        case int(side) | (("shortest_edge", int(side)),):
            sides = [side]
        case (("height", int(height)), ("width", int(width))) | [int(height), int(width)]:
            sides = [height, width]
        case _:
            raise ModelError(f"{name} is {value!r}, expected a height and a width, or shortest_edge alone")
    if isinstance(value, bool) or not all(1 <= side <= _MAX_SIDE for side in sides):
        raise ModelError(f"{name} is {value!r}, expected sides of 1 to {_MAX_SIDE} pixels")
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def _filter(value: object) -> Resampling:
    if isinstance(value, bool) or not isinstance(value, int) or value not in range(6):  # Pillow 13 adds two
        raise ModelError(f"resample is {value!r}, expected the number of a filter of Pillow, 0 to 5")
    return Resampling(value)


def _numbers(name: str, value: object) -> tuple[float, ...]:
    """Three finite numbers, or one for all three channels; 0 only as a mean."""
    values = value if isinstance(value, list | tuple) and name != "rescale_factor" else [value] * 3
    numbers = tuple(float(n) for n in values if isinstance(n, int | float) and math.isfinite(n))
    if len(values) != 3 or len(numbers) != 3 or (name != "image_mean" and 0.0 in numbers):
        raise ModelError(f"{name} is {value!r}, expected finite numbers for 3 channels, no zero to divide by")
    return numbers
