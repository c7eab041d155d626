"""What the cache does not hold of samples: the words of captions, from the data, and little copies of pictures."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np

from featcache import FeatureStore, ImageError, ImageFile, Manifest, decode_rgb
from heads.audit.evidence import Vectors, Words
from heads.audit.rows import AuditRows
from heads.errors import HeadsError

__all__ = ["CAPTIONS", "THUMBNAILS", "read_captions", "read_thumbnails"]

CAPTIONS, THUMBNAILS = "captions", "8×8 thumbnails"
_SIDE = 8
_WORD = re.compile(r"\w+")


def read_captions(store: FeatureStore, rows: AuditRows, data: str | Path) -> Words:
    """Find the captions of rows among those of the data, by the sha256 of their text, and cut them into words.

    Raises
    ------
    HeadsError
        If none of them is there.
    """
    samples, wanted = store.samples, rows.features.keys["text"]
    manifest = Manifest.from_source(data, on_orphan="skip", columns=samples.columns or None, contents=["text"])
    column = manifest.samples.caption
    texts = {hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest(): text for text in column if text}
    known = np.zeros(len(rows), np.bool_)
    numbers: dict[str, int] = {}
    row, word = [], []
    for place, key in enumerate(wanted):
        text = texts.get(key.tobytes())
        if text is not None:
            known[place] = True
            own = {numbers.setdefault(each, len(numbers)) for each in _WORD.findall(text.casefold())}
            row += [place] * len(own)
            word += sorted(own)
    if not known.any():
        raise HeadsError(
            f"none of the {int(wanted.any(axis=1).sum())} captions of these rows is among those of {str(data)!r}: "
            f"name what the cache was filled from ({samples.origin})"
        )
    return Words(CAPTIONS, known, np.array(row, np.int64), np.array(word, np.int64), len(numbers))


def read_thumbnails(store: FeatureStore, rows: AuditRows) -> Vectors:
    """Read pictures that are in files of their own, unchanged since they were hashed, at 8×8 pixels."""
    samples = store.samples
    known = np.zeros(len(rows), np.bool_)
    X = np.zeros((len(rows), 3 * _SIDE**2), np.float32)
    for place, key in enumerate(rows.features.keys["image"]):
        path = Path(samples.source[int(rows.numbers[place])])
        if key.any() and path.is_absolute():
            pixels = _shrink(path, key.tobytes())
            if pixels is not None:
                X[place], known[place] = pixels, True
    return Vectors(THUMBNAILS, known, X)


def _shrink(path: Path, key: bytes) -> np.ndarray[tuple[int], np.dtype[np.float32]] | None:
    """Return the mean colours of 8×8 fields; None of what is not there, is another picture now, or is none."""
    from PIL.Image import Resampling

    try:
        content = ImageFile(str(path)).read_bytes()
        if hashlib.sha256(content).digest() != key:
            return None
        picture = decode_rgb(content, at_least=(_SIDE, _SIDE))
    except (OSError, ImageError):
        return None
    small = picture.resize((_SIDE, _SIDE), Resampling.BOX)
    return np.asarray(small, np.float32).reshape(-1)
