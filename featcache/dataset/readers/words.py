"""The words of data sets for real pictures, AI pictures and missing values: one list for folders, tars and columns."""

import re
from collections.abc import Mapping

__all__ = ["SPLIT_NAMES", "canonical", "is_missing", "is_vague", "is_weak", "verdict_of"]

SPLIT_NAMES: Mapping[str, str] = (
    dict.fromkeys(("train", "training"), "train")
    | dict.fromkeys(("valid", "val", "validation", "dev"), "valid")
    | dict.fromkeys(("test", "testing"), "test")
)
_REAL = frozenset(("real", "reals", "nature", "natural", "human", "humans", "genuine"))
_WEAK = frozenset(("photo", "photos", "photograph", "photographs", "authentic", "original", "originals"))
"""Words for real pictures that mean other things as well: they count only beside a word for AI pictures."""
_AI = frozenset(
    ("ai", "fake", "fakes", "generated", "synthetic", "artificial", "aigenerated", "aigc", "deepfake", "deepfakes")
)
_MISSING = frozenset(("nan", "none", "null", "<na>", "n/a"))
_LONGEST = 8
"""Characters of such a cell, with blanks: captions are longer, and there are millions of them."""
_THINGS = frozenset(
    ("images", "image", "imgs", "img", "pictures", "picture", "pics", "photos", "photo", "faces", "samples")
)
"""What may follow a word: ``real_images``."""

_VAGUE = _THINGS.union(
    ("", "unknown", "true", "false", "data", "dataset", "datasets", "all", "other", "others", "class", "classes")
)


def verdict_of(name: str) -> int | None:
    """Tell what a name says of pictures: 0 real, 1 AI; None: it is no such word.

    Case, a number in front (``0_real``) and a noun behind (``fake_images``) do not count.
    """
    word = _bare(name)
    return 0 if word in _REAL | _WEAK else 1 if word in _AI else None


def is_weak(name: str) -> bool:
    """Tell whether a name means real pictures only where one for AI pictures is beside it."""
    return _bare(name) in _WEAK


def is_vague(name: str) -> bool:
    """Tell whether a name can be that of no generator: a number, ``images``, ``unknown``, ``real_vs_fake``."""
    parts = set(re.split(r"[\s_.-]+", name.strip().lower()))
    is_both = bool(parts & _REAL) and bool(parts & _AI)
    return is_both or parts <= _VAGUE or is_missing(name) or bool(re.fullmatch(r"[+-]?[0-9.]+", name.strip()))


def is_missing(text: str) -> bool:
    """Tell whether a cell says that there is nothing: ``nan``, ``None``, ``NULL`` and the like."""
    return len(text) <= _LONGEST and text.strip().lower() in _MISSING


def canonical(text: str) -> str:
    """Write a value as all its spellings are compared: ``1.0`` and ``True`` as ``1``, names without case."""
    text = text.strip().lower()
    if number := re.fullmatch(r"(-?[0-9]{1,9})\.0*", text):
        return number[1]
    return {"true": "1", "false": "0"}.get(text, text)


def _bare(name: str) -> str:
    parts = re.split(r"[\s_-]+", name.strip().lower())
    if len(parts) > 1 and parts[0].isdecimal():
        parts = parts[1:]
    if len(parts) > 1 and parts[-1] in _THINGS:
        parts = parts[:-1]
    return "".join(parts)
