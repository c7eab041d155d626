"""Divisions of the rows, each without one generator or origin among all that a head learns and chooses from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from featcache import link_rows
from heads.data.division import CLASS_RULE, divide_validation
from heads.data.features import BoolArray, Features
from heads.data.folds import Part
from heads.data.tasks import UNKNOWN, IntArray, joint_tasks
from heads.errors import HeadsError

__all__ = ["HOLD_OUTS", "Axis", "HeldOut", "HeldOuts", "build_held_out", "parse_axis"]

Axis = Literal["generator", "origin"]
HOLD_OUTS: tuple[Axis, ...] = ("generator", "origin")
"""What can be held out, one value of it at a time."""


@dataclass(frozen=True)
class HeldOut:
    """One value, and the division of the rows that knows nothing of it.

    Attributes
    ----------
    value : str
    part : Part
        Fits on ``train`` and selects on the selecting part of ``valid``, both without the value; its scored rows are
        the next two.
    calibrating : int array
        The calibrating part of ``valid`` without the value: the threshold is chosen on it.
    tested : int array
        Rows that are judged: those of the value from both splits and, where it is a generator, the real rows of
        ``valid``. None of them shares a group or a picture with a row to fit.
    n_own : int
        How many of them have the value.
    """

    value: str
    part: Part
    calibrating: IntArray
    tested: IntArray
    n_own: int


@dataclass(frozen=True)
class HeldOuts:
    """All values of an axis.

    Attributes
    ----------
    axis : {"generator", "origin"}
    divisions : tuple of HeldOut
        By value, in the order of the classes of task B, or of their names.
    refused : mapping of str to str
        Values that cannot be held out, and why.
    n_unnamed : int
        Rows that are in no division: AI rows whose generator, or rows whose origin is not known.
    """

    axis: Axis
    divisions: tuple[HeldOut, ...]
    refused: Mapping[str, str]
    n_unnamed: int


def parse_axis(value: str) -> Axis:
    """Return an axis by its name."""
    for axis in HOLD_OUTS:
        if axis == value:
            return axis
    raise HeadsError(f"unknown axis {value!r:.80} to hold out, expected one of {', '.join(HOLD_OUTS)}")


def build_held_out(features: Features, axis: Axis, *, rule: str = CLASS_RULE) -> HeldOuts:
    """Divide rows of the splits ``train`` and ``valid`` once for each value.

    Parameters
    ----------
    features : Features
    axis : {"generator", "origin"}
    rule : str
        By which ``valid`` is divided, before anything is left out.

    Raises
    ------
    HeadsError
        If fewer than two values are known, or none of them can be held out.
    """
    task = joint_tasks(features.tasks)[0].name
    y = np.where(features.targets.applies[task], features.targets.y[task], UNKNOWN)
    names, is_named = _named(features, axis, y)
    values = list(dict.fromkeys(names[is_named & (names != "")].tolist()))
    values = [name for name in _classes(features) if name in values] if axis == "generator" else sorted(values)
    if len(values) < 2:
        raise HeadsError(_too_few(axis, values))
    valid = np.flatnonzero(features.split == "valid")
    division = divide_validation(features.select(valid), rule=rule)
    rows = _Rows(
        y,
        names,
        is_named,
        link_rows(features),
        features.split == "train",
        *(_mask(len(y), valid[part]) for part in (division.selecting, division.calibrating)),
    )
    divisions, refused = [], {}
    for value in values:
        found = rows.without(value, axis)
        if isinstance(found, str):
            refused[value] = found
        else:
            divisions.append(found)
    if not divisions:
        value, why = next(iter(refused.items()))
        raise HeadsError(f"no {axis} can be held out: without {value!r:.80} {why}; leave --hold-out out")
    return HeldOuts(axis, tuple(divisions), refused, int((~is_named).sum()))


@dataclass(frozen=True)
class _Rows:
    """What a division is made of: (n,) arrays."""

    y: IntArray
    names: NDArray[np.str_]
    is_named: BoolArray
    sets: IntArray
    is_train: BoolArray
    is_selecting: BoolArray
    is_calibrating: BoolArray

    def without(self, value: str, axis: Axis) -> HeldOut | str:
        """Return the division that knows nothing of a value, or why there is none."""
        own = self.is_named & (self.names == value)
        rest = self.is_named & ~own
        fit, select, calibrating = (np.flatnonzero(rest & part) for part in self._parts)
        if len(np.unique(self.y[fit])) < 2:
            return "one class is left to fit on"
        if not len(select) or not len(calibrating):
            return "no row of validation is left"
        is_free = ~np.isin(self.sets, self.sets[fit])
        found = np.flatnonzero(own & is_free)
        if not len(found):
            return "none of its rows is left to judge: all share a group or a picture with rows to fit"
        others = rest & is_free & (self.y == 0) & ~self.is_train if axis == "generator" else np.zeros_like(own)
        tested = np.union1d(found, np.flatnonzero(others))
        part = Part(fit, select, np.union1d(calibrating, tested))
        return HeldOut(value, part, calibrating, tested, len(found))

    @property
    def _parts(self) -> tuple[BoolArray, BoolArray, BoolArray]:
        return self.is_train, self.is_selecting, self.is_calibrating


def _named(features: Features, axis: Axis, y: IntArray) -> tuple[NDArray[np.str_], BoolArray]:
    """Return each row's value, ``""`` for real rows where generators are meant, and whether it is known."""
    if axis == "origin":
        origin = np.full(len(features), "") if features.origin is None else features.origin
        return origin, (origin != "") & (y != UNKNOWN)
    b = joint_tasks(features.tasks)[1]
    if b is None:
        return np.full(len(features), ""), y == 0
    known = features.targets.applies[b.name]
    names = np.where(known, np.array(b.classes)[np.where(known, features.targets.y[b.name], 0)], "")
    return names, known | (y == 0)


def _classes(features: Features) -> tuple[str, ...]:
    b = joint_tasks(features.tasks)[1]
    return () if b is None else b.classes


def _mask(n: int, rows: IntArray) -> BoolArray:
    mask = np.zeros(n, dtype=np.bool_)
    mask[rows] = True
    return mask


def _too_few(axis: Axis, values: list[str]) -> str:
    found = f"only {values[0]!r:.80}" if values else "none"
    cure = "" if values else f": give the data set a column {axis} and run featcache extract"
    return f"--hold-out {axis} needs two {axis}s or more among labelled rows of train and valid, found {found}{cure}"
