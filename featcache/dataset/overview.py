"""What was read of a data set, in a few lines: samples by split and class, with an example of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from featcache.dataset.sample_list import SampleList
from featcache.identity.terms import SPLITS

__all__ = ["UNLABELLED", "UNNAMED", "ClassCount", "overview", "summarise"]

UNNAMED = "AI, generator unknown"
UNLABELLED = "no label"


@dataclass(frozen=True)
class ClassCount:
    """Samples of one split and class.

    Attributes
    ----------
    split : str or None
        None: not assigned yet.
    label : str
        ``real``, ``AI, NAME`` with the generator's name, ``AI, generator unknown``, or ``no label``.
    n_samples : int
        How many.
    example : str
        Where the picture of the first one is, below the data if it is there; of a caption alone the sample's id.
    """

    split: str | None
    label: str
    n_samples: int
    example: str


def overview(samples: SampleList, origin: str) -> tuple[ClassCount, ...]:
    """Count samples by split and class: splits in their order, real pictures first, those without a label last.

    Parameters
    ----------
    samples : SampleList
        All samples.
    origin : str
        Where they were read from: what lies there is named below it.
    """
    n_classes = len(samples.class_names) + 1
    codes = (samples.split_code.astype(np.int64) * 3 + samples.label_a + 1) * n_classes + samples.label_b + 1
    _, firsts, counts = np.unique(codes, return_index=True, return_counts=True)
    classes = []
    for row, count in zip(firsts.tolist(), counts.tolist(), strict=True):
        sample = samples[row]
        example = sample.image.name if sample.image else sample.sample_id
        label = _label(sample.label_a, sample.label_b)
        classes.append(ClassCount(sample.split, label, count, _below(example, origin)))
    return tuple(sorted(classes, key=_order))


def summarise(classes: Sequence[ClassCount], n_lines: int) -> tuple[ClassCount, ...]:
    """Put the generators of a split together where there would be more lines than these."""
    if len(classes) <= n_lines:
        return tuple(classes)
    by_line: dict[tuple[str | None, str], list[ClassCount]] = {}
    for one in classes:
        is_named = one.label not in ("real", UNNAMED, UNLABELLED)
        by_line.setdefault((one.split, "generators" if is_named else one.label), []).append(one)
    return tuple(
        ClassCount(
            split,
            f"AI, {len(each)} generators" if label == "generators" and len(each) > 1 else each[0].label,
            sum(one.n_samples for one in each),
            each[0].example,
        )
        for (split, label), each in by_line.items()
    )


def _label(label_a: int, label_b: str | None) -> str:
    if label_a == 1:
        return UNNAMED if label_b is None else f"AI, {label_b}"
    return "real" if label_a == 0 else UNLABELLED


def _below(name: str, origin: str) -> str:
    path, folder = PurePath(name), PurePath(origin)
    if not origin or origin.startswith("hf:"):
        return name
    parents = (folder, folder.parent)
    return next((str(path.relative_to(each)) for each in parents if path.is_relative_to(each)), name)


def _order(one: ClassCount) -> tuple[int, int, str]:
    labels = ("real", UNNAMED, "", UNLABELLED)
    place = labels.index(one.label) if one.label in labels else 2
    return SPLITS.index(one.split) if one.split in SPLITS else len(SPLITS), place, one.label
