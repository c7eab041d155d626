"""How fast the heads ``linear`` and ``gbdt`` are, against scikit-learn and LightGBM with their defaults.

``python -m benchmarks.bench_baselines [--rounds N] [--quick]`` takes about 6 minutes on two cores, most of them the
baselines', which run once.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from benchmarks.record import Measure, print_record, write_record
from heads.data.tasks import Task, build_targets
from heads.gbdt.head import GbdtConfig, GbdtHead
from heads.head.scaling import Standardizer
from heads.linear.head import LinearConfig, LinearHead
from heads.linear.logistic import Curvature, LogisticFit, fit_path

N_CLASSES, ROUNDS, RATE = 5, 50, 0.3
STRENGTHS = tuple(np.logspace(-4.5, 0, 10).tolist())
SPECTRUM = 0.6  # of the columns' deviations: 32 of 1,536 directions hold 70 % of the variance, as in DeiT-tiny's layers
SIGNAL = 0.25  # the classes differ more, in deviations, where rows vary more
DISTANCE = 3.5  # of each class from the middle, in deviations
TASK = Task("b", "multiclass", tuple("vwxyz"))

SETTING = """\
Random rows of five classes with a common covariance: deviations fall as rank^-0.6, in directions drawn at random; \
the classes' means lie 3.5 deviations from the middle, more of it where rows vary more (rank^-0.25). A ratio is the \
baseline's time, of one run, to one of ours. Logistic: 10 strengths from 3e-5 to 1, standardised rows given to both; \
ours with the eigenbasis that it makes first; scikit-learn's LogisticRegression with its own tolerance, one strength \
after the other. Ridge and LDA: LinearHead.fit_parts with 20 strengths and 5 folds, everything from the raw rows to \
the scores of 100 fits, to one float64 copy of the rows and its Gram matrix. Trees: GbdtHead.fit with its defaults \
but for 128 components (512 by default), 50 rounds at rate 0.3 (twice the default, for half the rounds) and no \
stopping, components and bins part of the time, to LightGBM's defaults on the columns as they are."""

Matrix = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Size:
    """Rows and columns of the runs."""

    n_logistic: int
    n_trees: int
    n_select: int
    d: int


FULL, QUICK = Size(42_000, 28_000, 4_000, 1536), Size(1_500, 1_500, 500, 96)


def draw(n: int, d: int, *, seed: int = 0) -> tuple[Matrix, Labels]:
    """Draw rows that can be learnt from; see `SETTING`."""
    rng = np.random.default_rng(seed)
    world = np.random.default_rng(0)  # the same for every seed
    deviations = np.arange(1, d + 1) ** -SPECTRUM
    turn = np.linalg.qr(world.standard_normal((d, d)))[0].astype(np.float32)
    shares = np.arange(1, d + 1) ** -SIGNAL
    means = DISTANCE * world.standard_normal((N_CLASSES, d)) * shares / np.linalg.norm(shares)
    y = rng.integers(0, N_CLASSES, n)
    rows = (rng.standard_normal((n, d), dtype=np.float32) + means.astype(np.float32)[y]) * deviations.astype(np.float32)
    return rows @ turn, y


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that a call takes, and what it returns."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def bench_logistic(size: Size, rounds: int) -> list[Measure]:
    """Ten strengths, warm-started, against ten fits of scikit-learn."""
    X, y = draw(size.n_logistic, size.d)
    X = Standardizer.fit(X).transform(X)
    runs = [timed(lambda: list(fit_path(X, y, strengths=STRENGTHS, curvature=Curvature.of(X)))) for _ in range(rounds)]
    found: list[LogisticFit] = runs[-1][1]
    seconds, excess, theirs = 0.0, [], 0
    for fit in found:
        model = LogisticRegression(C=fit.strength, max_iter=10_000)
        seconds += timed(partial(model.fit, X, y))[0]
        theirs += int(model.n_iter_.max())
        excess.append(1 - _objective(X, y, model, fit.strength) / fit.objective)
    own = statistics.median(run[0] for run in runs)
    ours = sum(fit.iterations for fit in found)
    note = f"{own:.1f} s, {ours} iterations / {seconds:.0f} s, {theirs} iterations, one run"
    name = f"logistic: 10 strengths, {size.n_logistic:,} x {size.d:,}, {N_CLASSES} classes, scikit-learn / ours"
    worst = "excess of our objective over scikit-learn's, worst of the strengths (negative: ours is lower)"
    return [
        Measure(name, "ratio", tuple(seconds / run[0] for run in runs), at_least=5, note=note),
        Measure(worst, "relative", (max(excess),), at_most=1e-5, note=f"best {min(excess):.1g}"),
    ]


def _objective(X: Matrix, y: Labels, model: LogisticRegression, strength: float) -> float:
    logits = X @ model.coef_.T.astype(np.float32) + model.intercept_
    loss = -np.take_along_axis(log_softmax(logits.astype(np.float64), axis=1), y[:, None], 1).sum()
    return float(loss + (model.coef_.astype(np.float64) ** 2).sum() / 2 / strength)


def bench_ridge(size: Size, rounds: int) -> list[Measure]:
    """Twenty strengths and five folds against one Gram matrix."""
    X, y = draw(size.n_logistic, size.d)
    targets = build_targets([TASK], {"b": y})
    fold = np.arange(len(y)) % 5
    parts = [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(5)]
    strengths = tuple(np.logspace(-6, 0, 20).tolist())

    def gram() -> NDArray[np.float64]:
        wide = X.astype(np.float64)
        product: NDArray[np.float64] = wide.T @ wide
        return product

    measures = []
    for solver in ("ridge", "lda"):
        config = LinearConfig(solver=solver, strengths=strengths)
        pairs = []
        for _ in range(rounds):
            own, heads = timed(partial(LinearHead.fit_parts, X, targets, parts, tasks=[TASK], config=config))
            pairs.append((own, timed(gram)[0]))
        own, base = (statistics.median(column) for column in zip(*pairs, strict=True))
        note = (
            f"{own:.1f} s / {base:.1f} s; macro F1 of the first fold {max(r['score'] for r in heads[0].history_):.3f}"
        )
        name = f"{solver}: 20 strengths x 5 folds, {size.n_logistic:,} x {size.d:,} / one float64 Gram matrix"
        measures.append(Measure(name, "ratio", tuple(a / b for a, b in pairs), at_most=5, note=note))
    return measures


def bench_trees(size: Size, rounds: int) -> list[Measure]:
    """Fifty rounds on components against fifty rounds of LightGBM's defaults on the columns."""
    X, y = draw(size.n_trees, size.d)
    X_select, y_select = draw(size.n_select, size.d, seed=1)
    train, select = (build_targets([TASK], {"b": labels}) for labels in (y, y_select))
    shared: dict[str, Any] = {"rounds": ROUNDS, "patience": ROUNDS, "num_threads": os.cpu_count() or 1}
    config = GbdtConfig(components=128, learning_rate=RATE, **shared)

    def ours() -> GbdtHead:
        return GbdtHead([TASK], config).fit(X, train, select=(X_select, select))

    def theirs() -> lgb.Booster:
        params = {"objective": "multiclass", "num_class": N_CLASSES, "verbosity": -1, "num_threads": config.num_threads}
        return lgb.train(params, lgb.Dataset(X, y), num_boost_round=ROUNDS)

    runs = [timed(ours) for _ in range(rounds)]
    seconds, booster = timed(theirs)
    proba = {"ours": runs[-1][1].predict_proba(X_select).proba["b"], "LightGBM": booster.predict(X_select)}
    loss = {name: -float(np.log(p[np.arange(len(p)), y_select]).mean()) for name, p in proba.items()}
    hits = {name: float((p.argmax(axis=1) == y_select).mean()) for name, p in proba.items()}
    own = statistics.median(run[0] for run in runs)
    name = f"gbdt: {size.n_trees:,} x {size.d:,}, {N_CLASSES} classes, {ROUNDS} rounds, LightGBM's defaults / ours"
    note = f"{own:.1f} s / {seconds:.0f} s, one run"
    accuracies = f"accuracy {hits['ours']:.3f} / {hits['LightGBM']:.3f}, n = {len(y_select):,}"
    return [
        Measure(name, "ratio", tuple(seconds / run[0] for run in runs), at_least=40, note=note),
        Measure("gbdt: log loss on validation, ours / LightGBM's defaults", "ratio",
                (loss["ours"] / loss["LightGBM"],), at_most=1, note=accuracies),
    ]  # fmt: skip


def main() -> None:
    """Run everything, write the record and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    measures = [m for bench in (bench_logistic, bench_ridge, bench_trees) for m in bench(size, options.rounds)]
    if options.quick:
        with tempfile.TemporaryDirectory() as folder:
            print_record(write_record("baselines", measures, setting=SETTING, options="--quick", folder=Path(folder)))
    else:
        print_record(write_record("baselines", measures, setting=SETTING))


if __name__ == "__main__":
    main()
