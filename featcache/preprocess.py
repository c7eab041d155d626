"""RGB picture → pixels of an encoder, equal to what transformers' PIL image processors make of it.

Own code, because transformers takes torchvision wherever that is installed, and its pixels differ from PIL's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from featcache.errors import ModelError
from featcache.resample import pass_order, resize_crop

__all__ = ["Preprocessor", "normalise"]

_MAX_SIDE = 8192
_MANY_TIMES = 2  # from this many times the box's pixels on, the whole resized picture is not worth computing

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
_CLASSES: dict[str, dict[str, object]] = {
    "BitImageProcessor": _CLIP,
    "CLIPImageProcessor": _CLIP,
    "DeiTImageProcessor": _EXACT | {"do_center_crop": True, "size": {"height": 256, "width": 256}},
    "SiglipImageProcessor": _EXACT | {"default_to_square": False},
    "ViTImageProcessor": _EXACT | {"resample": Resampling.BILINEAR},
}
_CLASS_OF_MODEL = {
    **dict.fromkeys(("bit", "dinov2", "dinov2_with_registers"), "BitImageProcessor"),
    **dict.fromkeys(("altclip", "clip", "metaclip_2"), "CLIPImageProcessor"),
    **dict.fromkeys(("ijepa", "vit", "vit_mae", "vit_msn"), "ViTImageProcessor"),
    "deit": "DeiTImageProcessor",
    "siglip": "SiglipImageProcessor",
}
# Options that only name things, or that the PIL classes ignore when they are given an RGB picture.
_WITHOUT_EFFECT = (
    {"auto_map", "feature_extractor_type", "image_processor_type", "processor_class", "transformers_version"}
    | {"data_format", "device", "disable_grouping", "input_data_format", "model_input_names", "return_tensors"}
    | {"do_convert_rgb", "image_seq_length", "pad_size"}
)


@dataclass(frozen=True)
class Preprocessor:
    """What an encoder does to a picture before it sees it; the result always has the same size.

    Attributes
    ----------
    resize : int, (height, width) or None
        Length of the shorter side after the resize, an exact size, or no resize.
    crop : (height, width) or None
        Box cut from the middle, padded with black where the picture is smaller.
    filter : Resampling
        Of the resize.
    rescale : float
        Factor from the levels 0…255 to the scale of ``mean`` and ``std``.
    mean, std : tuple of 3 floats
        Subtracted and divided by, in the order RGB.

    Raises
    ------
    ModelError
        If the size of the result would vary with the picture.
    """

    resize: int | tuple[int, int] | None
    crop: tuple[int, int] | None = None
    filter: Resampling = Resampling.BICUBIC
    rescale: float = 1 / 255
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if self.crop is None and not isinstance(self.resize, tuple):
            raise ModelError(f"size of pixels varies: resize is {self.resize!r}, expected an exact one or a crop")

    @classmethod
    def from_config(cls, config: Mapping[str, object], *, model_type: str | None = None) -> Preprocessor:
        """Read a parsed ``preprocessor_config.json``, or a ``processor_config.json`` that nests one.

        Options that are absent or null have the default of the class that the config names. If it names none,
        ``model_type`` (from the model's ``config.json``) tells the class; else the known classes must agree.

        Raises
        ------
        ModelError
            If the class or an option cannot be honoured exactly, or the size of the result varies.
        """
        nested = config.get("image_processor")
        given = _parse_options(nested if isinstance(nested, Mapping) else config)
        name = given.get("image_processor_type") or given.get("feature_extractor_type")
        name = name or _CLASS_OF_MODEL.get(model_type or "", model_type)
        if name is not None:
            base = str(name).replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast").removesuffix("Pil")
            if base not in _CLASSES:
                raise ModelError(f"image_processor_type is {name!r}, expected one of {sorted(_CLASSES)}")
            return _parse(_CLASSES[base] | given)
        try:
            readings = {_parse(defaults | given) for defaults in _CLASSES.values()}
        except ModelError as error:
            raise ModelError(f"preprocessor config names no image_processor_type, and {error}") from None
        if len(readings) > 1:
            raise ModelError(f"preprocessor config names no image_processor_type, one of {sorted(_CLASSES)}")
        return readings.pop()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the result."""
        if self.crop is not None:
            return self.crop
        assert isinstance(self.resize, tuple)
        return self.resize

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resize and crop an RGB picture.

        Pillow resizes the whole picture where that is at most twice the box wanted, as for most photographs;
        else only the box, and the input under it, is computed. The two agree in every bit.

        Returns
        -------
        ndarray of uint8, shape (height, width, 3)
        """
        if image.mode != "RGB":
            raise ValueError(f"picture has mode {image.mode!r}, expected 'RGB' as decode_rgb makes it")
        height, width = self._resized(image.height, image.width)
        rows, columns = _middle(height, self.size[0]), _middle(width, self.size[1])
        box_height, box_width = rows.stop - rows.start, columns.stop - columns.start
        if self.resize is None or height * width <= _MANY_TIMES * box_height * box_width:
            whole = image if self.resize is None else image.resize((width, height), self.filter)
            part = np.array(whole.crop((columns.start, rows.start, columns.stop, rows.stop)))
        else:
            box = (rows.start, columns.start, box_height, box_width)
            part = resize_crop(image, (height, width), box, filter=self.filter)
        return _padded(part, self.size)

    def document(self) -> dict[str, Any]:
        """Describe all that decides the pixels and their normalisation, for a fingerprint.

        ``passes`` is the order in which the installed Pillow resamples the axes: Pillow 13 changed it, and
        with it the last bit of some pixels.
        """
        match self.resize:
            case int(edge):
                resize = f"shortest_edge:{edge}"
            case (height, width):
                resize = f"exact:{height}x{width}"
            case _:
                resize = "none"
        return {
            "backend": "pillow",
            "resize": resize,
            "filter": None if self.resize is None else self.filter.name.lower(),
            "passes": None if self.resize is None else pass_order(),
            "crop": None if self.crop is None else list(self.crop),
            "rescale": self.rescale,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        match self.resize:
            case int(edge):  # the longer side is cut to an integer, after a float division, as in the reference
                if width <= height:
                    return int(edge * height / width), edge
                return edge, int(edge * width / height)
            case (exact_height, exact_width):
                return exact_height, exact_width
            case _:
                return height, width


def normalise(pixels: NDArray[np.uint8], p: Preprocessor) -> NDArray[np.float32]:
    """Turn pixels into the encoder's input, with the reference's arithmetic.

    The product with ``rescale`` is taken in float64 and rounded to float32, ``(x - mean) / std`` in float32.
    A level has one result per channel, so 3 × 256 of them are computed and looked up.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (n, height, width, 3)
    p : Preprocessor

    Returns
    -------
    ndarray of float32, shape (n, 3, height, width)
    """
    levels = (np.arange(256, dtype=np.float64) * p.rescale).astype(np.float32)
    result = np.empty((len(pixels), 3, *pixels.shape[1:3]), np.float32)
    for channel in range(3):
        table = (levels - np.float32(p.mean[channel])) / np.float32(p.std[channel])
        np.take(table, pixels[..., channel], out=result[:, channel], mode="clip")
    return result


def _middle(length: int, wanted: int) -> slice:
    """Middle part of an axis, or all of it where it is too short."""
    start = max(0, (length - wanted) // 2)
    return slice(start, start + min(length, wanted))


def _padded(part: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Put a part that is too small into the middle of black, the odd line above and to the left."""
    height, width = part.shape[:2]
    if (height, width) == size:
        return part
    top, left = (size[0] - height + 1) // 2, (size[1] - width + 1) // 2
    result = np.zeros((*size, 3), np.uint8)
    result[top : top + height, left : left + width] = part
    return result


def _parse_options(config: Mapping[str, object]) -> dict[str, object]:
    """Options that are set, after a check that each is honoured or without effect."""
    given = {name: value for name, value in config.items() if value is not None and name[:1] != "_"}
    for name, value in given.items():
        if name not in _EXACT and name not in _WITHOUT_EFFECT and value is not False:
            raise ModelError(f"preprocessor option {name!r} is {value!r}, which cannot be honoured")
    return given


def _parse(options: dict[str, object]) -> Preprocessor:
    for name, value in options.items():
        if name in _EXACT and isinstance(_EXACT[name], bool) and not isinstance(value, bool):
            raise ModelError(f"{name} is {value!r}, expected true or false")
    resize = _size("size", options["size"], options["default_to_square"]) if options["do_resize"] else None
    crop = _size("crop_size", options["crop_size"], True) if options["do_center_crop"] else None
    if isinstance(crop, int):
        raise ModelError(f"crop_size is {options['crop_size']!r}, expected a height and a width")
    return Preprocessor(
        resize=resize,
        crop=None if crop == resize else crop,
        filter=_filter(options["resample"]) if resize is not None else Resampling.BICUBIC,
        rescale=_numbers("rescale_factor", options["rescale_factor"])[0] if options["do_rescale"] else 1.0,
        mean=_numbers("image_mean", options["image_mean"]) if options["do_normalize"] else (0.0, 0.0, 0.0),
        std=_numbers("image_std", options["image_std"]) if options["do_normalize"] else (1.0, 1.0, 1.0),
    )


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
