"""Views: named, seeded perturbations of the decoded full-size picture, to be encoded beside it.

The name says all: ``jpeg:75``, ``blur:1``, ``jpeg:50+blur:1``. The features of a view lie in a folder of that
name, so what a name means never changes; a new meaning needs a new name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from featcache.errors import FeatcacheError, did_you_mean
from featcache.identity.terms import CLEAN

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["MAX_VIEWS", "PRESETS", "VIEW_RULES", "Perturbation", "View", "expand_views", "parse_view"]

MAX_VIEWS = 32
"""Most views that one request may name: each costs a forward of every picture."""

PRESETS: Mapping[str, tuple[str, ...]] = {
    "train": (CLEAN, "hflip", "jpeg:75", "blur:1", "noise:0.02", "brightness:0.75", "rescale:0.75", "crop:0.8"),
    "report": (
        *(CLEAN, "jpeg:50", "jpeg:30", "blur:2", "noise:0.05", "brightness:0.5", "rescale:0.5", "crop:0.6"),
        "rescale:0.5+jpeg:50",
    ),
}
"""Views to train on and views to report: every severity of the second is stronger than all of the first.

Both have the clean view, which is the baseline of either.
"""

_MAX_PARTS = 4
_NUMBER = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4})?")


@dataclass(frozen=True)
class _Kind:
    """One kind of perturbation, and the numbers it takes: ``low`` to ``high``, but not ``neutral``."""

    meaning: str
    low: float = 0.0
    high: float = 0.0
    neutral: float | None = None
    is_whole: bool = False
    takes_number: bool = True
    is_scale: bool = False


_KINDS: Mapping[str, _Kind] = {
    "hflip": _Kind("left and right swapped", takes_number=False),
    "jpeg": _Kind(
        "JPEG of this quality and back: baseline, 4:2:0, standard tables; the pixels follow Pillow's libjpeg",
        *(1, 100),
        is_whole=True,
    ),
    "blur": _Kind("Gaussian blur, sigma in pixels of the full-size picture", 0.25, 20),
    "noise": _Kind("seeded Gaussian noise, sigma as a fraction of 255", 0.001, 1),
    "brightness": _Kind("levels times this factor, clipped", 0.05, 10, neutral=1),
    "rescale": _Kind(
        "both sides times this factor by Pillow's antialiased bicubic, left at that size",
        *(0.05, 2),
        neutral=1,
        is_scale=True,
    ),
    "crop": _Kind("this fraction of each side kept, at a seeded position", 0.05, 1, neutral=1, is_scale=True),
}

VIEW_RULES: Mapping[str, str] = {CLEAN: "the picture itself"} | {name: kind.meaning for name, kind in _KINDS.items()}
"""What each name means, its unit included."""


@dataclass(frozen=True)
class Perturbation:
    """One part of a view.

    Attributes
    ----------
    kind : str
        A key of `VIEW_RULES` other than ``clean``.
    value : float or None
        Its number, at most four decimals; None for a kind that takes none.

    Raises
    ------
    FeatcacheError
        If there is no such kind, or the number is none that it takes.
    """

    kind: str
    value: float | None = None

    def __post_init__(self) -> None:
        kind = _KINDS.get(self.kind)
        if kind is None:
            raise FeatcacheError(f"perturbation {self.kind!r} is unknown, expected one of {', '.join(_KINDS)}")
        if not kind.takes_number:
            if self.value is not None:
                raise FeatcacheError(f"view part {self.kind!r} takes no number, got {self.value!r}")
            return
        bounds = f"{kind.low:g} to {kind.high:g}"
        if self.value is None:
            raise FeatcacheError(f"view part {self.kind!r} has no number, expected {self.kind}:N with N from {bounds}")
        is_in_range = kind.low <= self.value <= kind.high and self.value != kind.neutral
        if not is_in_range or (kind.is_whole and self.value != int(self.value)) or self.value != round(self.value, 4):
            which = "whole numbers" if kind.is_whole else "numbers of at most 4 decimals"
            but = "" if kind.neutral is None else f", except {kind.neutral:g}, which changes nothing"
            raise FeatcacheError(f"{self.kind} takes {which} from {bounds}{but}; got {self.value!r}")

    @property
    def scale(self) -> float:
        """Factor to both sides of a picture."""
        return self.value if self.value is not None and _KINDS[self.kind].is_scale else 1.0

    def __str__(self) -> str:
        if self.value is None:
            return self.kind
        return f"{self.kind}:{self.value:.4f}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class View:
    """A picture as it is, or after a few perturbations, one after the other.

    Attributes
    ----------
    parts : tuple of Perturbation
        The perturbations in the order of application; empty: the clean view.

    Raises
    ------
    FeatcacheError
        If there are more than four parts, or two equal ones.
    """

    parts: tuple[Perturbation, ...] = ()

    def __post_init__(self) -> None:
        if len(self.parts) > _MAX_PARTS:
            raise FeatcacheError(f"view {str(self)!r} has {len(self.parts)} parts, at most {_MAX_PARTS} are allowed")
        if len(set(self.parts)) < len(self.parts):
            raise FeatcacheError(f"view {str(self)!r} has the same part twice")

    def __str__(self) -> str:
        """Return the canonical name, which is also the name of the folder of its shards."""
        return "+".join(map(str, self.parts)) or CLEAN

    @property
    def is_clean(self) -> bool:
        """Whether this is the picture itself."""
        return not self.parts

    def apply(self, picture: Image.Image, key: bytes) -> Image.Image:
        """Perturb a decoded picture.

        A part that draws random numbers does so by its `seed`: the same pixels in any process, thread and order.

        Parameters
        ----------
        picture : PIL.Image.Image
            RGB, at its full size; it is left as it is.
        key : bytes
            Sha256 of the picture's bytes.

        Returns
        -------
        PIL.Image.Image
            RGB; for the clean view ``picture`` itself. Only ``rescale`` and ``crop`` change the size.

        Raises
        ------
        ImageError
            If the picture is too large for a part: a side beyond JPEG's, or rescaled beyond `MAX_PIXELS`.
        """
        from featcache.pictures.perturbations import PERTURBATIONS  # loads Pillow, which names do not need

        if picture.mode != "RGB":
            raise ValueError(f"picture has mode {picture.mode!r}, expected 'RGB' as decode_rgb makes it")
        for place, part in enumerate(self.parts):
            picture = PERTURBATIONS[part.kind](picture, part.value or 0.0, self.seed(place, key))
        return picture

    def seed(self, place: int, key: bytes) -> bytes:
        """Return the seed of the part at a place for the picture whose bytes have this sha256.

        It is the first 16 bytes of sha256(``key`` + "/" + place + "/" + the part's canonical name).
        """
        return hashlib.sha256(key + f"/{place}/{self.parts[place]}".encode()).digest()[:16]


def parse_view(text: str) -> View:
    """Read a view's name: ``clean``, or perturbations joined by ``+``.

    Numbers are normalised (``jpeg:075.0`` is ``jpeg:75``); case and blanks around the parts do not matter.

    Raises
    ------
    FeatcacheError
        If a part is none of `VIEW_RULES` or its number is out of range.
    """
    if not text.strip():
        raise FeatcacheError("the name of a view is empty, expected one such as 'clean' or 'jpeg:75'")
    if text.strip().lower() == CLEAN:
        return View()
    return View(tuple(_parse_part(part.strip().lower(), text) for part in text.split("+")))


def expand_views(texts: str | Sequence[str]) -> tuple[View, ...]:
    """Read a request for views: names and presets, in comma lists or one by one.

    Returns
    -------
    tuple of View
        Views in the order asked for, each once.

    Raises
    ------
    FeatcacheError
        If nothing is named, a name is empty or none, or there are more than `MAX_VIEWS`.
    """
    asked = [texts] if isinstance(texts, str) else list(texts)
    names = [name.strip() for text in asked for name in text.split(",")]
    if not any(names):
        raise FeatcacheError("no view is named, expected at least 'clean'")
    if not all(names):
        raise FeatcacheError(f"an empty view is among {','.join(asked)!r}, expected a name before and after each comma")
    found: dict[View, None] = {}
    for name in names:
        found.update(dict.fromkeys(map(parse_view, PRESETS.get(name.lower(), (name,)))))
    if len(found) > MAX_VIEWS:
        raise FeatcacheError(f"{len(found)} views are named, at most {MAX_VIEWS} are allowed")
    return tuple(found)


def _parse_part(part: str, text: str) -> Perturbation:
    if not part:
        raise FeatcacheError(f"view {text!r} has an empty part, expected a perturbation on both sides of each +")
    name, colon, number = part.partition(":")
    if name not in _KINDS:
        if name in (CLEAN, *PRESETS):
            raise FeatcacheError(f"view {text!r} combines {name!r}, which stands alone")
        known = (*VIEW_RULES, *PRESETS)
        what = f"view {text!r} has the part {part!r}, expected one of {', '.join(known)}"
        raise FeatcacheError(what + did_you_mean(name, known))
    if colon and not _NUMBER.fullmatch(number):
        raise FeatcacheError(f"view {text!r} has the number {number!r}, expected digits such as 75 or 0.05")
    return Perturbation(name, float(number) if colon else None)
