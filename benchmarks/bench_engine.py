"""How fast many heads are trained in one pass, against a plain loop; how fast they score; how much memory it takes.

``python -m benchmarks.bench_engine [--quick] [--only grid,rate,scoring,spread,memory] [--rounds N] [--device cuda]``
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.record import Measure, print_record, ratios, time_rounds, write_record
from heads.data.columns import Columns
from heads.data.tasks import Targets, build_targets, default_tasks
from heads.mlp.config import MlpConfig
from heads.mlp.engine import HeadSpec, fit_pack
from heads.mlp.network import FittedNetwork
from heads.mlp.precision import matrix_dtype
from heads.mlp.scoring import predict_pack

GENERATORS = ("one", "two", "three", "four", "five")
TASKS = default_tasks(GENERATORS)
DIMS = (32, 64, 128, 256, 512, 1024)
RATES = (3e-4, 1e-3, 3e-3)
SEEDS = (0, 1, 2, 3)
BATCH = 256
WIDE = tuple(dim for dim in DIMS if dim >= 256)


@dataclass(frozen=True)
class Size:
    """How much is computed."""

    n_fit: int = 42_000
    n_select: int = 4_500
    n_score: int = 45_000
    n_columns: int = 1_536
    n_stored: int = 10_000_000
    seeds: tuple[int, ...] = SEEDS
    spread_seeds: int = 12


FULL = Size()
QUICK = Size(4_096, 512, 4_096, 256, 100_000, (0, 1), 4)


def setting(size: Size, device: str) -> str:
    """Say what is compared with what."""
    return (
        f"Random but learnable rows, {size.n_fit:,} to fit and {size.n_select:,} to select by, {size.n_columns:,} "
        f"columns; task A and {len(GENERATORS)} generators. Grid: dims {', '.join(map(str, DIMS))} × "
        f"{len(size.seeds)} seeds × {len(RATES)} learning rates, batch {BATCH}, one epoch and its selection; "
        f"standardisation included on our side. Plain loop: a DataLoader over a TensorDataset of standardised rows, "
        "torch.nn.Sequential, torch.optim.AdamW with its defaults, best of 0 and 2 workers; one head of each dim is "
        "timed in each round and taken times the number of heads of that dim. Both sides have the same threads. "
        f"Products on {device} in {str(matrix_dtype(device, 'auto')).removeprefix('torch.')}; {describe_machine()}."
    )


def describe_machine() -> str:
    """Name what multiplies beside a GPU."""
    return f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"


def make_rows(n: int, n_columns: int, *, seed: int = 0) -> tuple[NDArray[np.float32], Targets]:
    """Draw rows of six classes that a head can tell apart, though not all of them."""
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(7).normal(size=(len(GENERATORS) + 1, n_columns)).astype(np.float32)
    joint = rng.integers(0, len(means), n)
    X = rng.standard_normal((n, n_columns), dtype=np.float32)
    X += means[joint] * np.float32(2.5 / n_columns**0.5)
    return X, build_targets(TASKS, {"a": (joint > 0).astype(np.int64), "b": np.where(joint > 0, joint - 1, -1)})


def specs(
    size: Size, dims: Sequence[int] = DIMS, seeds: Sequence[int] | None = None, *, batch_size: int = BATCH
) -> list[HeadSpec]:
    """Return the heads of the grid, for one epoch."""
    fit, select = np.arange(size.n_fit), np.arange(size.n_fit, size.n_fit + size.n_select)
    base = MlpConfig(batch_size=batch_size, epochs=1, patience=None)
    return [
        HeadSpec(replace(base, dim=dim, lr=lr), seed, fit, select)
        for seed in (size.seeds if seeds is None else seeds)
        for dim in dims
        for lr in RATES
    ]


def train_plainly(X: NDArray[np.float32], targets: Targets, size: Size, *, dim: int, device: str, workers: int) -> None:
    """Train a head for an epoch as one would without an engine."""
    torch.manual_seed(0)
    rows = TensorDataset(
        torch.from_numpy(X),
        *(torch.from_numpy(targets.y[t.name]) for t in TASKS),
        torch.from_numpy(targets.applies["b"]),
    )
    fit = torch.utils.data.Subset(rows, range(size.n_fit))
    select = torch.utils.data.Subset(rows, range(size.n_fit, len(rows)))
    network = torch.nn.Sequential(
        torch.nn.Linear(X.shape[1], dim), torch.nn.ReLU(), torch.nn.Linear(dim, 1 + len(GENERATORS))
    ).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)

    def loss_of(batch: Sequence[torch.Tensor]) -> torch.Tensor:
        x, a, b, applies = (part.to(device) for part in batch)
        logits = network(x)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], a.float())
        return loss + torch.nn.functional.cross_entropy(logits[applies, 1:], b[applies])

    for batch in DataLoader(fit, batch_size=BATCH, shuffle=True, num_workers=workers):
        optimizer.zero_grad()
        torch.autograd.backward(loss_of(batch))
        optimizer.step()
    with torch.inference_mode():
        for batch in DataLoader(select, batch_size=1024, num_workers=workers):
            loss_of(batch)


def bench_grid(size: Size, rounds: int, device: str) -> list[Measure]:
    """Compare the grid with the plain loop."""
    X, targets = make_rows(size.n_fit + size.n_select, size.n_columns)
    grid = specs(size)
    workers = best_workers(X, targets, size, device)
    calls: dict[str, Callable[[], object]] = {
        str(dim): lambda dim=dim: train_plainly(X, targets, size, dim=dim, device=device, workers=workers)  # type: ignore[misc]
        for dim in DIMS
    }
    calls["grid"] = lambda: fit_pack(X, targets, grid, tasks=TASKS, device=device)
    if device != "cpu":
        calls["grid"]()
    seconds = time_rounds(calls, rounds=rounds, is_warm=True)
    n_each = len(grid) // len(DIMS)
    plain = [n_each * sum(values) for values in zip(*(seconds[str(dim)] for dim in DIMS), strict=True)]
    each = ", ".join(f"{dim}: {statistics.median(seconds[str(dim)]):.2f}" for dim in DIMS)
    note = (
        f"{statistics.median(seconds['grid']):.1f} s against {statistics.median(plain):.0f} s, extrapolated from "
        f"seconds a head by dim {each}; {workers} workers"
    )
    name = f"{len(grid)} heads, plain DataLoader loop / engine"
    measures = [Measure(name, "ratio", ratios(plain, seconds["grid"]), at_least=4, note=note)]
    if device != "cpu":
        rate, flops = gemm_rate(size, device, rounds=rounds), count_flops(size, grid)
        shares = tuple(flops / each / rate for each in seconds["grid"])
        note = f"{flops / 1e12:.2f} TFLOP; {rate / 1e12:.0f} TFLOP/s in one large product"
        measures.append(Measure(f"{len(grid)} heads: seconds an epoch", "s", tuple(seconds["grid"])))
        measures.append(Measure(f"{len(grid)} heads: share of the GEMM rate", "ratio", shares, note=note))
    return measures


def best_workers(X: NDArray[np.float32], targets: Targets, size: Size, device: str) -> int:
    """Return the number of loader processes with which a small head trains fastest."""
    found = {}
    for workers in (0, 2):
        start = time.perf_counter()
        train_plainly(X, targets, size, dim=DIMS[0], device=device, workers=workers)
        found[workers] = time.perf_counter() - start
    return min(found, key=lambda workers: found[workers])


def gemm_rate(size: Size, device: str, *, rounds: int) -> float:
    """Return the best rate in FLOP/s at which this machine multiplies matrices of the shapes at hand or square ones."""
    dtype, best = matrix_dtype(device, "auto"), 0.0
    square = 2048 if device == "cpu" else 8192
    for m, k, n in ((BATCH, size.n_columns, 3072), (3072, BATCH, size.n_columns), (square, square, square)):
        a, b = (torch.randn(shape, device=device).to(dtype) for shape in ((m, k), (k, n)))
        out = torch.empty((m, n), device=device, dtype=dtype)
        for _ in range(max(rounds, 3)):
            start = time.perf_counter()
            for _ in range(10):
                torch.mm(a, b, out=out)
            synchronise(device)
            best = max(best, 20 * m * k * n / (time.perf_counter() - start))
    return best


def count_flops(size: Size, grid: Sequence[HeadSpec]) -> int:
    """Return the operations of the wide products of an epoch and its selection."""
    return sum(2 * spec.config.dim * size.n_columns * (2 * size.n_fit + size.n_select) for spec in grid)


def synchronise(device: str) -> None:
    """Wait for the device."""
    if device != "cpu":
        torch.cuda.synchronize()


def bench_rate(size: Size, rounds: int, device: str) -> list[Measure]:
    """Compare the products of training with the rate of this machine."""
    X, targets = make_rows(size.n_fit + size.n_select, size.n_columns)
    measures = []
    goal_wide = 0.75 if device == "cpu" else None
    cases = ((WIDE, 1024, goal_wide), (WIDE, BATCH, None), ((64,), BATCH, None), ((512,), BATCH, None))
    for dims, batch_size, goal in cases:
        grid = specs(size, dims, seeds=(0,), batch_size=batch_size)[:: len(RATES)]
        flops = count_flops(size, grid)
        shares, seconds = [], []
        for _ in range(rounds):
            found = fit_pack(X, targets, grid, tasks=TASKS, device=device)
            seconds.append(sum(head.seconds for head in found))
            shares.append(flops / seconds[-1] / gemm_rate(size, device, rounds=rounds))
        what = f"a head of each dim {', '.join(map(str, dims))}" if len(dims) > 1 else f"one head of dim {dims[0]}"
        what += f", batch {batch_size:,}"
        note = f"{statistics.median(seconds):.2f} s an epoch, {flops / 1e9:.0f} GFLOP"
        measures.append(
            Measure(f"share of the GEMM rate in training, {what}", "ratio", tuple(shares), goal, None, note)
        )
    return measures


def bench_scoring(size: Size, rounds: int, device: str) -> list[Measure]:
    """Compare scoring with its first product alone, in the same pieces."""
    X, targets = make_rows(size.n_fit + size.n_select, size.n_columns)
    rows = make_rows(size.n_score, size.n_columns, seed=1)[0]
    measures = []
    for dim in (64, 512):
        small = np.arange(1024)
        config = MlpConfig(dim=dim, epochs=1, batch_size=BATCH)
        fitted = fit_pack(
            X, targets, [HeadSpec(config, seed, small, small) for seed in range(8)], tasks=TASKS, precision="float32"
        )
        tensor = torch.from_numpy(rows)
        weight = torch.cat([found.weights["hidden.weight"] for found in fitted]).mT
        out = torch.empty((1024, weight.shape[1]))

        def multiply(tensor: torch.Tensor = tensor, weight: torch.Tensor = weight, out: torch.Tensor = out) -> None:
            for part in torch.split(tensor, len(out)):
                torch.mm(part, weight, out=out[: len(part)])

        calls: Mapping[str, Callable[[], object]] = {
            "gemm": multiply,
            "score": lambda fitted=fitted: predict_pack(fitted, rows),  # type: ignore[misc]
        }
        seconds = time_rounds(calls, rounds=rounds)
        values = ratios(seconds["score"], seconds["gemm"])
        note = f"{statistics.median(seconds['score']):.2f} s / {statistics.median(seconds['gemm']):.2f} s"
        name = f"scoring {size.n_score:,} rows with 8 heads of dim {dim} / their first-layer GEMM"
        measures.append(Measure(name, "ratio", values, at_most=1.3, note=note))
    return measures


def bench_spread(size: Size, rounds: int, device: str) -> list[Measure]:
    """Compare how far apart seeds are when each has its own order of rows, and when they share one."""
    n_fit, n_select = min(4_000, size.n_fit), min(4_000, size.n_score)
    X, targets = make_rows(n_fit + n_select, size.n_columns, seed=2)
    config = MlpConfig(dim=64, batch_size=BATCH, epochs=8, patience=None)
    rows = np.arange(n_fit), np.arange(n_fit, n_fit + n_select)
    grid = [HeadSpec(config, seed, *rows) for seed in range(size.spread_seeds)]
    measures = []
    for order in ("own", "shared"):
        start = time.perf_counter()
        found = fit_pack(X, targets, grid, tasks=TASKS, device=device, order=order, columns=Columns.unknown(X.shape[1]))
        elapsed = time.perf_counter() - start
        scores = [head.history[-1]["score"] for head in found]
        apart = disagreement(found, X[rows[1]])
        note = f"mean {statistics.mean(scores):.4f}, {len(grid)} seeds of dim 64, {elapsed:.1f} s; {apart}"
        name = f"standard deviation of the score over seeds, {order} order"
        measures.append(Measure(name, "", (statistics.stdev(scores),), note=note))
    return measures


def disagreement(found: Sequence[FittedNetwork], X: NDArray[np.float32]) -> str:
    """Say how far the probabilities of two seeds are apart, on average."""
    proba = np.stack([prediction.proba["a"] for prediction in predict_pack(found, X)])
    return f"P(AI) of two seeds differs by {np.abs(np.diff(proba, axis=0)).mean():.4f}"


_MEMORY = """
import sys, threading, time
from pathlib import Path
peak = [0.0]
def anon():
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1]) / 1e6
def watch():
    while True:
        peak[0] = max(peak[0], anon())
        time.sleep(0.02)
threading.Thread(target=watch, daemon=True).start()
import numpy as np
from featcache import open_store
from heads.mlp.engine import HeadSpec, fit_pack
from heads.mlp.config import MlpConfig
from heads.data.row_source import StoredRows
from heads.data.tasks import build_targets, default_tasks
imported = anon()
store = open_store(sys.argv[1])
rows = StoredRows(store, [store.default_selections()], np.arange(len(store)))
y = {"a": store.samples.label_a, "b": store.samples.label_b.astype(np.int16) - 1}
tasks = default_tasks(store.class_names[1:])
targets = build_targets(tasks, y)
opened = anon()
places = np.arange(len(store))
config = MlpConfig(dim=16, epochs=1, batch_size=4096)
spec = HeadSpec(config, 0, places[places % 50 != 0], places[places % 50 == 0])
fit_pack(rows, targets, [spec], tasks=tasks, memory=sys.argv[2])
print(imported, opened, max(peak[0], anon()))
"""


def bench_memory(size: Size, rounds: int, device: str) -> list[Measure]:
    """Train a head on a store that is much larger than its budget, in a process of its own."""
    from featcache.synthetic.sparse import write_sparse_store

    folder = Path(tempfile.mkdtemp(prefix="bench-engine-"))
    try:
        write_sparse_store(folder / "cache", size.n_stored, widths={"pooled": size.n_columns})
        command = [sys.executable, "-c", _MEMORY, str(folder / "cache"), "2GB"]
        start = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        elapsed = time.perf_counter() - start
    finally:
        shutil.rmtree(folder)
    imported, opened, peak = map(float, done.stdout.split())
    note = (
        f"{size.n_stored:,} × {size.n_columns:,} float16 in sparse files, one epoch of one head, {elapsed:.0f} s; "
        f"{imported:.2f} GB after import, {opened:.2f} GB with the store open and its labels read"
    )
    return [Measure("peak RssAnon of training with memory=2GB", "GB", (peak,), at_most=2.3, note=note)]


PARTS: Mapping[str, Callable[[Size, int, str], list[Measure]]] = {
    "grid": bench_grid,
    "rate": bench_rate,
    "scoring": bench_scoring,
    "spread": bench_spread,
    "memory": bench_memory,
}


def main() -> None:
    """Run what is asked for, write the record and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it runs")
    parser.add_argument("--only", default=",".join(PARTS), help=f"among {', '.join(PARTS)}")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    measures = [m for part in options.only.split(",") for m in PARTS[part](size, options.rounds, options.device)]
    words = " ".join(sys.argv[1:])
    print_record(write_record("engine", measures, setting=setting(size, options.device), options=words))


if __name__ == "__main__":
    main()
