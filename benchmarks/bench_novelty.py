"""What runs notice of pictures that are unlike those of training, one by one and as a set.

``python -m benchmarks.bench_novelty [--cache DIR] [--quick]``

It needs the material of the slow tests (FEATCACHE_TEST_MATERIAL) and keeps what it extracts in ``--cache``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.ablate_pictures import extract_layers
from benchmarks.drawings import draw_families
from benchmarks.record import Measure, print_record, write_record
from featcache import FeatureStore, Selection, extract_pictures, link_rows, read_pictures
from heads.data.choices import choose_views
from heads.data.features import Features, load_features, load_fit_rows
from heads.data.row_source import StoredRows
from heads.runs.crossfit import cross_fit
from heads.runs.fitting import fit_run, parse_config
from heads.statistics.ranking import auc
from heads.verdicts.mixture import KnownScores, state_set
from heads.verdicts.novelty import NOVEL_UP_TO, Novelty

VIEWS = ("clean", "jpeg:30", "blur:1.5")
PICTURES, DRAWS, FOLDS = 100, 100, 5
SIZES, SHARES = (50, 200), (0.0, 0.1, 0.5, 0.9, 1.0)
SETTING = """\
Real and AI-generated pictures of 2022-23 from several public repositories without a common licence, for local use \
only. Linear head on DeiT-tiny's layers. Novelty: AUC of the distance, drawn pictures (seeded, 256 x 256, JPEG 90) \
against test pictures. Sets: test rows, groups drawn with replacement until a class has its rows; known scores are \
those of the calibrating rows, or cross-fitted ones of the training rows (--folds). One real test row is a group, AI \
rows are grouped by prompt: 15 in test, 7 among the calibrating rows."""

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


def main() -> None:
    """Fit, measure, write the record and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, help="where the vectors of the pictures are kept")
    parser.add_argument("--quick", action="store_true", help="few pictures and draws: see that it runs")
    options = parser.parse_args()
    n_pictures, n_draws = (5, 5) if options.quick else (PICTURES, DRAWS)
    measures = []
    with tempfile.TemporaryDirectory(prefix="bench-novelty-") as scratch:
        place = options.cache or Path(scratch) / "cache"
        store = extract_layers(place, VIEWS)
        for views in (VIEWS[:1], VIEWS):
            selected = choose_views(store, ["image"], views=views, choices={"image": {"outputs": "layers:all"}})
            features, rows = load_fit_rows(store, selected)
            config = parse_config({"head": "linear", "fusion": "image"})
            fitted = fit_run(features, config, stored=rows)
            test = load_features(store, selected[0], splits=("test",), tasks=features.tasks)
            drawn = encode_families(store, selected[0]["image"], Path(scratch), n_pictures)
            name = f"fitted on {', '.join(views)}"
            measures += tell_families(fitted.likeness.novelty, test.matrix("image"), drawn, name)
            if len(views) == 1:
                scores = fitted.head.predict_proba(test.matrix("image")).proba["a"]
                crossed = cross_fit(
                    features,
                    rows,
                    folds=FOLDS,
                    fusion="image",
                    fit=partial(fit_run, config=config),
                )
                for what, known in (("calibrating rows", fitted.likeness.known), ("folds", crossed.known)):
                    measures += count_alarms(scores, test, known, what, n_draws)
        folder = Path(scratch) if options.quick else None
        record = {"setting": SETTING, **({"options": "--quick", "folder": folder} if folder else {})}
        print_record(write_record("novelty", measures, **record))


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


def count_alarms(scores: FloatArray, test: Features, known: KnownScores, what: str, n_draws: int) -> Iterator[Measure]:
    """Count how often test rows are called unlike known ones, by size and share of AI."""
    y, groups = test.targets.y["a"], link_rows(test)
    whole = state_set(scores, known)
    assert whole is not None
    note = f"limit {whole.null:.3f}, share {whole.share:.2f}, n {whole.n}, {len(known)} known rows"
    yield Measure(f"{what}; D of all test rows", "", (whole.distance,), note=note)
    for size in SIZES:
        for share in SHARES:
            rng = np.random.default_rng([size, round(10 * share)])
            n_ai = round(share * size)
            found = []
            for seed in range(n_draws):
                rows = [draw_rows(groups, y == code, n, rng) for code, n in ((0, size - n_ai), (1, n_ai))]
                found.append(state_set(scores[np.concatenate(rows)], known, seed=seed))
            alarms = [each is not None and each.is_unlike for each in found]
            note = f"mean D {np.mean([each.distance for each in found if each]):.3f}, {n_draws} draws"
            name = f"{what}; alarms, {size} test rows, AI share {share:g}"
            yield Measure(name, "", (float(np.mean(alarms)),), at_most=0.07, note=note)


def draw_rows(groups: IntArray, of_class: NDArray[np.bool_], n: int, rng: np.random.Generator) -> IntArray:
    """Draw groups of a class until it has ``n`` rows."""
    names = np.unique(groups[of_class])
    drawn: list[IntArray] = [np.arange(0)]
    while sum(map(len, drawn)) < n:
        drawn.append(rng.permutation(np.flatnonzero((groups == rng.choice(names)) & of_class)))
    return np.concatenate(drawn)[:n]


if __name__ == "__main__":
    main()
