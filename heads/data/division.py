"""Validation divided in two: rows that select (epochs, strengths) and rows that calibrate (the threshold)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache import link_rows
from heads.data.features import BoolArray, Features, IntArray
from heads.errors import HeadsError

__all__ = ["DIVISION_RULE", "Division", "divide_validation"]

DIVISION_RULE = (
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
    digest : str
        sha256 over every row's sample_id, content keys, targets and part, in the order of sample_id: equal
        digests mean that validation has not changed.
    """

    selecting: BoolArray
    calibrating: BoolArray
    digest: str


def divide_validation(features: Features) -> Division:
    """Divide validation rows into a selecting and a calibrating part of about half each.

    The division depends on the rows alone, not on their order, on a seed or on the head.

    Raises
    ------
    HeadsError
        If there are no rows.
    """
    if len(features) == 0:
        raise HeadsError(
            "no labelled row of split 'valid' is left to select and calibrate on: give some rows the split "
            "'valid' in the manifest, or leave its split column out to have one made"
        )
    sets = link_rows(features)
    sizes = np.bincount(sets)
    names = _set_names(features, sets)
    order = sorted(range(len(sizes)), key=lambda i: (-sizes[i], hashlib.sha256(names[i].encode()).digest()))
    n_rows = [0, 0]
    part_of = np.zeros(len(sizes), dtype=np.bool_)
    for index in order:
        is_second = n_rows[1] < n_rows[0]
        part_of[index] = is_second
        n_rows[is_second] += int(sizes[index])
    calibrating = part_of[sets]
    return Division(~calibrating, calibrating, _digest(features, calibrating))


def _set_names(features: Features, sets: IntArray) -> dict[int, str]:
    """Name each set by the smallest group in it, or the name of a row that has no group."""
    names: dict[int, str] = {}
    for index, group, own in zip(sets.tolist(), features.group.tolist(), features.names.tolist(), strict=True):
        name = group or own
        names[index] = min(names.get(index, name), name)
    return names


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
