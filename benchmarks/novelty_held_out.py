"""Whether the statement on a set notices generators and origins that a head knows nothing of, where it does badly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import Measure
from featcache import FeatureStore, Selection, link_rows
from heads.data.features import Features
from heads.data.held_out import HOLD_OUTS, Axis, HeldOut, build_held_out
from heads.data.loading import load_features, load_fit_rows
from heads.runs.fitting import FittedRun, fit_run, parse_config
from heads.verdicts.mixture import state_set

__all__ = ["count_held_out"]

SIZES, LEAST, WORSE = (100, 200), 50, 0.65

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class _Judged:
    """Scores of the rows of one value and of those beside them, each in the order of a random draw of groups."""

    fitted: FittedRun
    own: FloatArray
    others: FloatArray
    own_group: IntArray
    other_group: IntArray
    is_ai: bool

    @property
    def balanced_accuracy(self) -> float:
        rate, other = (float((p_ai >= self.fitted.threshold).mean()) for p_ai in (self.own, self.others))
        return (rate + 1 - other) / 2 if self.is_ai else (other + 1 - rate) / 2

    def draw(self, size: int, rng: np.random.Generator) -> FloatArray:
        """Draw a set: half own rows, half others; whole groups as far as they fit."""
        n = min(size // 2, len(self.own), len(self.others))
        parts = ((self.own, self.own_group), (self.others, self.other_group))
        return np.concatenate([p_ai[_shuffle(group, rng)[:n]] for p_ai, group in parts])


def count_held_out(store: FeatureStore, selection: dict[str, Selection], n_draws: int) -> Iterator[Measure]:
    """Hold out each generator and origin: how often sets with it are called unlike, and how well it is detected."""
    found: dict[str, list[tuple[float, float]]] = {}
    for axis in HOLD_OUTS:
        features, _ = load_fit_rows(store, [selection])
        for division in build_held_out(features, axis).divisions:
            judged = _judge(store, selection, division, axis)
            if len(judged.own) < LEAST:
                continue
            detection = judged.balanced_accuracy
            for size in SIZES:
                alarms, note = _count(judged, size, max(1, n_draws // 4))
                found.setdefault(f"n {size}", []).append((detection, alarms))
                name = f"without {axis} {division.value}; alarms, n {size}"
                yield Measure(name, "", (alarms,), note=f"balanced accuracy {detection:.3f}; {note}")
    for what, values in found.items():
        for is_worse, goal in ((True, 0.8), (False, None)):
            rates = [alarms for detection, alarms in values if (detection < WORSE) == is_worse]
            name = f"detection {'worse than' if is_worse else 'at least'} {WORSE}; mean rate of alarms, {what}"
            if rates:
                yield Measure(name, "", (float(np.mean(rates)),), at_least=goal, note=f"{len(rates)} values")


def _judge(store: FeatureStore, selection: dict[str, Selection], division: HeldOut, axis: Axis) -> _Judged:
    features, stored = load_fit_rows(store, [selection])
    rows = np.sort(np.concatenate([division.part.fit_rows, division.part.select_rows, division.calibrating]))
    fitted = fit_run(
        features.select(rows), parse_config({"head": "linear", "fusion": "image"}), stored=stored.select(rows)
    )
    every = load_features(store, selection, splits=("train", "valid", "test"), tasks=features.tasks)
    group = link_rows(every)
    is_fit = np.isin(every.sample_id, features.sample_id[division.part.fit_rows])
    y = np.where(every.targets.applies["a"], every.targets.y["a"], -1)
    is_own = (_values(every, axis) == division.value) & ~np.isin(group, group[is_fit])
    is_ai = bool(y[is_own].mean() > 0.5)
    others = np.flatnonzero((y == (not is_ai)) & (every.split == "test"))
    own = np.flatnonzero(is_own & (y == is_ai))
    p_ai = fitted.head.predict_proba(every.matrix("image")).proba["a"]
    return _Judged(fitted, p_ai[own], p_ai[others], group[own], group[others], is_ai)


def _values(features: Features, axis: Axis) -> NDArray[np.str_]:
    if axis == "origin":
        assert features.origin is not None
        return features.origin.astype(str)
    b = features.tasks[1]
    codes = np.where(features.targets.applies[b.name], features.targets.y[b.name], len(b.classes))
    return np.array([*b.classes, ""])[codes]


def _count(judged: _Judged, size: int, n_draws: int) -> tuple[float, str]:
    rng = np.random.default_rng(size)
    found = []
    for seed in range(n_draws):
        p_ai = judged.draw(size, rng)
        each = state_set(p_ai, judged.fitted.likeness.known, seed=seed)
        assert each is not None
        found.append(each)
    means = (float(np.mean([getattr(each, name) for each in found])) for name in ("distance", "null"))
    note = "mean D {:.3f}, mean limit {:.3f}, ".format(*means)
    n = found[0].n
    return float(np.mean([each.is_unlike for each in found])), f"{note}sets of {n}, {n_draws} draws"


def _shuffle(group: IntArray, rng: np.random.Generator) -> IntArray:
    names, own = np.unique(group, return_inverse=True)
    rows = rng.permutation(len(group))
    place = rng.permutation(len(names))[own.reshape(-1)]
    return rows[np.argsort(place[rows], kind="stable")]
