"""What screening costs and loses against the full grid; what heads learn of real pictures, also perturbed ones.

``python -m benchmarks.bench_ablate [--quick] [--only screen,pictures] [--rounds N] [--cache DIR]``

``pictures`` needs the material of the slow tests (FEATCACHE_TEST_MATERIAL) and keeps what it extracts in ``--cache``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ablate_pictures import bench_pictures
from benchmarks.bench_engine import BATCH, DIMS, RATES, Size, best_workers, describe_machine, make_rows, train_plainly
from benchmarks.record import Measure, print_record, write_record
from featcache.synthetic import SyntheticOutput, write_synthetic
from heads.ablation.ablation import AblationResult, ablate
from heads.ablation.grid import Grid
from heads.ablation.study_rows import StudyRows
from heads.data.choices import choose_views


@dataclass(frozen=True)
class Shape:
    """How much is computed."""

    captions: Mapping[str, int]
    width: int
    dims: tuple[int, ...]
    seeds: int
    epochs: int


FULL = Shape({"train": 7_000, "valid": 1_500}, 768, DIMS, 4, 4)
QUICK = Shape({"train": 300, "valid": 100}, 64, (16, 32, 64), 2, 4)


def setting(shape: Shape) -> str:
    """Say what is compared with what."""
    n = {split: 6 * count for split, count in shape.captions.items()}
    return (
        f"Screening: synthetic store (featcache.synthetic), {n['train']:,} rows to fit and {n['valid']:,} of "
        f"validation, fusion concat, text {shape.width} + image {shape.width} columns; dims "
        f"{', '.join(map(str, shape.dims))} × {shape.seeds} seeds × {len(RATES)} learning rates, batch {BATCH}, "
        f"{shape.epochs} epochs each, no early stopping and no controls. Plain loop: see bench_engine; one epoch of a "
        "head of each dim is timed and taken times the epochs and heads of that dim. Pictures: 3,155 real and "
        "AI-generated ones of 2022-23 from several public repositories without a common licence, split by prompt; "
        f"few prompts make wide intervals. {describe_machine()}."
    )


def bench_screen(shape: Shape, rounds: int, cache: Path | None) -> list[Measure]:
    """Compare the screened grid with the full one, and with a plain loop over all heads."""
    outputs = {
        "text": {"cls": SyntheticOutput(shape.width, content=3.0)},
        "image": {"pooled": SyntheticOutput(shape.width, signal=3.0)},
    }
    with tempfile.TemporaryDirectory(prefix="bench-ablate-") as folder:
        store = write_synthetic(Path(folder) / "cache", captions=shape.captions, outputs=outputs).store
        rows = StudyRows.load(store, choose_views(store, ("concat",)), fusions=("concat",))
        seconds: dict[str, list[float]] = {"full": [], "screen": []}
        found: dict[str, AblationResult] = {}
        for number in range(rounds):
            # The full grid takes minutes and is the reference of scores: once.
            for name in ("screen", *(("full",) if number == 0 else ())):
                start = time.perf_counter()
                found[name] = ablate(rows, build_grid(shape, is_screened=name == "screen"))
                seconds[name].append(time.perf_counter() - start)
    plain = [time_plain_loop(shape) for _ in range(rounds)]
    best = {name: found[name].best() for name in ("screen", "full")}
    full_score = {summary.cell: summary for summary in found["full"].table}[best["screen"].cell]
    lost = best["full"].score - full_score.score
    spread = best["full"].scores["score_sd"] or 0.0
    note = (
        f"screened {statistics.median(seconds['screen']):.0f} s, full grid {seconds['full'][0]:.0f} s, plain loop "
        f"{statistics.median(plain):.0f} s (extrapolated)"
    )
    what = f"{len(found['full'].heads)} heads"
    chosen = "; full grid: ".join(f"dim {found.cell.dim}, lr {found.cell.lr:g}" for found in best.values())
    return [
        Measure(
            f"{what}, plain DataLoader loop / screened grid",
            "ratio",
            tuple(a / b for a, b in zip(plain, seconds["screen"], strict=True)),
            at_least=12,
            note=note,
        ),
        Measure(
            f"{what}, full grid / screened grid",
            "ratio",
            tuple(seconds["full"][0] / s for s in seconds["screen"]),
            note=note,
        ),
        Measure(
            "score that screening loses / sd over the seeds of the best",
            "ratio",
            (lost / spread if spread else 0.0,),
            at_most=1,
            note=f"{chosen}; {lost:+.4f}, sd {spread:.4f}",
        ),
    ]


def build_grid(shape: Shape, *, is_screened: bool) -> Grid:
    """Return the grid, with equal work for all heads."""
    settings = {"epochs": shape.epochs, "patience": None, "batch_size": BATCH}
    return Grid(
        fusions=("concat",),
        dims=shape.dims,
        lrs=RATES,
        seeds=shape.seeds,
        controls=False,
        screen=is_screened,
        settings=settings,
    )


def time_plain_loop(shape: Shape) -> float:
    """Return the seconds of a plain loop over all heads, from an epoch of one head of each dim."""
    counts = {split: 6 * count for split, count in shape.captions.items()}
    size = Size(n_fit=counts["train"], n_select=counts["valid"], n_columns=2 * shape.width)
    X, targets = make_rows(size.n_fit + size.n_select, size.n_columns)
    workers = best_workers(X, targets, size, "cpu")
    total = 0.0
    for dim in shape.dims:
        start = time.perf_counter()
        train_plainly(X, targets, size, dim=dim, device="cpu", workers=workers)
        total += time.perf_counter() - start
    return total * shape.epochs * shape.seeds * len(RATES)


def bench_real(shape: Shape, rounds: int, cache: Path | None) -> list[Measure]:
    """See `benchmarks.ablate_pictures`; a round would give the same figures again."""
    return bench_pictures(cache, is_quick=shape is QUICK)


PARTS: Mapping[str, Callable[[Shape, int, Path | None], list[Measure]]] = {
    "screen": bench_screen,
    "pictures": bench_real,
}


def main() -> None:
    """Run what is asked for, write the record and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it runs")
    parser.add_argument("--only", default=",".join(PARTS), help=f"among {', '.join(PARTS)}")
    parser.add_argument("--cache", type=Path, help="where the vectors of the pictures are kept")
    options = parser.parse_args()
    shape = QUICK if options.quick else FULL
    measures = [m for part in options.only.split(",") for m in PARTS[part](shape, options.rounds, options.cache)]
    words = " ".join(word for word in sys.argv[1:] if word != str(options.cache) and word != "--cache")
    print_record(write_record("ablate", measures, setting=setting(shape), options=words))


if __name__ == "__main__":
    main()
