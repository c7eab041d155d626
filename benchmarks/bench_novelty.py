"""What runs notice of pictures that are unlike those of training, one by one and as a set.

``python -m benchmarks.bench_novelty [--cache DIR] [--only pictures|sets|held-out] [--quick]``

It needs the material of the slow tests (FEATCACHE_TEST_MATERIAL) and keeps what it extracts in ``--cache``.
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

from benchmarks.ablate_pictures import extract_layers
from benchmarks.drawings import draw_families
from benchmarks.novelty_held_out import count_held_out
from benchmarks.record import RESULTS, Measure, print_record, write_record
from featcache import FeatureStore, Selection, extract_pictures, link_rows, read_pictures
from heads.data.features import Features
from heads.data.loading import load_features, load_fit_rows
from heads.data.row_source import StoredRows
from heads.runs.crossfit import cross_fit
from heads.runs.fitting import FittedRun, fit_run, parse_config
from heads.statistics.ranking import auc
from heads.verdicts.mixture import KnownScores, state_set
from heads.verdicts.novelty import NOVEL_UP_TO, Novelty

VIEWS = ("clean", "jpeg:30", "blur:1.5")
FOLDS = 5
SIZES, SHARES = (50, 200), (0.0, 0.1, 0.5, 0.9, 1.0)
SETTING = """\
Real and AI-generated pictures of 2022-23 from several public repositories without a common licence, for local use \
only. Linear head on DeiT-tiny's layers. Novelty: AUC of the distance, drawn pictures (seeded, 256 x 256, JPEG 90) \
against test pictures. Sets: test rows, groups drawn with replacement until a class has its rows, beside the one \
validation that there is; the same of real rows, blurred; and test and validation divided again and \
again by group, so that chance is in both. Held out: fitted, selected and calibrated on train and valid without one \
generator or origin; a set is half rows of it, from any split and of groups that were not fitted, half test rows of \
the other class, whole groups in random order, at most as many as there are; detection is the balanced accuracy at the \
frozen threshold over all such rows. A real row is a group, AI rows are grouped by prompt: 15 in test, 14 in \
validation."""

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
Sampler = Callable[[int, int, np.random.Generator], tuple[FloatArray, KnownScores]]
"""Draws a set of so many real and AI rows, and known rows beside it."""


def main() -> None:
    """Fit, measure, write the record and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, help="where the vectors of the pictures are kept")
    parser.add_argument("--quick", action="store_true", help="few pictures and draws: see that it runs")
    parser.add_argument("--only", choices=sorted(PARTS), help="one part: drawn pictures, sets, or what is held out")
    options = parser.parse_args()
    n = 5 if options.quick else 100
    measures: list[Measure] = []
    with tempfile.TemporaryDirectory(prefix="bench-novelty-") as scratch:
        store = extract_layers(options.cache or Path(scratch) / "cache", VIEWS)
        for name, measure in PARTS.items():
            if options.only in (None, name):
                measures += measure(store, n)
        folder = Path(scratch) if options.quick else RESULTS
        words = f"--only {options.only}" if options.only else ""
        print_record(write_record("novelty", measures, setting=SETTING, options=words, folder=folder))


def measure_pictures(store: FeatureStore, n: int) -> Iterator[Measure]:
    """Compare drawn pictures with test pictures, for heads that were fitted on one view and on several."""
    with tempfile.TemporaryDirectory(prefix="bench-novelty-") as scratch:
        for views in (VIEWS[:1], VIEWS):
            features, _, fitted = fit_views(store, views)
            selected = _choose(store, VIEWS[0])
            test = load_features(store, selected, splits=("test",), tasks=features.tasks)
            drawn = encode_families(store, selected["image"], Path(scratch), n)
            name = f"fitted on {', '.join(views)}"
            yield from tell_families(fitted.likeness.novelty, test.matrix("image"), drawn, name)


def fit_views(store: FeatureStore, views: Sequence[str]) -> tuple[Features, StoredRows, FittedRun]:
    """Fit a head on train, in some views."""
    features, rows = load_fit_rows(store, [_choose(store, view) for view in views])
    return features, rows, fit_run(features, parse_config({"head": "linear", "fusion": "image"}), stored=rows)


def _choose(store: FeatureStore, view: str) -> dict[str, Selection]:
    return {"image": store.select("image", outputs=("layers:all",), view=view)}


def measure_sets(store: FeatureStore, n_draws: int) -> Iterator[Measure]:
    """Count alarms on sets of test rows, and on such sets with the pictures blurred."""
    features, rows, fitted = fit_views(store, VIEWS[:1])

    def read(view: str) -> Rows:
        test = load_features(store, _choose(store, view), splits=("test",), tasks=features.tasks)
        p_ai = fitted.head.predict_proba(test.matrix("image")).proba["a"]
        return Rows(p_ai, test.targets.y["a"], link_rows(test))

    own, blurred, known = read(VIEWS[0]), read(VIEWS[-1]), fitted.likeness.known
    yield from count_alarms(resample_test(own, known), "test rows resampled", n_draws)
    again, shares = divide_again(own, known), SHARES[::2]
    yield from count_alarms(again, "test and validation divided again", n_draws, shares=shares)
    of_real = resample_test(blurred, known)
    yield from count_alarms(of_real, f"{VIEWS[-1]}, not fitted on", n_draws, shares=SHARES[:1], goal=None)
    crossed = cross_fit(features, rows, folds=FOLDS, fusion="image", fit=partial(fit_run, config=fitted.config))
    folds = resample_test(own, KnownScores(crossed.p_ai, crossed.y, crossed.group))
    name_of_folds = "not taken: cross-fitted scores as known ones"
    yield from count_alarms(folds, name_of_folds, n_draws, shares=SHARES[:1], goal=None)


def encode_families(store: FeatureStore, selection: Selection, scratch: Path, n: int) -> dict[str, FloatArray]:
    """Draw pictures and return their vectors, by family."""
    found = draw_families(scratch / "drawn", n)
    data = read_pictures(str(scratch / "drawn"), contents={"image"})
    producers = [(selection, store.document(selection.fingerprint))]
    pictures = extract_pictures(data, scratch / "drawn.featcache", producers, device="cpu")
    X = StoredRows(pictures.store, [{"image": selection}], np.arange(len(pictures))).read(np.arange(len(pictures)))
    family = np.array([Path(pictures.path(row)).parent.name for row in range(len(pictures))])
    return {name: X[family == name] for name in found}


def tell_families(novelty: Novelty, test: FloatArray, drawn: dict[str, FloatArray], name: str) -> Iterator[Measure]:
    """Compare the distances of each family with those of test pictures."""
    own = novelty.measure(test)
    share = float((novelty.p_value(test) <= NOVEL_UP_TO).mean())
    yield Measure(
        f"{name}; test pictures with p <= 0.01", "", (share,), note=f"{len(novelty.held_out)} held-out groups"
    )
    for family, X in drawn.items():
        y = np.repeat([0, 1], [len(own), len(X)])
        value = auc(y, np.concatenate([own, novelty.measure(X)]))
        note = f"{float((novelty.p_value(X) <= NOVEL_UP_TO).mean()):.2f} of {len(X)} have p <= 0.01"
        yield Measure(f"{name}; AUC of novelty, {family}", "", (value,), at_least=0.95, note=note)


@dataclass(frozen=True)
class Rows:
    """Scores of rows that a head was not fitted on, with their classes and groups."""

    p_ai: FloatArray
    y: IntArray
    group: IntArray

    def known(self, rows: IntArray) -> KnownScores:
        """Return some of them as known scores."""
        return KnownScores(self.p_ai[rows], self.y[rows], self.group[rows])

    def draw(self, code: int, n: int, rng: np.random.Generator) -> IntArray:
        """Draw groups of a class with replacement until it has ``n`` rows."""
        of_class = np.flatnonzero(self.y == code)
        names, drawn = np.unique(self.group[of_class]), [np.arange(0)]
        while sum(map(len, drawn)) < n:
            drawn.append(rng.permutation(of_class[self.group[of_class] == rng.choice(names)]))
        return np.concatenate(drawn)[:n]

    def divide(self, code: int, n_groups: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Return the rows of so many groups of a class, drawn at random, and the rest, group by group."""
        of_class = np.flatnonzero(self.y == code)
        names, own = np.unique(self.group[of_class], return_inverse=True)
        place = rng.permutation(len(names))[own.reshape(-1)]
        rows = of_class[np.argsort(place, kind="stable")]
        n_known = int((place < n_groups).sum())
        return rows[:n_known], rows[n_known:]


def resample_test(test: Rows, known: KnownScores) -> Sampler:
    """Draw sets from test rows, by group with replacement, beside the same known rows."""

    def sample(n_real: int, n_ai: int, rng: np.random.Generator) -> tuple[FloatArray, KnownScores]:
        return test.p_ai[np.concatenate([test.draw(0, n_real, rng), test.draw(1, n_ai, rng)])], known

    return sample


def divide_again(test: Rows, known: KnownScores) -> Sampler:
    """Divide test and known rows anew by group: as many groups known as before, and sets from the rest."""
    both = Rows(
        np.concatenate([known.p_ai, test.p_ai]),
        np.concatenate([known.y, test.y]),
        np.concatenate([known.group, test.group + known.group.max() + 1]),
    )
    n_known = [len(np.unique(known.group[known.y == code])) for code in (0, 1)]

    def sample(n_real: int, n_ai: int, rng: np.random.Generator) -> tuple[FloatArray, KnownScores]:
        (real, others), (ai, more) = (both.divide(code, n_known[code], rng) for code in (0, 1))
        rows = np.concatenate([others[:n_real], more[:n_ai]])
        return both.p_ai[rows], both.known(np.concatenate([real, ai]))

    return sample


def count_alarms(
    sample: Sampler, what: str, n_draws: int, *, shares: Sequence[float] = SHARES, goal: float | None = 0.07
) -> Iterator[Measure]:
    """Count how often sets of rows like those of training are called unlike them, by size and share of AI."""
    for size in SIZES:
        for share in shares:
            rng = np.random.default_rng([size, round(10 * share)])
            n_ai, found = round(share * size), []
            for seed in range(n_draws):
                scores, known = sample(size - n_ai, n_ai, rng)
                each = state_set(scores, known, seed=seed)
                assert each is not None
                found.append(each)
            means = (float(np.mean([getattr(each, name) for each in found])) for name in ("distance", "null"))
            note = "mean D {:.3f}, mean limit {:.3f}, ".format(*means) + f"{n_draws} draws"
            name = f"{what}; alarms, {size} rows, AI share {share:g}"
            value = float(np.mean([each.is_unlike for each in found]))
            yield Measure(name, "", (value,), at_most=goal, note=note)


PARTS: dict[str, Callable[[FeatureStore, int], Iterator[Measure]]] = {
    "pictures": measure_pictures,
    "sets": measure_sets,
    "held-out": lambda store, n_draws: count_held_out(store, _choose(store, VIEWS[0]), n_draws),
}


if __name__ == "__main__":
    main()
