"""Validation divided in two: rows that select (epochs, strengths) and rows that calibrate (the threshold)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache import link_rows
from heads.data.dealing import deal, rank_sets
from heads.data.features import BoolArray, Features, IntArray
from heads.data.halving import halve
from heads.errors import HeadsError

__all__ = ["CLASS_RULE", "SIZE_RULE", "Division", "divide_validation"]

CLASS_RULE = (
    "rows that share a group or a picture (a caption, where no group is given) stay together; such sets, "
    "largest first and then by sha256 of their smallest name, go to the part that is shorter of their classes, "
    "first to the selecting one; then sets are moved for classes that a part lacks"
)
SIZE_RULE = (
    "rows that share a group or a picture (a caption, where no group is given) stay together; such sets, "
    "largest first and then by sha256 of their name, go to the smaller part, first to the selecting one"
)


@dataclass(frozen=True)
class Division:
    """The two parts of the ``n`` validation rows.

    Attributes
    ----------
    selecting, calibrating : bool array (n,)
        Disjoint, and together all rows.
    rule : str
        By which they were divided.
    digest : str
        sha256 over every row's sample_id, content keys, targets and part, in the order of sample_id: equal
        digests mean that validation has not changed.
    """

    selecting: BoolArray
    calibrating: BoolArray
    rule: str
    digest: str


def divide_validation(features: Features, *, rule: str = CLASS_RULE) -> Division:
    """Divide validation rows into a selecting and a calibrating part of about half each.

    The division depends on the rows alone, not on their order, on a seed or on the head.

    Parameters
    ----------
    features : Features
    rule : str
        To divide rows as those of a run were: ``rule`` of its record. `SIZE_RULE` is that of early runs.

    Raises
    ------
    HeadsError
        If there are no rows, or the rule is unknown.
    """
    if rule not in _RULES:
        raise HeadsError(f"validation was divided by an unknown rule, {rule!r:.80}: was that done by a newer version?")
    if len(features) == 0:
        raise HeadsError(
            "no labelled row of split 'valid' is left to select and calibrate on: give some rows the split "
            "'valid' in the manifest, or leave its split column out to have one made"
        )
    calibrating = _RULES[rule](features, link_rows(features)) == 1
    return Division(~calibrating, calibrating, rule, _digest(features, calibrating))


def _divide_by_classes(features: Features, sets: IntArray) -> IntArray:
    # Names of files without their endings need not be unique: what they leave open is decided by sample_id.
    order = np.argsort(features.sample_id, kind="stable")
    first = np.unique(sets[order], return_index=True)[1]
    ranked = rank_sets(np.argsort(np.argsort(first))[sets], features.names.tolist())
    part: IntArray = halve(ranked, features.targets, tasks=features.tasks)[ranked]
    return part


def _divide_by_size(features: Features, sets: IntArray) -> IntArray:
    names = [group or own for group, own in zip(features.group.tolist(), features.names.tolist(), strict=True)]
    ranked = rank_sets(sets, names)
    sizes = np.bincount(ranked)[:, None]
    part: IntArray = deal(((slice(None), size) for size in sizes), np.zeros((2, 1), dtype=np.int64))[ranked]
    return part


_RULES: Mapping[str, Callable[[Features, IntArray], IntArray]] = {
    CLASS_RULE: _divide_by_classes,
    SIZE_RULE: _divide_by_size,
}


def _digest(features: Features, calibrating: BoolArray) -> str:
    order = np.argsort(features.sample_id, kind="stable")
    columns: list[NDArray[Any]] = [features.keys[modality][order] for modality in sorted(features.keys)]
    for task in features.tasks:
        applies = features.targets.applies[task.name][order]
        columns += [applies, np.where(applies, features.targets.y[task.name][order], -1)]
    digest = hashlib.sha256("\0".join(features.sample_id[order].tolist()).encode())
    for column in [*columns, calibrating[order]]:
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()
