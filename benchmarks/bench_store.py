"""How fast a store is read, against a plain ``.npy`` file; how fast it opens; how much memory a scan takes.

``python -m benchmarks.bench_store [--rounds N] [--folder DIR]`` needs about 6 GB of disk under DIR.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import Measure, print_record, ratios, time_rounds, write_record
from featcache import FeatureStore, open_store
from featcache.cache.folder import Cache, Defaults, unit_name
from featcache.cache.index import update_index
from featcache.cache.samples import PRESENT, SampleTable, write_samples
from featcache.cache.shard import ShardHeader
from featcache.cache.shard_writing import write_shard
from featcache.files.string_column import StringColumn
from featcache.identity.fingerprint import Fingerprint
from featcache.store.rows import Rows

N_ROWS, WIDTH, BATCH, SCAN_BATCH = 200_000, 768, 256, 4096
N_BATCHES = 300
WIDE = {"text": {"cls": 1024, "mean": 1024}, "image": {"cls": 1024, "pooled": 1024}}
N_WIDE, WIDE_SHARD = 512 * 1024, 8192

SETTING = (
    f"Baseline: one ({N_ROWS:,}, {WIDTH}) float16 `.npy` file under np.load(mmap_mode='r'). Random: `memmap[rows]` "
    f"against `Rows.read(rows)`, both making new arrays; stricter, without a goal: `np.take(memmap, rows, axis=0, "
    f"out=buffer, mode='clip')` against `Rows.read(rows, out=buffer)`. Scan: `buffer[:] = memmap[a:b]` against "
    f"`Rows.read(range, out=buffer)`. Finding shards and rows is part of our time. Both sides read the same "
    f"rows from a warm page cache, as stored (float16) or converted to float32 (`.astype` or np.copyto). A ratio is "
    f"baseline time / our time within a round ({N_BATCHES} batches of {BATCH} rows; scans in batches of {SCAN_BATCH})."
)

RANDOM = {"one shard": 0.9, "20 shards, request order": 0.65}
SCAN = {"one shard": 0.9, "20 shards": 0.9}


def build_store(path: Path, widths: dict[str, dict[str, int]], n_rows: int, shard_rows: int) -> FeatureStore:
    """Write a store of random vectors; every sample has contents of its own."""
    rng = np.random.default_rng(0)
    cache = Cache.open_or_create(path, Defaults("float32", "float16"))
    noise = rng.standard_normal((shard_rows, max(w for side in widths.values() for w in side.values())), np.float32)
    keys = {m: rng.integers(0, 256, (n_rows, 32), dtype=np.uint8) for m in ("text", "image")}
    for modality, outputs in widths.items():
        identity = {"modality": modality, "compute_dtype": "float32", "storage_dtype": "float16"}
        fingerprint = Fingerprint(identity, {"model": "random"})
        cache.add_producer(fingerprint)
        header = ShardHeader(fingerprint.digest, "clean", "float16")
        for start in range(0, n_rows, shard_rows):
            part = keys[modality][start : start + shard_rows]
            noise[:, 0] = start / n_rows
            vectors = {name: noise[: len(part), :width] for name, width in outputs.items()}
            name = unit_name(part, "clean", tuple(outputs))
            write_shard(cache.shard_folder(fingerprint, "clean") / f"{name}.h5", header, part, vectors, root=cache.path)
    write_samples(cache.sample_path("random"), _samples(n_rows, keys["text"], keys["image"]), root=cache.path)
    update_index(cache)
    return open_store(path)


def _samples(n: int, text: NDArray[np.uint8], image: NDArray[np.uint8]) -> SampleTable:
    empty = StringColumn.from_strings([""] * n)
    return SampleTable(
        dataset="random",
        origin="benchmark",
        class_names=("real", "fake"),
        sample_id=StringColumn.from_strings([f"sample-{i:09d}" for i in range(n)]),
        group=empty,
        source=empty,
        split=np.full(n, "train"),
        label_a=(np.arange(n) % 2).astype(np.int8),
        label_b=(np.arange(n) % 2).astype(np.int16),
        image_key=image,
        text_key=text,
        image_status=np.full(n, PRESENT, np.uint8),
        text_status=np.full(n, PRESENT, np.uint8),
        width=np.zeros(n, np.uint32),
        height=np.zeros(n, np.uint32),
    )


def bench_reading(folder: Path, rounds: int) -> list[Measure]:
    """Compare random batches and scans with a ``.npy`` file of the same vectors."""
    stores = {20: build_store(folder / "20", {"image": {"pooled": WIDTH}}, N_ROWS, N_ROWS // 20)}
    stores[1] = build_store(folder / "1", {"image": {"pooled": WIDTH}}, N_ROWS, N_ROWS)
    rows = {n: store.rows(store.select("image")) for n, store in stores.items()}
    np.save(folder / "plain.npy", rows[20].read(np.arange(N_ROWS), dtype=np.float16))
    plain = np.load(folder / "plain.npy", mmap_mode="r")
    measures = []
    for dtype in (np.dtype(np.float16), np.dtype(np.float32)):
        seconds = time_rounds(_random_calls(plain, rows, dtype) | _scan_calls(plain, rows, dtype), rounds=rounds)
        for base, kind, names, n in (
            ("memmap[rows]", "random", RANDOM, N_BATCHES * BATCH),
            ("np.take(out=)", "random into a buffer", RANDOM, N_BATCHES * BATCH),
            ("memmap[a:b]", "full scan", SCAN, N_ROWS),
        ):
            note = f".npy: {n / statistics.median(seconds[base]) / 1e6:.2f} M rows/s"
            for name, goal in names.items():
                values = ratios(seconds[base], seconds[f"{kind}, {name}"])
                goal_here = None if "buffer" in kind else goal
                line = f"{kind}, {name} / .npy {base}, {dtype} out"
                measures.append(Measure(line, "ratio", values, at_least=goal_here, note=note))
    return measures


def _random_calls(
    plain: NDArray[np.float16], rows: Mapping[int, Rows], dtype: np.dtype[Any]
) -> dict[str, Callable[[], object]]:
    rng = np.random.default_rng(1)
    wanted = [rng.integers(0, N_ROWS, BATCH) for _ in range(N_BATCHES)]
    buffer, scratch = np.empty((BATCH, WIDTH), dtype), np.empty((BATCH, WIDTH), np.float16)
    array = np.asarray(plain)

    def take(indices: NDArray[np.int64]) -> None:
        if dtype == np.float16:
            np.take(array, indices, axis=0, out=buffer, mode="clip")
        else:
            np.copyto(buffer, np.take(array, indices, axis=0, out=scratch, mode="clip"))

    def read(places: Rows, out: NDArray[Any] | None, indices: NDArray[Any]) -> None:
        places.read(indices, dtype=dtype, out=out)

    calls: dict[str, Callable[[NDArray[np.int64]], object]] = {
        "memmap[rows]": lambda i: plain[i].astype(dtype, copy=False),
        "np.take(out=)": take,
    }
    for kind, out in (("random", None), ("random into a buffer", buffer)):
        calls |= {
            f"{kind}, one shard": partial(read, rows[1], out),
            f"{kind}, 20 shards, request order": partial(read, rows[20], out),
        }

    def over_all(call: Callable[[NDArray[np.int64]], object]) -> None:
        for indices in wanted:
            call(indices)

    return {name: partial(over_all, call) for name, call in calls.items()}


def _scan_calls(
    plain: NDArray[np.float16], rows: Mapping[int, Rows], dtype: np.dtype[Any]
) -> dict[str, Callable[[], object]]:
    buffer = np.empty((SCAN_BATCH, WIDTH), dtype)
    positions = [np.arange(a, min(a + SCAN_BATCH, N_ROWS)) for a in range(0, N_ROWS, SCAN_BATCH)]

    def baseline() -> None:
        for indices in positions:
            buffer[: len(indices)] = plain[indices[0] : indices[-1] + 1]

    def scan(places: Rows) -> None:
        for indices in positions:
            places.read(indices, out=buffer[: len(indices)])

    return {
        "memmap[a:b]": baseline,
        "full scan, one shard": lambda: scan(rows[1]),
        "full scan, 20 shards": lambda: scan(rows[20]),
    }


def bench_opening(folder: Path, rounds: int) -> list[Measure]:
    """Compare a store of 1,000 shards with one of 10."""
    for n_shards in (10, 1000):
        build_store(folder / f"open-{n_shards}", {"image": {"pooled": 64}}, N_ROWS, N_ROWS // n_shards)

    def opened(n_shards: int) -> FeatureStore:
        store = open_store(folder / f"open-{n_shards}")
        store.select("image")
        return store

    def first_batch(n_shards: int) -> None:
        store = opened(n_shards)
        store.rows(store.select("image")).read(np.arange(0, N_ROWS, N_ROWS // BATCH))

    calls = {f"{f.__name__} {n}": lambda f=f, n=n: f(n) for f in (opened, first_batch) for n in (10, 1000)}
    seconds = time_rounds(calls, rounds=rounds)
    measures = []
    for f, name in (
        (opened, "opening: open_store + select"),
        (first_batch, "opening, key lookup of all rows, first random batch"),
    ):
        few, many = seconds[f"{f.__name__} 10"], seconds[f"{f.__name__} 1000"]
        note = f"{statistics.median(many) * 1e3:.0f} ms / {statistics.median(few) * 1e3:.0f} ms, {N_ROWS:,} rows"
        measures.append(Measure(f"{name}, 1,000 shards / 10", "ratio", ratios(many, few), at_most=3, note=note))
    return measures


_SCAN = """
import sys, threading, time
from pathlib import Path
peak = {"now": 0, "open": 0}
def anon():
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1]) / 1e3
def watch():
    while True:
        peak["now"] = max(peak["now"], anon())
        time.sleep(0.005)
threading.Thread(target=watch, daemon=True).start()
from featcache import open_store
before = anon()
store = open_store(sys.argv[1])
shuffle = None if sys.argv[2] == "None" else sys.argv[2]
batches = store.batches(batch_size=256, shuffle=shuffle)
n = len(next(batches))
opened = peak["now"] = anon()
n += sum(len(batch) for batch in batches)
assert n == len(store)
print(before, opened, max(peak["now"], anon()))
"""


def bench_memory(folder: Path, rounds: int) -> list[Measure]:
    """Scan a store of 4 GB in a process of its own and look at its anonymous memory every 5 ms."""
    store = build_store(folder / "wide", WIDE, N_WIDE, WIDE_SHARD)
    size = sum(s.n_bytes for s in (store.shard_set(f) for f in store.cache.producers)) / 1e9
    measures = []
    for shuffle in ("None", "block", "global"):
        found = [_scan(folder / "wide", shuffle) for _ in range(rounds)]
        imports, opened, _ = (statistics.median(values) for values in zip(*found, strict=True))
        note = f"{size:.2f} GB, {N_WIDE:,} samples; {imports:.0f} MB after import, {opened:.0f} MB at the first batch"
        values = tuple(peak for _, _, peak in found)
        measures.append(Measure(f"peak RssAnon of a scan, shuffle={shuffle}", "MB", values, at_most=300, note=note))
    return measures


def _scan(path: Path, shuffle: str) -> tuple[float, float, float]:
    command = [sys.executable, "-c", _SCAN, str(path), shuffle]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    before, opened, peak = map(float, done.stdout.split())
    return before, opened, peak


def main() -> None:
    """Run everything, write the record and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    folder = Path(tempfile.mkdtemp(prefix="bench-store-", dir=options.folder))
    try:
        measures = [*bench_reading(folder, options.rounds), *bench_opening(folder, options.rounds)]
        measures += bench_memory(folder, 3)
    finally:
        shutil.rmtree(folder)
    print_record(write_record("store", measures, setting=SETTING))


if __name__ == "__main__":
    main()
