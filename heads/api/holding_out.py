"""Rows that a classifier keeps from its fit: those that select, and those that calibrate; groups are kept whole."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import numpy as np

from heads.data.dealing import deal
from heads.data.tasks import IntArray
from heads.errors import InputError
from heads.files.ranges import Range

__all__ = ["HELD_OUT", "HeldOut", "hold_out"]

HELD_OUT = Range(float, 0.01, 0.5)
"""Which share of the rows can be held out."""


@dataclass(frozen=True)
class HeldOut:
    """Row numbers, each once, in rising order.

    Attributes
    ----------
    fit_rows : int array
        Every class is among them.
    select_rows : int array
        At least one: they choose strengths, epochs and rounds.
    calibrate_rows : int array
        They choose the threshold; none where there is none to be chosen.
    """

    fit_rows: IntArray
    select_rows: IntArray
    calibrate_rows: IntArray


def hold_out(codes: IntArray, groups: IntArray, *, share: float, calibrates: bool, seed: int) -> HeldOut:
    """Divide rows by class: about ``share`` of each is held out, half of it to calibrate if that is asked for.

    Groups come largest first, in a seeded order, and go to the part that is shortest of their classes. The first
    rows of each class go to the fit, the next ones are held out.

    Parameters
    ----------
    codes, groups : int array (n,)
        Class and group of each row, from 0 without gaps.
    share : float
        As `HELD_OUT` has it.
    calibrates : bool
        Whether a threshold is to be chosen.
    seed : int

    Raises
    ------
    InputError
        If nothing can be held out: every class has rows of one group alone.
    """
    n_groups, n_classes = int(groups.max()) + 1, int(codes.max()) + 1
    counts = np.zeros((n_groups, n_classes), dtype=np.int64)
    np.add.at(counts, (groups, codes), 1)
    # In whole numbers: sums of floats differ between machines, and would divide rows otherwise there.
    shares = counts * (isqrt(2**62 // n_classes) // counts.sum(axis=0))
    sizes, drawn = counts.sum(axis=1), np.random.default_rng(seed).permutation(n_groups)
    order = drawn[np.argsort(-sizes[drawn], kind="stable")]
    part = np.empty(n_groups, dtype=np.int64)
    n_parts = round(2 / share)
    part[order] = deal(((slice(None), shares[group]) for group in order), np.zeros((n_parts, n_classes), np.int64))
    part[part > 2] = 0
    _bring_back(part, counts, order)
    of_row = part[groups]
    calibrating = np.flatnonzero(of_row == 2)
    selecting = np.flatnonzero(of_row == 1 if calibrates else of_row > 0)
    if not len(selecting):
        raise InputError(
            f"the {len(codes)} rows of y leave none to select by: expected a class with rows of two groups or more"
        )
    return HeldOut(np.flatnonzero(of_row == 0), selecting, calibrating if calibrates else calibrating[:0])


def _bring_back(part: IntArray, counts: IntArray, order: IntArray) -> None:
    """Give the fit a group of each class that only rows held out have."""
    for code in np.flatnonzero(counts[part == 0].sum(axis=0) == 0):
        if not counts[part == 0, code].any():
            part[next(group for group in order if counts[group, code])] = 0
