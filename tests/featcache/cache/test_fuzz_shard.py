"""Shards and sample tables with random damage: refused or read, never a crash, a hang or another exception."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from featcache.extraction.run import ExtractOptions, extract

from factories import FakeSpec, make_cache, read_manifest, write_dataset

ROOT = Path(__file__).resolve().parents[3]

# With atheris a mutation of the bytes is chosen by coverage, without it by a seeded generator.
LOOP = """
import contextlib, random, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
corpus, scratch, seconds, seed = Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
guided = "atheris" in sys.argv[6:]
if guided:
    import atheris
with atheris.instrument_imports(include=["featcache"]) if guided else contextlib.nullcontext():
    from featcache.errors import FeatcacheError
    from featcache.cache.samples import read_samples
    from featcache.cache.shard import read_shard
    from featcache.cache.shard_digests import intact_keys, verify_shard
files = sorted(corpus.iterdir())
good = [path.read_bytes() for path in files]
started, n, n_refused = time.monotonic(), 0, 0

def look(data, is_table):
    global n, n_refused
    scratch.write_bytes(data)
    n += 1
    try:
        if is_table:
            read_samples(scratch).sample_id.to_array()
        else:
            shard = read_shard(scratch)
            intact_keys(shard)
            verify_shard(shard)
    except FeatcacheError:
        n_refused += 1

def mutate(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        kind, at = rng.randrange(6), rng.randrange(len(data) or 1)
        if kind == 0 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and data:
            data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 2:
            data[at : at + 8] = rng.choice((b"\\xff" * 8, bytes(8), rng.randbytes(8)))
        elif kind == 3:
            del data[at : at + rng.randrange(64)]
        elif kind == 4:
            data[at:at] = rng.randbytes(rng.randrange(1, 64))
        else:
            other = rng.randrange(len(data) or 1)
            data[at : at + 32] = data[other : other + 32]
    return bytes(data)

if guided:
    def one(data):
        look(data[1:], bool(data) and data[0] % 2 == 1)
    seeds = scratch.with_name("seeds")
    seeds.mkdir()
    for i, (path, data) in enumerate(zip(files, good)):
        (seeds / str(i)).write_bytes(bytes([path.name.startswith("table")]) + data)
    options = [f"-max_total_time={int(seconds)}", f"-seed={seed + 1}", "-max_len=65536", "-len_control=0"]
    atheris.Setup([sys.argv[0], *options, str(seeds)], one)
    atheris.Fuzz()
else:
    rng = random.Random(seed)
    while time.monotonic() - started < seconds:
        which = rng.randrange(len(files))
        look(mutate(rng, good[which]), files[which].name.startswith("table"))
    print(n, n_refused)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [8, pytest.param(120, marks=pytest.mark.soak)])
def test_no_mutation_of_a_file_crashes_its_reader(tmp_path: Path, seconds: int) -> None:
    specs = [FakeSpec("text", ("cls",)), FakeSpec("image", ("pooled", "cls"))]
    data = write_dataset(tmp_path / "d", n_captions=2)
    cache = make_cache(tmp_path / "c")
    extract(read_manifest(data), cache, specs, options=ExtractOptions(device="cpu", unit_rows=4))
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, path in enumerate(sorted(cache.path.glob("features/**/*.h5"))):
        (corpus / f"shard-{number}.h5").write_bytes(path.read_bytes())
    (corpus / "table.h5").write_bytes(cache.sample_path("d").read_bytes())
    seed = int(np.random.default_rng(0).integers(1 << 30))
    arguments = [str(ROOT), str(corpus), str(tmp_path / "scratch.h5"), str(seconds), str(seed)]
    coverage = ["atheris"] if importlib.util.find_spec("atheris") else []
    command = [sys.executable, "-W", "error", "-c", LOOP, *arguments, *coverage]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + 2 * seconds)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-3000:]}"
    if not coverage:
        n, n_refused = map(int, done.stdout.split())
        assert n > 100 and 0 < n_refused <= n
