"""Which head is best from the same vectors: repeated grouped folds over train and valid, paired with one of them.

``python -m benchmarks.bench_quality [--cache DIR] [--heads NAME;…] [--against NAME] [--repeats N] [--test] [--quick]``

Heads learn from the views of the preset ``train`` and are judged on those of ``report``, which are all more severe. It
needs the material of the slow tests (FEATCACHE_TEST_MATERIAL) and keeps what it extracts in ``--cache``. Scores are
kept with ``--scores FILE.npz``; those of another version of this program join by ``--join FILE.npz``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from benchmarks.ablate_pictures import extract_layers
from benchmarks.record import Measure, print_record, write_record
from featcache import FeatureStore, link_rows
from featcache.pictures.views import PRESETS
from heads.data.choices import choose_views
from heads.data.features import Features
from heads.data.loading import load_features, load_rows
from heads.data.row_source import StoredRows
from heads.data.tasks import joint_tasks
from heads.runs.blocks import predict_rows
from heads.runs.fitting import FittedRun, fit_run, parse_config
from heads.statistics.decisions import DecisionCounts, balanced_accuracy, macro_f1
from heads.statistics.intervals import Interval, bound
from heads.statistics.ranking import RankedScores
from heads.statistics.resampling import resample

TRAIN, REPORT = PRESETS["train"], PRESETS["report"]
QUICK = ("clean", "jpeg:75"), ("clean", "jpeg:30")
FOLDS, REPEATS = 5, 2
RESAMPLES = 500
HEADS: Mapping[str, Mapping[str, Any]] = {
    "mlp": {"head": "mlp"},
    "linear": {"head": "linear"},
    "lda": {"head": "lda"},
    "ensemble lda, linear": {"head": "ensemble", "members": ("lda", "linear")},
    "ensemble lda, mlp": {"head": "ensemble", "members": ("lda", "mlp")},
    "ensemble lda, mlp*3": {"head": "ensemble", "members": ("lda", "mlp*3")},
}
SETTING = """\
Real and AI-generated pictures of 2022-23 from several public repositories without a common licence, for local use \
only. DeiT-tiny, the class token of every layer, no text. Repeated 5-fold division of train and valid, groups (of AI \
pictures their prompt) whole: a fold is judged, the next one selects and calibrates, the others fit. Fitted on the \
views of the preset train, judged on those of report, at each head's own threshold. Differences are paired and \
resampled by group; A's AUC is the mean over folds, B's macro F1 is of AI pictures. A head wins where the lower bound \
of A's AUC or of A's balanced accuracy, and that of B, is above 0 in the mean over the views, and no view is worse."""

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Judged:
    """What a head said of ``n`` rows in ``v`` views, in each of ``r`` repeats, by heads that saw nothing of them.

    Attributes
    ----------
    score : float64 array (r, v, n)
        Raw P(AI).
    is_ai : bool array (r, v, n)
    generator : int array (r, v, n)
    fold : int array (r, n)
    seconds : float64 array (r, folds)
        Of each fit.
    """

    score: FloatArray
    is_ai: NDArray[np.bool_]
    generator: IntArray
    fold: IntArray
    seconds: FloatArray

    @classmethod
    def empty(cls, n_repeats: int, n_views: int, n: int) -> Judged:
        """Make room."""
        shape = (n_repeats, n_views, n)
        return cls(
            np.zeros(shape),
            np.zeros(shape, np.bool_),
            np.zeros(shape, np.int64),
            np.zeros((n_repeats, n), np.int64),
            np.zeros((n_repeats, FOLDS)),
        )


@dataclass(frozen=True)
class Data:
    """Rows of train and valid: their vectors in the views to fit on, and in those to judge in."""

    features: Features
    fitted: StoredRows
    judged: StoredRows
    groups: IntArray
    views: tuple[str, ...]

    @classmethod
    def load(cls, store: FeatureStore, fitted: Sequence[str], judged: Sequence[str]) -> Data:
        """Find the rows; vectors stay in the store."""
        choices = {"image": {"outputs": "layers:all"}}
        features, rows = load_rows(
            store, choose_views(store, ["image"], views=fitted, choices=choices), splits=("train", "valid")
        )
        chosen = choose_views(store, ["image"], views=judged, choices=choices)
        own, others = load_rows(store, chosen, splits=("train", "valid"), tasks=features.tasks)
        assert (own.sample_id == features.sample_id).all()
        return cls(features, rows, others, link_rows(features), tuple(judged))

    @property
    def y(self) -> tuple[IntArray, IntArray]:
        """Classes of A and of B, -1 where the task does not apply."""
        a, b = joint_tasks(self.features.tasks)
        assert b is not None
        targets = self.features.targets
        found = [np.where(targets.applies[task.name], targets.y[task.name], -1) for task in (a, b)]
        return found[0], found[1]

    def divide(self, repeat: int) -> IntArray:
        """Return each row's fold: whole groups, classes as even as can be."""
        y_a, y_b = self.y
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=repeat)
        fold = np.empty(len(y_a), np.int64)
        for number, (_, rows) in enumerate(folds.split(y_a, np.where(y_a == 1, 1 + y_b, 0), self.groups)):
            fold[rows] = number
        return fold


def main() -> None:
    """Fit, judge, write the record and print it."""
    options = parse_options()
    fitted, judged = QUICK if options.quick else (TRAIN, REPORT)
    names = [name for name in options.heads.split(";") if name]
    with tempfile.TemporaryDirectory(prefix="bench-quality-") as scratch:
        views = tuple(dict.fromkeys((*fitted, *judged)))
        store = extract_layers(options.cache or Path(scratch) / "cache", views, dtype="bfloat16")
        data = Data.load(store, fitted, judged)
        said = {} if options.join is None else read_scores(options.join)
        said |= {name: judge(data, name, 1 if options.quick else options.repeats) for name in names}
        if options.scores is not None:
            keep_scores(options.scores, said)
        measures = [*describe(data, said), *compare(data, said, options.against)]
        if options.test:
            measures += list(look_at_test(store, names, fitted, judged))
        how = f"--repeats {options.repeats}"
        if options.quick:
            print_record(write_record("quality", measures, setting=SETTING, options="--quick", folder=Path(scratch)))
        else:
            print_record(write_record("quality", measures, setting=SETTING, options=how))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, help="where the vectors of the pictures are kept")
    parser.add_argument("--heads", default=";".join(HEADS), help="names, with semicolons; blank: none")
    parser.add_argument("--against", default="mlp", help="the head that the others are compared with")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="divisions into folds")
    parser.add_argument("--test", action="store_true", help="look at the test rows as well, which bind nothing")
    parser.add_argument("--scores", type=Path, help="keep what was said of each row")
    parser.add_argument("--join", type=Path, help="compare with what was kept, as well")
    parser.add_argument("--quick", action="store_true", help="two views, one repeat: see that it runs")
    return parser.parse_args()


def judge(data: Data, name: str, n_repeats: int) -> Judged:
    """Fit a head for each fold of each repeat, and judge the fold with it."""
    config = parse_config({**HEADS[name], "fusion": "image"})
    found = Judged.empty(n_repeats, len(data.views), len(data.features))
    for repeat in range(n_repeats):
        fold = found.fold[repeat] = data.divide(repeat)
        for number in range(FOLDS):
            rows, held = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            split = np.where(fold[rows] == (number + 1) % FOLDS, "valid", "train")
            features = replace(data.features.select(rows), split=split)
            started = time.perf_counter()
            fitted = fit_run(features, replace(config, seed=repeat), stored=data.fitted.select(rows))
            found.seconds[repeat, number] = time.perf_counter() - started
            for view in range(len(data.views)):
                tell(found, (repeat, view, held), fitted, data.judged)
        print(f"{name}: repeat {repeat + 1} of {n_repeats}, {found.seconds[repeat].sum():.0f} s of fits", flush=True)
    return found


def tell(found: Judged, place: tuple[int, int, IntArray], fitted: FittedRun, rows: StoredRows) -> None:
    """Write down what a head says of some rows in a view."""
    repeat, view, held = place
    a, b = joint_tasks(fitted.head.tasks)
    assert b is not None
    proba = predict_rows(fitted.head, rows, held, view=view).proba
    found.score[repeat, view, held] = proba[a.name]
    found.is_ai[repeat, view, held] = proba[a.name].astype(np.float64) >= fitted.threshold
    found.generator[repeat, view, held] = proba[b.name].argmax(axis=1)


def measure(data: Data, said: Judged, weights: FloatArray) -> dict[str, FloatArray]:
    """Return A's AUC and balanced accuracy and B's macro F1 under each weighting: (n, n_views), means of repeats."""
    y_a, y_b = data.y
    known, named = np.flatnonzero(y_a >= 0), np.flatnonzero(y_b >= 0)
    parts: dict[str, list[FloatArray]] = {"A AUC": [], "A balanced accuracy": [], "B macro F1": []}
    for view in range(said.score.shape[1]):
        each: dict[str, list[FloatArray]] = {name: [] for name in parts}
        for repeat, fold in enumerate(said.fold):
            for number in range(FOLDS):
                rows = known[fold[known] == number]
                ranked = RankedScores.sort(y_a[rows], said.score[repeat, view, rows], data.groups[rows])
                each["A AUC"].append(ranked.measure(weights, ())["auc"])
            decided = said.is_ai[repeat, view, known].astype(np.int64)
            counts = DecisionCounts.count(y_a[known], decided, data.groups[known], n_classes=2)
            each["A balanced accuracy"].append(balanced_accuracy(counts.confusion(weights)))
            of_b = said.generator[repeat, view, named]
            counts = DecisionCounts.count(y_b[named], of_b, data.groups[named], n_classes=int(y_b.max()) + 1)
            each["B macro F1"].append(macro_f1(counts.confusion(weights)))
        for name, values in each.items():
            parts[name].append(np.mean(values, axis=0))
    return {name: np.stack(values, axis=1) for name, values in parts.items()}


def resampled(data: Data, said: Judged) -> dict[str, FloatArray]:
    """Return the figures on the rows as they are, and on resamples of groups that are the same for all heads."""
    n_groups = int(data.groups.max()) + 1
    return resample(partial(measure, data, said), n_groups, n_resamples=RESAMPLES)


def describe(data: Data, said: Mapping[str, Judged]) -> Iterator[Measure]:
    """Give each head's figures by view: a round is a view."""
    for name, each in said.items():
        figures = measure(data, each, np.ones((1, int(data.groups.max()) + 1)))
        for figure, values in figures.items():
            note = ", ".join(f"{view} {value:.3f}" for view, value in zip(data.views, values[0], strict=True))
            yield Measure(f"{name}: {figure}, median of views", "", tuple(values[0].tolist()), note=note)
        yield Measure(f"{name}: a fit", "s", tuple(each.seconds.reshape(-1).tolist()))


def compare(data: Data, said: Mapping[str, Judged], against: str) -> Iterator[Measure]:
    """Compare each head with one, and say which views are worse."""
    if against not in said:
        return
    n_groups = len(np.unique(data.groups[data.y[1] >= 0]))
    base = resampled(data, said[against])
    for name, each in said.items():
        if name == against:
            continue
        own = resampled(data, each)
        differences = {figure: values - base[figure] for figure, values in own.items()}
        for figure, values in differences.items():
            mean = bound(values.mean(axis=1), n_groups)
            worse = [
                f"{view} {interval(found)}"
                for view, found in zip(data.views, (bound(column, n_groups) for column in values.T), strict=True)
                if found.high < 0
            ]
            note = f"{interval(mean)}, {n_groups} groups of AI; worse in: {', '.join(worse) or 'no view'}"
            yield Measure(f"{name} - {against}: {figure}, lower bound", "", (mean.low,), at_least=0.0, note=note)


def interval(found: Interval) -> str:
    """Write a difference."""
    return f"{found.estimate:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def look_at_test(
    store: FeatureStore, names: Sequence[str], fitted: Sequence[str], judged: Sequence[str]
) -> Iterator[Measure]:
    """Fit on train and judge test rows, which have been looked at often and bind nothing."""
    choices = {"image": {"outputs": "layers:all"}}
    features, rows = load_rows(
        store, choose_views(store, ["image"], views=fitted, choices=choices), splits=("train", "valid")
    )
    chosen = choose_views(store, ["image"], views=judged, choices=choices)
    test = [load_features(store, view, splits=("test",), tasks=features.tasks) for view in chosen]
    y = test[0].targets
    a, b = joint_tasks(features.tasks)
    assert b is not None
    one, groups = np.ones((1, 1)), np.zeros(len(test[0]), np.int64)
    for name in names:
        run = fit_run(features, parse_config({**HEADS[name], "fusion": "image"}), stored=rows)
        values: dict[str, list[float]] = {"A AUC": [], "A balanced accuracy": [], "B macro F1": []}
        for each in test:
            proba = run.head.predict_proba(each.matrix("image")).proba
            p, named = proba[a.name].astype(np.float64), y.applies[b.name]
            of_a = DecisionCounts.count(y.y[a.name], (p >= run.threshold).astype(np.int64), groups, n_classes=2)
            said = proba[b.name][named].argmax(axis=1)
            of_b = DecisionCounts.count(y.y[b.name][named], said, groups[named], n_classes=len(b.classes))
            values["A AUC"].append(float(RankedScores.sort(y.y[a.name], p).measure(one, ())["auc"][0]))
            values["A balanced accuracy"].append(float(balanced_accuracy(of_a.confusion(one))[0]))
            values["B macro F1"].append(float(macro_f1(of_b.confusion(one))[0]))
        for figure, found in values.items():
            note = ", ".join(f"{view} {value:.3f}" for view, value in zip(judged, found, strict=True))
            yield Measure(f"test, {name}: {figure}, median of views", "", tuple(found), note=note)


def keep_scores(path: Path, said: Mapping[str, Judged]) -> None:
    """Write what was said of each row."""
    arrays = {f"{name}/{part}": values for name, each in said.items() for part, values in vars(each).items()}
    np.savez_compressed(path, **arrays)


def read_scores(path: Path) -> dict[str, Judged]:
    """Read what `keep_scores` wrote; its heads are told apart from today's by ``(kept)``."""
    with np.load(path, allow_pickle=False) as kept:
        names = dict.fromkeys(key.split("/")[0] for key in kept.files)
        parts = ("score", "is_ai", "generator", "fold", "seconds")
        return {f"{name} (kept)": Judged(*(kept[f"{name}/{part}"] for part in parts)) for name in names}


if __name__ == "__main__":
    main()
