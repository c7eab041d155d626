"""Planning again over unchanged picture files, against reading and hashing them.

``python -m benchmarks.bench_plan [--files N] [--kilobytes K] [--rounds N] [--folder DIR]`` needs N × K kB under DIR.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import struct
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.record import Measure, print_record, ratios, time_rounds, write_record
from featcache.dataset.manifest import Manifest
from featcache.dataset.sample import ImageFile, Sample
from featcache.dataset.sample_list import SampleList
from featcache.extraction.survey.scan import scan

GOAL = 0.15
PAST = 3600
HEADER = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x02\x00\x00\x00\x02\x00\x08\x02\x00\x00\x00\x7b\x1a\x43\xad"
    + struct.pack(">I", 1 << 30)
    + b"IDAT"
)


def make_files(folder: Path, n: int, size: int) -> Manifest:
    """Write files that begin as PNGs do, differ in nearly every byte, and look an hour old."""
    pool = np.random.default_rng(0).bytes(size + n)
    past = time.time() - PAST
    samples = []
    for i in range(n):
        path = folder / f"{i // 1000:03}" / f"{i:06}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(HEADER + pool[i : i + size - len(HEADER)])
        os.utime(path, (past, past))
        samples.append(Sample(f"s{i}", ImageFile(str(path)), f"caption {i // 6}", 1, None, "train", None, f"row {i}"))
    return Manifest("bench", str(folder), SampleList.of(samples), (), ())


def hash_bare(paths: list[str], workers: int) -> None:
    """Read and hash every file, and nothing else."""

    def run(some: list[str]) -> None:
        for path in some:
            with open(path, "rb") as file:  # noqa: PTH123 - the fastest there is
                hashlib.sha256(file.read()).digest()

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(run, [paths[i : i + 256] for i in range(0, len(paths), 256)]))


def measure(manifest: Manifest, memo: Path, rounds: int, workers: int) -> list[Measure]:
    """Time a scan with a memo, one without, and the bare loop, in turn."""
    paths = [sample.image.name for sample in manifest.samples if sample.image]
    scan(manifest, memo=memo, workers=workers)
    if n_read := scan(manifest, memo=memo, workers=workers).n_read:
        raise SystemExit(f"{n_read} files were read again: nothing to measure")
    seconds = time_rounds(
        {
            "again": lambda: scan(manifest, memo=memo, workers=workers),
            "first": lambda: scan(manifest, workers=workers),
            "bare": lambda: hash_bare(paths, workers),
        },
        rounds=rounds,
    )
    notes = {name: f"{np.median(values) / len(paths) * 1e6:.0f} µs a file" for name, values in seconds.items()}
    lines = [
        Measure("plan again / hash all (bare loop)", "ratio", ratios(seconds["again"], seconds["bare"]), at_most=GOAL),
        Measure("plan again / plan the first time", "ratio", ratios(seconds["again"], seconds["first"]), at_most=GOAL),
    ]
    return lines + [Measure(name, "s", tuple(values), note=notes[name]) for name, values in seconds.items()]


def main() -> None:
    """Measure, write the record, and print its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--kilobytes", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the files go; default: the folder for temporary files")
    given = parser.parse_args()
    setting = (
        f"`scan` of {given.files:,} picture files of {given.kilobytes} kB, unchanged since the memo was written, "
        f"against reading and hashing them: in a bare loop of `open`, `read`, `sha256`, and in a scan without memo. "
        f"{given.workers} threads each; files warm in the page cache; ratios within one round."
    )
    folder = Path(tempfile.mkdtemp(prefix="bench-plan-", dir=given.folder))
    try:
        manifest = make_files(folder, given.files, given.kilobytes * 1000)
        measures = measure(manifest, folder / "memo.h5", given.rounds, given.workers)
    finally:
        shutil.rmtree(folder)
    print_record(write_record("plan", measures, setting=setting))


if __name__ == "__main__":
    main()
