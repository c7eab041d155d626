"""What programs write where there is nothing, and where something is true: neither captions nor classes."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from featcache.dataset.readers.cells import MISSING_WORDS, quoted
from featcache.dataset.readers.outcome import Parsed
from featcache.dataset.readers.table import more_rows
from featcache.dataset.sample_list import SampleList
from featcache.errors import ManifestError
from featcache.files.string_column import StringColumn

__all__ = ["settle_captions"]

_WORDS = frozenset(word.encode() for word in MISSING_WORDS)
_AT_ONCE = 1 << 16


def settle_captions(parsed: Parsed, rules: int) -> Parsed:
    """Take captions such as ``nan`` for missing, and refuse classes called True or False, from rules 2 on.

    Raises
    ------
    ManifestError
        A class is called True or False, or a sample without picture has no caption then.
    """
    if rules < 2:
        return parsed
    _refuse_truth(parsed.samples)
    rows = _rows_of_words(parsed.samples.caption)
    if not len(rows):
        return parsed
    samples = parsed.samples
    first = int(rows[0])
    alone = rows[~samples.has_image[rows]]
    if len(alone):
        row = int(alone[0])
        raise ManifestError(
            f"{samples.where[row]}: the caption {quoted(samples.caption[row])} is a missing one, expected an image, a "
            f"caption or both, found neither{more_rows(len(alone))}"
        )
    is_word = np.zeros(len(samples), bool)
    is_word[rows] = True
    kept = StringColumn.from_strings(
        "" if word else text for word, text in zip(is_word.tolist(), samples.caption, strict=True)
    )
    what = f"{len(rows):,} captions are" if len(rows) > 1 else "1 caption is"
    note = f"{what} taken for missing: {quoted(samples.caption[first])}, {samples.where[first]}{more_rows(len(rows))}"
    return parsed._replace(samples=replace(samples, caption=kept), notes=(*parsed.notes, note))


def _rows_of_words(captions: StringColumn) -> NDArray[np.int64]:
    """Find the captions that are such a word; only those of its length are looked at."""
    lengths = np.diff(captions.offsets)
    likely = np.flatnonzero(np.isin(lengths, [len(word) for word in _WORDS]))
    found = [
        part[[text in _WORDS for text in captions.encoded(part)]]
        for part in (likely[start : start + _AT_ONCE] for start in range(0, len(likely), _AT_ONCE))
    ]
    return np.concatenate([np.empty(0, np.int64), *found])


def _refuse_truth(samples: SampleList) -> None:
    for code, name in enumerate(samples.class_names):
        if name.lower() in ("true", "false"):
            rows = np.flatnonzero(samples.label_b == code)
            raise ManifestError(
                f"{samples.where[int(rows[0])]}: {quoted(name)} is no class, expected a generator's name or number"
                f"{more_rows(len(rows))}: if the column says whether a picture is AI, name it with --column label_a=…"
            )
