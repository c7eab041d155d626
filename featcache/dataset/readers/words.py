"""The words of data sets for real pictures, AI pictures and missing values: one list for folders, tars and columns."""

import re
from collections.abc import Mapping
from functools import lru_cache

__all__ = [
    "SPLIT_NAMES",
    "UNLABELLED",
    "bare",
    "canonical",
    "counts_alone",
    "is_missing",
    "is_split_like",
    "is_thing",
    "is_vague",
    "is_weak",
    "split_of",
    "verdict_of",
]

SPLIT_NAMES: Mapping[str, str] = (
    dict.fromkeys(("train", "training"), "train")
    | dict.fromkeys(("valid", "val", "validation", "dev"), "valid")
    | dict.fromkeys(("test", "testing"), "test")
)
_SPLIT = re.compile(rf"({'|'.join(SPLIT_NAMES)})(?:[-_ ]?(?:(?:19|20)[0-9]{{2}}|set|split))?", re.IGNORECASE)
UNLABELLED = frozenset(("unknown", "unlabeled", "unlabelled"))
"""Words that say of a picture that nothing is known of it."""
_SUBJECTS = frozenset(("nature", "natural", "human", "humans"))
"""Words for real pictures that say as often what pictures show: among folders they need one for AI pictures."""
_REAL = _SUBJECTS.union(("real", "reals", "genuine"))
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
    ("", "true", "false", "data", "dataset", "datasets", "all", "other", "others", "class", "classes", "misc"),
    ("thumbnails", "thumbnail", "thumbs", "thumb", "previews", "preview", "unsorted", "set", "split"),
    UNLABELLED,
)


def verdict_of(name: str) -> int | None:
    """Tell what a name says of pictures: 0 real, 1 AI; None: it is no such word.

    Case, a number in front (``0_real``) and a noun behind (``fake_images``) do not count.
    """
    word = bare(name)
    return 0 if word in _REAL | _WEAK else 1 if word in _AI else None


def is_weak(name: str) -> bool:
    """Tell whether a name means real pictures only where one for AI pictures is beside it."""
    return bare(name) in _WEAK


def counts_alone(name: str) -> bool:
    """Tell whether a word for real or AI pictures means them among any other folders."""
    return bare(name) not in _WEAK | _SUBJECTS


def split_of(name: str) -> str | None:
    """Name the split that a folder is called after, alone or with a year or ``set``: ``val``, ``train2017``."""
    found = _SPLIT.fullmatch(name.strip())
    return None if found is None else SPLIT_NAMES[found[1].lower()]


def is_split_like(name: str) -> bool:
    """Tell whether a folder is called after a split and nothing else that has a meaning: ``test_images``, ``val2``."""
    word = re.split("[^a-z]", name.strip().lower(), maxsplit=1)[0]
    return split_of(name) is not None or (word in SPLIT_NAMES and is_vague(name.strip()[len(word) :]))


def is_thing(name: str) -> bool:
    """Tell whether a name says that pictures are there, and nothing of what they are: ``images``, ``img_samples``."""
    return set(re.split(r"[\s_-]+", name.strip().lower())) <= _THINGS - _WEAK


def is_vague(name: str) -> bool:
    """Tell whether a name can be that of no generator: a number, ``images``, ``unlabeled``, ``real_vs_fake``."""
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


@lru_cache(maxsize=4096)  # the same few names are asked about for each of many folders
def bare(name: str) -> str:
    """Write a name as words are compared: without case, a number in front, a noun behind, and what separates them."""
    parts = re.split(r"[\s_-]+", name.strip().lower())
    if len(parts) > 1 and parts[0].isdecimal():
        parts = parts[1:]
    if len(parts) > 1 and parts[-1] in _THINGS:
        parts = parts[:-1]
    return "".join(parts)
