"""Evaluating with an interval for every figure, against the bare scoring of the same rows; and scanning what is cached.

``python -m benchmarks.bench_evaluate [--rows N] [--rounds N]`` makes a cache of made-up vectors.

``python -m benchmarks.bench_evaluate --only scan [--cache DIR] [--rounds N]`` needs the material of the slow tests
(FEATCACHE_TEST_MATERIAL) and keeps vectors in ``--cache`` and, of the scan, beside it.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.ablate_pictures import DATA, MODEL, extract_layers
from benchmarks.record import Measure, print_record, ratios, time_rounds, write_record
from featcache import FeatureStore
from featcache.synthetic import SyntheticOutput, SyntheticView, write_synthetic
from heads.data.choices import choose_selections
from heads.data.loading import load_features
from heads.evaluation.detectors import RunDetector
from heads.evaluation.report import build_report
from heads.evaluation.truth import read_truth
from heads.runs.fitting import fit_run, parse_config
from heads.runs.recording import build_record
from heads.runs.run import Run, load_run_features, save_run

MAKERS = ("sd21", "sdxl", "sd3", "dalle3", "midjourney")
VIEWS = ("clean", *(f"blur:{number}" for number in range(1, 8)))
WIDTH = 768
GOAL_REPORT, GOAL_COMMAND = 20.0, 1.5
PICTURES, NEIGHBOURS, GOAL_SCAN = 1_000, 3, 3.0
SCANNED = f"""\
{PICTURES:,} real and AI-generated pictures of 2022-23 from several public repositories without a common licence, for \
local use only; a linear head on the {12 * 192:,} columns of DeiT-tiny's layers, fitted on 1,869 rows; the vectors of \
all pictures are in the cache of the scan. Processor seconds are of the user and of the system together."""
IMPORTED = ("torch", "sklearn", "scipy.stats")


def main() -> None:
    """Time both, write the record and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=45_000, help="test rows of the large cache")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["scan"], help="leave out the rest")
    parser.add_argument("--cache", type=Path, help="where the vectors of pictures are kept")
    options = parser.parse_args()
    if options.only == "scan":
        measures = measure_scan(options.cache, rounds=options.rounds)
        print_record(write_record("evaluate", measures, setting=SCANNED, options="--only scan"))
        return
    with tempfile.TemporaryDirectory(prefix="bench-evaluate-") as scratch:
        large = make_run(Path(scratch) / "large", n_test=options.rows)
        small = make_run(Path(scratch) / "small", n_test=1_000)
        measures = [*measure_report(*large, rounds=options.rounds)]
        measures += measure_command(*small, rounds=options.rounds)
    setting = (
        f"{options.rows:,} test rows of {WIDTH} columns in groups of {len(MAKERS) + 1}, five generators, a linear "
        f"head, {len(VIEWS)} views; 500 resamples."
    )
    print_record(write_record("evaluate", measures, setting=setting))


def make_run(folder: Path, *, n_test: int) -> tuple[Run, FeatureStore]:
    """Write a cache and fit a linear head on it."""
    captions: Mapping[str, int] = {"train": 400, "valid": 200, "test": n_test // (len(MAKERS) + 1)}
    outputs = {"image": {"pooled": SyntheticOutput(WIDTH, signal=0.5)}}
    views = {name: SyntheticView(0.1) for name in VIEWS[1:]}
    store = write_synthetic(folder / "cache", captions=captions, generators=MAKERS, outputs=outputs, views=views).store
    config = parse_config({"head": "linear", "fusion": "image"})
    selections = choose_selections(store, ["image"])
    fitted = fit_run(load_features(store, selections, splits=("train", "valid")), config)
    return save_run(build_record(fitted, store, selections=selections), fitted.head, out=folder / "run"), store


def measure_report(run: Run, store: FeatureStore, *, rounds: int) -> list[Measure]:
    """Time a report of all views against reading and predicting as often."""
    truth, detector = read_truth(store, "test"), RunDetector(run, store)

    def report() -> None:
        build_report(detector, truth, store, views=VIEWS, by=("generator",))

    def bare() -> None:
        for view in VIEWS:
            run.predict(load_run_features(run.in_view(view), store, splits=("test",)))

    seconds = time_rounds({"report": report, "bare": bare}, rounds=rounds)
    note = f"{len(truth):,} rows × {len(VIEWS)} views"
    return [
        Measure("a report with every interval", "s", tuple(seconds["report"]), at_most=GOAL_REPORT, note=note),
        Measure("the same against reading and predicting", "ratio", ratios(seconds["report"], seconds["bare"])),
    ]


def measure_command(run: Run, store: FeatureStore, *, rounds: int) -> list[Measure]:
    """Time the whole command, and look at what it imports."""
    words = ["evaluate", str(run.path), "--cache", str(store.path)]
    code = f"import sys, cli; sys.argv[1:] = {words!r}; cli.heads_app(standalone_mode=False); "
    code += f"sys.exit(any(name in sys.modules for name in {IMPORTED!r}))"
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    note = f"1,000 rows; none of {', '.join(IMPORTED)} is imported"
    return [Measure("heads evaluate, the whole command", "s", tuple(seconds[1:]), at_most=GOAL_COMMAND, note=note)]


def measure_scan(cache: Path | None, *, rounds: int) -> list[Measure]:
    """Scan pictures whose vectors are cached, with neighbours and the effect size: the whole command."""
    with tempfile.TemporaryDirectory(prefix="bench-scan-") as scratch:
        folder = Path(scratch)
        vectors = (cache.with_suffix(".scan") if cache else folder / "vectors").absolute()
        store = extract_layers(cache or folder / "cache", ("clean",))
        selections = choose_selections(store, ["image"], choices={"image": {"outputs": "layers:all"}})
        config = parse_config({"head": "linear", "fusion": "image"})
        fitted = fit_run(load_features(store, selections, splits=("train", "valid")), config)
        record = build_record(fitted, store, selections=selections)
        save_run(record, fitted.head, out=folder / "run", likeness=fitted.likeness)
        (folder / "pictures").mkdir()
        for number, path in enumerate(sorted((DATA.parent / "images").glob("*/*"))[2::3][:PICTURES]):
            shutil.copy(path, folder / "pictures" / f"{number:04d}{path.suffix}")
        words = ["scan", "run", "pictures", "--out", "v.csv", "--overwrite", "--cache", str(vectors)]
        words += ["--neighbours", str(NEIGHBOURS), "--image-model", str(MODEL)]
        code = f"import sys, cli; sys.argv[1:] = {words!r}; cli.heads_app(standalone_mode=False); "
        code += "sys.exit('transformers' in sys.modules)"
        processor, wall = [], []
        for number in range(rounds + 1):
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            # The first round encodes, and is not counted.
            subprocess.run([sys.executable, "-c", code], check=number > 0, stdout=subprocess.DEVNULL, cwd=folder)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            wall.append(time.perf_counter() - start)
            processor.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    name = f"heads scan --neighbours {NEIGHBOURS} of {PICTURES:,} cached pictures, the whole command"
    note = "with the effect size; no encoder is loaded"
    return [
        Measure(f"{name}: processor", "s", tuple(processor[1:]), at_most=GOAL_SCAN, note=note),
        Measure(f"{name}: on the clock", "s", tuple(wall[1:]), note="the machine was shared"),
    ]


if __name__ == "__main__":
    main()
