"""How fast ``featcache verify --deep`` reads a cache, against bare SHA-256 over the same bytes.

``python -m benchmarks.bench_verify [--rounds N] [--folder DIR]`` needs about 2 GB of disk under DIR.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import tempfile
from pathlib import Path

from benchmarks.bench_store import build_store
from benchmarks.record import Measure, print_record, ratios, time_rounds, write_record
from featcache.cache.folder import Cache
from featcache.upkeep.verify import verify

N_ROWS, SHARD_ROWS, WIDTHS = 600_000, 8192, {"image": {"pooled": 1536}}

SETTING = (
    "A cache of random float16 vectors in a warm page cache. Bare: one thread, `hashlib.file_digest(file, 'sha256')` "
    "of every shard (which reads, as verify must), or `hashlib.sha256(data)` of the same files already in memory. "
    "Ours: `verify(cache, deep=True)`, which also checks structure, tables and that no key occurs twice, on its own "
    "threads. A ratio is bare time / our time within a round."
)


def bench_verify(folder: Path, rounds: int) -> list[Measure]:
    """Compare the two on one cache."""
    build_store(folder / "cache", WIDTHS, N_ROWS, SHARD_ROWS)
    cache = Cache.open(folder / "cache")
    paths = sorted((folder / "cache").rglob("*.h5"))
    size = sum(path.stat().st_size for path in paths) / 1e9

    def from_files() -> None:
        for path in paths:
            with path.open("rb") as file:
                hashlib.file_digest(file, "sha256").hexdigest()

    data = [path.read_bytes() for path in paths]

    def from_memory() -> None:
        for content in data:
            hashlib.sha256(content).hexdigest()

    def deep() -> None:
        assert verify(cache, deep=True).is_sound

    seconds = time_rounds({"deep": deep, "files": from_files, "memory": from_memory}, rounds=rounds)
    note = f"{size:.2f} GB in {len(paths)} files"
    return [
        Measure(f"verify --deep / {name}", "ratio", ratios(seconds[key], seconds["deep"]), at_least=goal, note=note)
        for name, key, goal in (
            ("hashlib.file_digest of the files", "files", 0.8),
            ("hashlib.sha256 of bytes in memory", "memory", 0.8),
        )
    ]


def main() -> None:
    """Run, write the record and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-verify-", dir=options.folder))
    try:
        measures = bench_verify(folder, options.rounds)
    finally:
        shutil.rmtree(folder)
    print_record(write_record("verify", measures, setting=SETTING))


if __name__ == "__main__":
    main()
