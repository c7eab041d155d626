"""RGB picture → pixels of an encoder, equal to what transformers' PIL image processors make of it.

Own code, because transformers takes torchvision wherever that is installed, and its pixels differ from PIL's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from featcache.errors import ModelError
from featcache.pictures.placement import Middle, Placement, middle_box
from featcache.pictures.processor_config import parse_processor_config
from featcache.pictures.resample import COLUMNS_FIRST, pass_order, resize_crop
from featcache.pictures.strips import to_array

__all__ = ["Backend", "Fit", "Preprocessor"]

Backend: TypeAlias = Literal["pillow", "torch"]
Fit: TypeAlias = Literal["crop", "squash", "pad"]

# From this many times the box's pixels on, the whole resized picture is not worth computing.
_MANY_TIMES = {"pillow": 2, "torch": 8}
_TORCH_MODES = {Resampling.BICUBIC: "bicubic", Resampling.BILINEAR: "bilinear"}


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
        The filter by which pictures are resized.
    rescale : float
        Factor from the levels 0…255 to the scale of ``mean`` and ``std``.
    mean, std : tuple of 3 floats
        Subtracted and divided by, in the order RGB.
    backend : {"pillow", "torch"}
        What resizes. Torch takes a third of the time. Where both resample columns first, its pixels are Pillow's to
        within one level, or two in a few millionths of the values. Where Pillow 13 takes the rows first, for their
        number shrinks by more than twice what that of the columns does, a tenth of the values differ: nearly all by
        one level, with bicubic one in ten thousand by more, up to five.
    square_crop : bool
        Whether the largest square in the middle stands for the picture, which removes what its aspect tells.
    image_size : int or None
        The side that was asked for instead of the model's own, which ``resize`` and ``crop`` follow.
    fit : {"crop", "squash", "pad"} or None
        What was asked for instead of the model's own way to bring a picture of another aspect to its size. With
        ``pad`` a picture as large as fits into the size keeps its aspect; around it is the model's mean colour.
    middle : {"down", "even"}
        How the box is placed where as many lines are left over on both sides but for one: half of them rounded down,
        as transformers does, or to the even number, as torchvision does.

    Raises
    ------
    ModelError
        If the size of the result would vary with the picture, or torch cannot resize with the filter.
    """

    resize: int | tuple[int, int] | None
    crop: tuple[int, int] | None = None
    filter: Resampling = Resampling.BICUBIC
    rescale: float = 1 / 255
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    backend: Backend = "pillow"
    square_crop: bool = False
    image_size: int | None = None
    fit: Fit | None = None
    middle: Middle = "down"

    def __post_init__(self) -> None:
        if self.crop is None and not isinstance(self.resize, tuple):
            raise ModelError(f"size of pixels varies: resize is {self.resize!r}, expected an exact one or a crop")
        if self.backend not in _MANY_TIMES:
            raise ModelError(f"resize backend {self.backend!r} is unknown, expected one of {', '.join(_MANY_TIMES)}")
        if self._is_by_torch and self.filter not in _TORCH_MODES:
            name = self.filter.name.lower()
            raise ModelError(f"torch resizes with bicubic or bilinear, but the model's filter is {name}")

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, object],
        *,
        model_type: str | None = None,
        resize: Backend = "pillow",
        square_crop: bool = False,
    ) -> Preprocessor:
        """Read a parsed ``preprocessor_config.json``, or a ``processor_config.json`` that nests one.

        What the config does not say is told by ``model_type``, from the model's ``config.json``. ``resize`` is
        the backend; it and ``square_crop`` are the user's choice.

        Raises
        ------
        ModelError
            If the class or an option cannot be honoured exactly, or the size of the result varies.
        """
        options = parse_processor_config(config, model_type=model_type)
        return cls(**options, backend=resize, square_crop=square_crop)

    def sized(self, side: int | None) -> Preprocessor:
        """Return this for pictures of another side: resize and crop are scaled; as it is for None or its own.

        Raises
        ------
        ModelError
            If it makes no squares, or does not resize.
        """
        if side is None or self.size == (side, side):
            return self
        own = self.size[0]
        if self.resize is None or self.size != (own, own):
            raise ModelError(f"image size {side} cannot be had: the model's own preprocessing makes no square of any")
        resize = round(self.resize * side / own) if isinstance(self.resize, int) else self.resize
        if isinstance(resize, tuple):
            resize = (round(resize[0] * side / own), round(resize[1] * side / own))
        return replace(self, resize=resize, crop=None if self.crop is None else (side, side), image_size=side)

    def fitted(self, fit: Fit | None) -> Preprocessor:
        """Return this with pictures of another aspect brought to the size by ``fit``; as it is for None or its own.

        Raises
        ------
        ModelError
            If it does not resize, or there is no such way.
        """
        if fit not in (None, "crop", "squash", "pad"):
            raise ModelError(f"fit {fit!r} is unknown, expected crop, squash or pad")
        if fit is None or fit == ("crop" if isinstance(self.resize, int) else "squash"):
            return self
        if self.resize is None:
            raise ModelError(f"pictures cannot be fitted by {fit}: the model's own preprocessing does not resize")
        if fit == "crop":
            assert isinstance(self.resize, tuple)
            return replace(self, resize=min(self.resize), crop=self.size, fit=fit)
        return replace(self, resize=self.size, crop=None, fit=fit)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the result."""
        if self.crop is not None:
            return self.crop
        assert isinstance(self.resize, tuple)
        return self.resize

    @property
    def at_least(self) -> tuple[int, int] | None:
        """Height and width below which `featcache.pictures.decode.decode_rgb` may not scale: twice the resize.

        Scaled decoding drops high frequencies abruptly, which a resize by half or more mostly hides: at twice the
        resize the pixels of a picture differ by 0.4 to 1.0 levels on average, at once by 1 to 3.5. None: the size
        must not change.
        """
        match self.resize:
            case (height, width) if not self.square_crop:
                return 2 * height, 2 * width
            case (height, width):
                return 2 * max(height, width), 2 * max(height, width)
            case int(edge):
                return 2 * edge, 2 * edge
            case _:
                return None

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resize and crop an RGB picture.

        Pillow resizes the whole picture where that is at most twice the box wanted, as for most photographs;
        else only the box, and the input under it, is computed. The two agree in every bit. Torch resizes the
        whole up to eight times the box; beyond that the box is computed as Pillow would.

        Returns
        -------
        ndarray of uint8, shape (height, width, 3)
        """
        if image.mode != "RGB":
            raise ValueError(f"picture has mode {image.mode!r}, expected 'RGB' as decode_rgb makes it")
        placed = self.place(image.height, image.width)
        if self.square_crop:
            top, left, height, width = placed.source
            image = image.crop((left, top, left + width, top + height))
        (height, width), (top, left, *part_size) = placed.size, placed.box
        if self.resize is not None and height * width > _MANY_TIMES[self.backend] * part_size[0] * part_size[1]:
            passes = COLUMNS_FIRST if self._is_by_torch else pass_order()
            part = resize_crop(image, (height, width), placed.box, filter=self.filter, passes=passes)
        elif self._is_by_torch:
            whole_rgb = _resize_by_torch(image, (height, width), _TORCH_MODES[self.filter])
            part = np.array(whole_rgb[top : top + part_size[0], left : left + part_size[1]], order="C")
        else:
            whole = image if self.resize is None else image.resize((width, height), self.filter)
            part = np.array(whole.crop((left, top, left + part_size[1], top + part_size[0])))
        return _padded(part, self.size, placed.at, self.fill)

    def place(self, height: int, width: int) -> Placement:
        """Say which pixels of a picture of this size are seen."""
        source = (0, 0, height, width)
        if self.square_crop:
            side = min(height, width)
            source = ((height - side) // 2, (width - side) // 2, side, side)
        size = self._resized(*source[2:])
        box = middle_box(size, self.size, self.middle)
        # The odd line above and to the left.
        return Placement(source, size, box, ((self.size[0] - box[2] + 1) // 2, (self.size[1] - box[3] + 1) // 2))

    def document(self) -> dict[str, Any]:
        """Describe all that decides the pixels and their normalisation, for a fingerprint.

        ``passes`` is the order in which the installed Pillow resamples the axes: Pillow 13 changed it, and
        with it the last bit of some pixels. Torch does columns first.
        """
        match self.resize:
            case int(edge):
                resize = f"shortest_edge:{edge}"
            case (height, width):
                resize = f"exact:{height}x{width}"
            case _:
                resize = "none"
        document = {
            "backend": "pillow",
            "resize": resize,
            "filter": None if self.resize is None else self.filter.name.lower(),
            "passes": None if self.resize is None else pass_order(),
            "crop": None if self.crop is None else list(self.crop),
            "rescale": self.rescale,
            "mean": list(self.mean),
            "std": list(self.std),
        }
        if self._is_by_torch:
            document |= {"backend": "torch", "passes": COLUMNS_FIRST, "long": "pillow beyond 8 boxes"}
        if self.square_crop:
            document |= {"square_crop": True}
        if self.image_size is not None:
            document |= {"image_size": self.image_size}
        if self.fit is not None:
            document |= {"fit": self.fit}
        if self.fit == "pad":
            document |= {"fill": list(self.fill)}
        if self.middle != "down":
            document |= {"middle": self.middle}
        return document

    @property
    def fill(self) -> tuple[int, ...]:
        """What is around a picture that is smaller than the result."""
        if self.fit != "pad":
            return (0, 0, 0)
        return tuple(min(max(round(mean / self.rescale), 0), 255) for mean in self.mean)

    @property
    def _is_by_torch(self) -> bool:
        return self.backend == "torch" and self.resize is not None

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        match self.resize:
            case int(edge):  # the longer side is cut to an integer, after a float division, as in the reference
                if width <= height:
                    return int(edge * height / width), edge
                return edge, int(edge * width / height)
            case (box_height, box_width) if self.fit == "pad":
                scale = min(box_height / height, box_width / width)
                return max(1, round(height * scale)), max(1, round(width * scale))
            case (exact_height, exact_width):
                return exact_height, exact_width
            case _:
                return height, width


def _resize_by_torch(image: Image.Image, size: tuple[int, int], mode: str) -> NDArray[np.uint8]:
    import torch

    # Batch axis first, then the permutation: torch sees channels last, and neither it nor we copy to turn them round.
    levels = torch.from_numpy(to_array(image))[None].permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(levels, size, mode=mode, antialias=True)
    result: NDArray[np.uint8] = resized[0].permute(1, 2, 0).numpy()
    return result


def _padded(
    part: NDArray[np.uint8], size: tuple[int, int], at: tuple[int, int], fill: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Put a part that is too small where it belongs, in one colour."""
    height, width = part.shape[:2]
    if (height, width) == size:
        return part
    result = np.full((*size, 3), fill, np.uint8)
    result[at[0] : at[0] + height, at[1] : at[1] + width] = part
    return result
