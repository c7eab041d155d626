"""What maps to probabilities and the steady threshold are worth on real pictures.

``python -m benchmarks.bench_verdicts [--cache DIR] [--quick]``

It needs the material of the slow tests (FEATCACHE_TEST_MATERIAL) and keeps what it extracts in ``--cache``. Test rows
are not read.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from benchmarks.ablate_pictures import extract_layers
from benchmarks.record import Measure, print_record, time_rounds, write_record
from featcache import FeatureStore, link_rows
from heads.data.choices import choose_views
from heads.data.division import divide_validation
from heads.data.features import Features
from heads.data.folds import build_parts
from heads.data.loading import load_fit_rows
from heads.data.row_source import StoredRows
from heads.head.metrics import balanced_accuracy
from heads.head.protocol import Head
from heads.runs.fitting import build_head, parse_config
from heads.verdicts.balanced import choose_balanced
from heads.verdicts.fitting import Scores, fit_maps
from heads.verdicts.maps import ProbabilityMaps

FOLDS, RESAMPLES = 5, 100
HEADS = ("linear", "mlp")
VIEWS = ("clean", "jpeg:30", "blur:1.5")
LEAST = 1e-7  # of a probability, so that no row makes a log loss infinite
SETTING = """\
Real and AI-generated pictures of 2022-23 from several public repositories without a common licence, for local use \
only; upscaling and earlier compression may tell them apart. Rows of train and valid in 5 folds; rows of one prompt, \
or of one real picture, are together; test is not read. Three folds fit a head on DeiT-tiny's layers, half of the \
next selects, the other half calibrates, the fifth is scored. Log losses: with the maps that were kept less those of \
raw scores, over all scored rows, paired, with a 95 % interval over groups by Student's t; the goal is of its lower \
end. Thresholds: on 100 resamples of the groups of each fold's calibrating rows, `balanced` against the first cut \
with the best balanced accuracy in the first view (the closest to 0.5), which runs had before; balanced accuracy is \
of scored rows, mean over resamples and views, one value a fold. Seconds: of made-up scores in one view."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Fold:
    """Raw scores of the rows that calibrate and of those that are scored, by task."""

    prior: float
    calibrating: dict[str, Scores]
    scored: dict[str, Scores]


def main() -> None:
    """Fit, calibrate, score, write the record and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, help="where the vectors of the pictures are kept")
    parser.add_argument("--quick", action="store_true", help="one view, linear heads, few resamples: see that it runs")
    parser.add_argument("--rounds", type=int, default=5, help="of timing")
    options = parser.parse_args()
    heads, n_resamples = (HEADS[:1], 5) if options.quick else (HEADS, RESAMPLES)
    measures = []
    with tempfile.TemporaryDirectory(prefix="bench-verdicts-") as scratch:
        store = extract_layers(options.cache or Path(scratch) / "cache", VIEWS)
        for head in heads:
            for views in (VIEWS[:1],) if options.quick else (VIEWS[:1], VIEWS):
                folds = list(fit_folds(store, head, views))
                name = f"{head}, fitted on {', '.join(views)}"
                measures += [*compare_losses(folds, name, views), *compare_thresholds(folds, name, n_resamples)]
        measures += time_calibration(options.rounds)
        if options.quick:
            print_record(write_record("verdicts", measures, setting=SETTING, options="--quick", folder=Path(scratch)))
        else:
            print_record(write_record("verdicts", measures, setting=SETTING))


def fit_folds(store: FeatureStore, kind: str, views: Sequence[str]) -> Iterator[Fold]:
    """Fit a head in each fold and return what it says."""
    choices = {"image": {"outputs": "layers:all"}}
    features, rows = load_fit_rows(store, choose_views(store, ["image"], views=views, choices=choices))
    groups = link_rows(features)
    for part in build_parts(features, FOLDS):
        division = divide_validation(features.select(part.select_rows))
        selecting, calibrating = (part.select_rows[half] for half in (division.selecting, division.calibrating))
        head = build_head(
            features.tasks, parse_config({"head": kind, "fusion": "image"}), columns=features.columns("image")
        )
        head.fit_rows(rows, features.targets, part.fit_rows, selecting)
        fit_y = features.targets.y["a"][part.fit_rows][features.targets.applies["a"][part.fit_rows]]
        found = [predict(head, features, rows, chosen, groups) for chosen in (calibrating, part.score_rows)]
        yield Fold(float(np.mean(fit_y == 1)), *found)


def predict(
    head: Head, features: Features, source: StoredRows, rows: NDArray[np.int64], groups: NDArray[np.int64]
) -> dict[str, Scores]:
    """Return raw scores of some rows in all views."""
    views = [head.predict_proba(source.read(rows, view)) for view in range(source.n_views)]
    found = {}
    for task in features.tasks:
        known = features.targets.applies[task.name][rows]
        proba = np.stack([view.proba[task.name][known] for view in views])
        found[task.name] = Scores(features.targets.y[task.name][rows][known], proba, groups[rows][known])
    return found


def compare_losses(folds: Sequence[Fold], name: str, views: Sequence[str]) -> Iterator[Measure]:
    """Compare log losses on scored rows through the maps with those of raw scores, view by view."""
    maps = [fit_maps(fold.calibrating["a"], fold.calibrating["b"], prior=fold.prior) for fold in folds]
    for task in ("a", "b"):
        kept = sum(getattr(each, task) is not None for each in maps)
        groups = np.concatenate([fold.scored[task].groups for fold in folds])
        raw, mapped = (
            np.concatenate([losses(fold.scored[task], task, each) for fold, each in zip(folds, used, strict=True)], 1)
            for used in ([ProbabilityMaps(each.prior) for each in maps], maps)
        )
        for number, view in enumerate(views):
            gain, low, high = interval(mapped[number] - raw[number], groups)
            note = (
                f"{gain:+.4f} [{low:+.4f}, {high:+.4f}], raw {raw[number].mean():.3f}, n = {len(groups):,} rows of "
                f"{len(np.unique(groups))} groups; kept in {kept} of {len(folds)} folds"
            )
            yield Measure(f"{name}; log loss of {task.upper()} on {view}, mapped - raw, lower end", "nats", (low,),
                          at_most=0, note=note)  # fmt: skip


def losses(scores: Scores, task: str, maps: ProbabilityMaps) -> FloatArray:
    """Return the log loss of each row in each view, at the prior of training: (V, n)."""
    if task == "a":
        p = maps.p_ai(scores.proba)
        own = np.where(scores.y == 1, p, 1 - p)
    else:
        shares = np.stack([maps.p_generator(view) for view in scores.proba])
        own = shares[:, np.arange(len(scores)), scores.y].astype(np.float64)
    return np.asarray(-np.log(np.maximum(own, LEAST)))


def interval(values: FloatArray, groups: NDArray[np.int64]) -> tuple[float, float, float]:
    """Return a mean over rows and its 95 % interval over groups."""
    own = np.unique(groups, return_inverse=True)[1].reshape(-1)
    mean, n_groups = float(values.mean()), int(own.max()) + 1
    residuals = np.bincount(own, weights=values - mean)
    error = np.sqrt((residuals**2).sum() * n_groups / (n_groups - 1)) / len(values)
    width = float(student.ppf(0.975, n_groups - 1) * error)
    return mean, mean - width, mean + width


def compare_thresholds(folds: Sequence[Fold], name: str, n_resamples: int) -> Iterator[Measure]:
    """Compare the spread of two rules over resampled calibrating rows, and balanced accuracy on scored rows."""
    rules: dict[str, Callable[[Fold, Scores], float]] = {
        "balanced": lambda fold, rows: choose_balanced(rows, prior=fold.prior),
        "before": lambda _, rows: best_cut(rows.y, rows.proba[0]),
    }
    found: dict[str, list[tuple[float, float, float]]] = {rule: [] for rule in rules}
    for number, fold in enumerate(folds):
        resamples = list(resample(fold.calibrating["a"], n_resamples, seed=number))
        for rule, choose in rules.items():
            thresholds = np.array([choose(fold, rows) for rows in resamples])
            accuracy = np.mean([accuracy_at(fold.scored["a"], threshold) for threshold in thresholds])
            found[rule].append((float(thresholds.std(ddof=1)), float(accuracy), float(thresholds.mean())))
    (sd, accuracy, place), (sd_before, accuracy_before, place_before) = (
        np.array(found[rule]).T for rule in ("balanced", "before")
    )
    places = f"means {np.round(place, 2).tolist()}, before {np.round(place_before, 2).tolist()}"
    note = (
        f"{sd.mean():.4f} / {sd_before.mean():.4f}, by fold {np.round(sd / sd_before, 2).tolist()}; {places}; "
        f"{n_resamples} resamples a fold"
    )
    ratio = float(sd.mean() / sd_before.mean())
    yield Measure(f"{name}; sd of the threshold / before, means of folds", "ratio", (ratio,), at_most=0.5, note=note)
    note = f"mean {accuracy.mean():.4f}, before {accuracy_before.mean():.4f}"
    gains = tuple((accuracy - accuracy_before).tolist())
    yield Measure(f"{name}; balanced accuracy of A - before", "", gains, at_least=0, note=note)


def resample(scores: Scores, n: int, *, seed: int) -> Iterator[Scores]:
    """Draw groups of calibrating rows, with replacement; each draw is a group of its own. Both classes occur."""
    rng = np.random.default_rng(seed)
    own = np.unique(scores.groups, return_inverse=True)[1].reshape(-1)
    rows_of = np.split(np.argsort(own, kind="stable"), np.cumsum(np.bincount(own))[:-1])
    while n:
        drawn = rng.integers(0, len(rows_of), len(rows_of))
        rows = np.concatenate([rows_of[group] for group in drawn])
        groups = np.repeat(np.arange(len(drawn)), [len(rows_of[group]) for group in drawn])
        found = Scores(scores.y[rows], scores.proba[:, rows], groups)
        if found.has_all_classes:
            n -= 1
            yield found


def accuracy_at(scores: Scores, threshold: float) -> float:
    """Return balanced accuracy at a threshold, mean over views."""
    return float(np.mean([balanced_accuracy(scores.y, (view >= threshold).astype(np.int64)) for view in scores.proba]))


def best_cut(y: NDArray[np.int64], p: NDArray[np.float32]) -> float:
    """Return the cut between scores with the best balanced accuracy, of several the closest to 0.5."""
    scores, index = np.unique(p.astype(np.float64), return_inverse=True)
    ai, real = (np.cumsum(np.bincount(index.reshape(-1), weights=y == code)) for code in (1, 0))
    gains = real * ai[-1] - ai * real[-1]
    cuts = np.append((scores[:-1] + scores[1:]) / 2, 0.0)
    best = cuts[gains == gains.max()]
    return float(best[np.abs(best - 0.5).argmin()])


def time_calibration(rounds: int) -> Iterator[Measure]:
    """Time the threshold and the maps of A and of B, six classes, on rows of groups of their own."""
    for n, goal in ((300, 0.05), (20_000, 1.0)):
        rng = np.random.default_rng(0)
        y_a, y_b = rng.integers(0, 2, n), rng.integers(0, 6, n)
        p = 1 / (1 + np.exp(-2 * rng.normal(np.where(y_a == 1, 1.2, -1.2), 1.5)))
        shares = rng.dirichlet(np.ones(6), n) + np.eye(6)[y_b]
        a = Scores(y_a, p[None].astype(np.float32), np.arange(n))
        b = Scores(y_b, (shares / 2)[None].astype(np.float32), np.arange(n))
        calls: dict[str, Callable[[], object]] = {
            "threshold": partial(choose_balanced, a, prior=0.5),
            "maps": partial(fit_maps, a, b, prior=0.5),
        }
        for name, seconds in time_rounds(calls, rounds=rounds).items():
            at_most = goal if name == "threshold" else None
            yield Measure(f"{name} of {n:,} rows", "s", tuple(seconds), at_most=at_most)


if __name__ == "__main__":
    main()
