"""Disks that fail, and files that lie, for real: small file systems, limits of processes, flipped bits."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from featcache.cache.folder import Cache
from featcache.cache.samples import read_samples
from featcache.cache.shard import ShardHeader
from featcache.cache.shard_writing import write_shard
from featcache.errors import FeatcacheError, ShardError
from featcache.extraction.run import ExtractOptions, extract
from featcache.store.opening import open_store
from featcache.upkeep.repair import repair
from featcache.upkeep.verify import verify

from factories import FakeSpec, make_cache, read_manifest, write_dataset

TESTS = Path(__file__).resolve().parents[2]
SPECS = [FakeSpec("text", ("cls",)), FakeSpec("image", width=6000)]

PRELUDE = """
import os, resource, signal, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], str(Path(sys.argv[1]).parent)]
import numpy as np
from factories import FakeSpec, make_cache, read_manifest
from featcache.cache.folder import Cache
from featcache.errors import FeatcacheError, ShardError
from featcache.extraction.run import ExtractOptions, extract
from featcache.store.opening import open_store
from featcache.upkeep.verify import verify
data, folder = Path(sys.argv[2]), Path(sys.argv[3])
specs = [FakeSpec("text", ("cls",)), FakeSpec("image", width=6000)]
def run():
    options = ExtractOptions(device="cpu", batch_size=2, workers=1, unit_rows=4)
    return extract(read_manifest(data), make_cache(folder), specs, options=options)
def fails():
    try:
        run()
    except (FeatcacheError, OSError) as error:
        assert "\\n" not in str(error), error
        return str(error)
    raise SystemExit("it did not fail")
def strangers():
    return [p for p in folder.rglob("*") if p.name.startswith(".tmp-")]
"""


def child(code: str, *arguments: Path | str, prefix: tuple[str, ...] = (), timeout: float = 120) -> str:
    command = [*prefix, sys.executable, "-W", "error", "-c", PRELUDE + code, str(TESTS), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-3000:]}"
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def private_mounts() -> tuple[str, ...]:
    """Return what runs a command with mounts of its own, or skip."""
    prefix = ("unshare", "--mount")
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare(1) to mount a file system")
    done = subprocess.run([*prefix, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    return prefix


def build(tmp_path: Path) -> tuple[Path, Path]:
    data = write_dataset(tmp_path / "d", n_captions=4)
    options = ExtractOptions(device="cpu", batch_size=2, workers=1, unit_rows=4)
    extract(read_manifest(data), make_cache(tmp_path / "whole"), SPECS, options=options)
    return data, tmp_path / "whole"


RESUME = """
assert not strangers(), strangers()
published = {p: p.read_bytes() for p in folder.rglob("*.h5")}
if published:
    assert verify(Cache.open(folder), deep=True).is_sound
"""

SAME = """
run()
assert {p: p.read_bytes() for p in published} == published
assert verify(Cache.open(folder), deep=True).is_sound
mine, whole = open_store(folder).arrays(), open_store(sys.argv[4]).arrays()
for modality, expected in whole.features.items():
    np.testing.assert_array_equal(mine.features[modality], expected)
"""


@pytest.mark.parametrize("limit", [100, *(pytest.param(limit, marks=pytest.mark.slow) for limit in (3_000, 30_000))])
def test_a_file_that_may_not_grow_fails_in_one_line_and_resumes(tmp_path: Path, limit: int) -> None:
    data, whole = build(tmp_path)
    code = f"""
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
message = fails()
assert "too large" in message, message
{RESUME}
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
{SAME}
"""
    child(code, data, tmp_path / "c", whole)


def test_a_full_disk_fails_in_one_line_and_resumes_when_there_is_room(tmp_path: Path) -> None:
    prefix = private_mounts()
    data, whole = build(tmp_path)
    (tmp_path / "disk").mkdir()
    code = f"""
import subprocess
disk = str(folder.parent)
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", disk], check=True)
message = fails()
assert "No space left" in message, message
{RESUME}
subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
{SAME}
"""
    child(code, data, tmp_path / "disk" / "c", whole, prefix=prefix)


READ_ONLY = """
before = sorted(folder.rglob("*"))
for check in (False, True):
    assert open_store(folder, check=check).arrays().present["image"].all()
assert verify(Cache.open(folder), deep=True).is_sound
specs[:] = [FakeSpec("image", weights="w1", width=6000)]
message = fails()
assert "Read-only" in message or "denied" in message, message
assert sorted(folder.rglob("*")) == before
"""


def test_a_read_only_cache_is_read_and_not_written(tmp_path: Path) -> None:
    data, cache = build(tmp_path)
    if os.geteuid():
        folders = [p for p in (cache, *cache.rglob("*")) if p.is_dir()]
        for folder in folders:
            folder.chmod(0o555)
        try:
            child(READ_ONLY, data, cache)
        finally:
            for folder in folders:
                folder.chmod(0o755)
        return
    mount = """
import subprocess
subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
"""
    child(mount + READ_ONLY, data, cache, prefix=private_mounts())


FLIPS = """
import random
rng = random.Random(int(sys.argv[5]))
def state(check=False):
    cache, store = Cache.open(folder), open_store(folder, check=check)
    arrays = store.arrays()
    from featcache.cache.failures import read_failures
    parts = [repr(cache.defaults)]
    for producer in cache.producers.values():
        parts += [repr(producer), repr(read_failures(cache, producer, "clean"))]
    for value in vars(arrays).values():
        for array in value.values() if isinstance(value, dict) else [value]:
            parts.append(array.tobytes() if isinstance(array, np.ndarray) else repr(array))
    for name in ("group", "source", "sample_id", "width", "height", "image_status", "text_status"):
        column = getattr(store.samples, name)
        parts.append(column.tobytes() if isinstance(column, np.ndarray) else column.to_array().tobytes())
    return parts
for path in folder.glob("features/**/*.h5"):
    os.utime(path, (1e9, 1e9))
reference = state(check=True)
assert len(list(folder.glob("memo/checked/*/clean.json"))) == 2
files = sorted(p for p in folder.rglob("*") if p.is_file())
kinds = {p.relative_to(folder).parts[0] for p in files}
assert {"cache.json", "index.json", "encoders", "features", "samples", "failures"} <= kinds, kinds
share = -(-int(sys.argv[4]) // len(files))
counts = {"found": 0, "harmless": 0}
for path in files:
    good = path.read_bytes()
    for _ in range(share):
        bit = rng.randrange(8 * len(good))
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        print(path, bit, file=sys.stderr, flush=True)
        try:
            found = not verify(Cache.open(folder), deep=True).is_sound
        except FeatcacheError:
            found = True
        for check in (False, True):
            try:
                now = state(check)
            except FeatcacheError:
                now = None
            assert (found and not check) or now in (None, reference), (path, bit, check)
            assert found or now == reference, (path, bit, check)
        counts["found" if found else "harmless"] += 1
    path.write_bytes(good)
assert verify(Cache.open(folder), deep=True).is_sound
print(counts["found"], counts["harmless"])
"""


@pytest.mark.parametrize(
    ("n_flips", "indexed"),
    [
        pytest.param(300, True, marks=pytest.mark.slow),
        (40, True),
        pytest.param(30, False, marks=pytest.mark.slow),
        *(pytest.param(3_000, indexed, marks=pytest.mark.soak) for indexed in (True, False)),
    ],
)
def test_every_flipped_bit_is_found_or_harmless(tmp_path: Path, n_flips: int, indexed: bool) -> None:
    data = write_dataset(tmp_path / "d")
    (tmp_path / "d" / "0-real.png").write_bytes(b"no picture")
    cache = make_cache(tmp_path / "c")
    specs = [FakeSpec("text", ("cls",)), FakeSpec("image", ("pooled", "cls"))]
    extract(read_manifest(data), cache, specs, options=ExtractOptions(device="cpu", unit_rows=6))
    code = FLIPS
    if not indexed:
        (cache.path / "index.json").unlink()
        code = FLIPS.replace('"index.json", ', "")
    found, harmless = map(int, child(code, data, cache.path, str(n_flips), "0", timeout=900).split())
    assert found + harmless >= n_flips
    assert harmless == 0 or not indexed or found > harmless


def test_an_index_that_is_lost_stale_or_garbage_changes_nothing_that_is_read(tmp_path: Path) -> None:
    _, cache = build(tmp_path)
    reference, index = open_store(cache).arrays().features["image"], cache / "index.json"
    good = index.read_bytes()
    shards = sorted(cache.glob("features/**/*.h5"))
    for garbage in (
        None,
        b"",
        b"[]",
        b'{"format_version": 1, "shards": 3}',
        good.replace(b'"size": ', b'"size": 9', 1),
    ):
        index.unlink() if garbage is None else index.write_bytes(garbage)
        np.testing.assert_array_equal(open_store(cache).arrays().features["image"], reference)
    index.write_bytes(good)
    lost = shards[0].read_bytes()
    shards[0].unlink()
    assert [p.path for p in verify(Cache.open(cache)).problems] == [shards[0]]
    shards[0].write_bytes(lost)
    assert verify(Cache.open(cache), deep=True).is_sound
    assert repair(cache).moved == () and index.read_bytes() == good


def test_a_shard_swapped_for_one_of_the_same_producer_stays_readable(tmp_path: Path) -> None:
    _, cache = build(tmp_path)
    one, two = sorted((cache / "features" / SPECS[1].fingerprint.short / "clean").iterdir())[:2]
    a, b = one.read_bytes(), two.read_bytes()
    reference = open_store(cache).arrays().features["image"]
    one.write_bytes(b)
    two.write_bytes(a)
    (cache / "index.json").unlink()
    np.testing.assert_array_equal(open_store(cache).arrays().features["image"], reference)


def edit_table(path: Path, what: str) -> None:
    with h5py.File(path, "r+") as file:
        if what.startswith("attribute"):
            del file.attrs["checksum"]
            values = {"attribute type": 7, "attribute array": np.zeros(64, "S1"), "attribute text": "é" * 64}
            if what in values:
                file.attrs["checksum"] = values[what]
        elif what == "stranger":
            file["more"] = np.zeros(3)
        elif what == "column missing":
            del file["width"]
        else:
            del file["width"]
            n = 12
            if what == "external link":
                file["width"] = h5py.ExternalLink("/etc/passwd", "/x")
            elif what == "soft link loop":
                file["width"] = h5py.SoftLink("/width")
            elif what == "external storage":
                file.create_dataset("width", shape=(n,), dtype="u4", external="/etc/passwd")
            elif what == "virtual":
                layout = h5py.VirtualLayout((n,), "u4")
                layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(n,))
                file.create_virtual_dataset("width", layout)
            elif what == "object dtype":
                file.create_dataset("width", data=["a"] * n, dtype=h5py.string_dtype())
            elif what == "compound dtype":
                file.create_dataset("width", data=np.zeros(n, [("a", "i4")]))
            elif what == "big-endian":
                file.create_dataset("width", data=np.zeros(n, ">u4"))
            elif what == "huge claim":
                file.create_dataset("width", shape=(1 << 40,), dtype="u4")
            elif what == "compressed":
                file.create_dataset("width", data=np.zeros(n, "u4"), compression="gzip")
            elif what == "group":
                file.create_group("width")
            elif what == "scalar":
                file["width"] = np.uint32(3)


@pytest.mark.parametrize(
    "what",
    ["attribute missing", "attribute type", "attribute array", "attribute text", "stranger", "column missing",
     "external link", "soft link loop", "external storage", "virtual", "object dtype", "compound dtype", "big-endian",
     "huge claim", "compressed", "group", "scalar"],
)  # fmt: skip
def test_a_sample_table_that_breaks_the_contract_is_refused_with_its_name(tmp_path: Path, what: str) -> None:
    _, cache = build(tmp_path)
    table = cache / "samples" / "d.h5"
    edit_table(table, what)
    with pytest.raises(ShardError, match=r"d\.h5"):
        read_samples(table)


HOSTILE = """
import time
from featcache.cache.samples import read_samples
from featcache.cache.shard import read_shard
pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (pages + (256 << 20), resource.RLIM_INFINITY))
for path in sorted(folder.iterdir()):
    started = time.perf_counter()
    try:
        table = (read_samples if path.name.startswith("table") else read_shard)(path)
        table.sample_id.to_array()
    except ShardError as error:
        assert "\\n" not in str(error)
        print(path.name, round(time.perf_counter() - started, 1))
    else:
        raise SystemExit(f"{path} was accepted")
"""


@pytest.mark.slow
def test_hostile_files_are_refused_without_allocating_what_they_claim(tmp_path: Path) -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc to know how much memory a process has")
    data, cache = build(tmp_path)
    folder = tmp_path / "hostile"
    folder.mkdir()
    shard, table = sorted(cache.glob("features/**/*.h5"))[0], cache / "samples" / "d.h5"
    sources = dict.fromkeys(("claim", "links", "attrs", "outputs"), shard)
    sources |= dict.fromkeys(("table-claim", "table-links", "table-text"), table)
    for name, source in sources.items():
        shutil.copy(source, folder / f"{name}.h5")
    with h5py.File(folder / "claim.h5", "r+") as file:
        del file["key"]
        file.create_dataset("key", shape=(1 << 50, 32), dtype="u1")
    for name, group in (("links", "/"), ("outputs", "/norm"), ("table-links", "/")):
        with h5py.File(folder / f"{name}.h5", "r+", libver="latest") as file:
            owner = h5py.h5g.open(file.id, group.encode())
            for i in range(100_000):
                owner.links.create_soft(b"l%d" % i, b"/key")
    with h5py.File(folder / "attrs.h5", "r+", libver="latest") as file:
        for i in range(5_000):
            file.attrs[f"a{i}"] = i
    with h5py.File(folder / "table-claim.h5", "r+") as file:
        del file["source.utf8"]
        file.create_dataset("source.utf8", shape=(1 << 50,), dtype="u1")
    lengthen(folder / "table-text.h5")
    lines = child(HOSTILE, data, folder).splitlines()
    assert len(lines) == 7 and all(float(line.split()[1]) < 10 for line in lines), lines


def lengthen(path: Path) -> None:
    """Make a valid table of many short names and a long one: as an array it would take terabytes."""
    from dataclasses import replace

    from featcache.cache.samples import write_samples
    from featcache.files.string_column import StringColumn

    table = read_samples(path)
    n = 20_000
    rows = np.zeros(n, np.int64)
    names = ("split", "label_a", "label_b", "image_key", "text_key", "image_status", "text_status", "width", "height")
    columns = {name: getattr(table, name)[rows] for name in names}
    short = StringColumn.from_strings([""] * n)
    long = StringColumn.from_strings(["x" * 8_000_000, *[""] * (n - 1)])
    write_samples(path, replace(table, sample_id=long, group=short, source=short, **columns), root=path.parent)


def test_a_writer_that_cannot_write_says_where(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a file")
    keys, vectors = np.zeros((1, 32), np.uint8), np.zeros((1, 2), np.float32)
    with pytest.raises((FeatcacheError, OSError), match="x"):
        write_shard(
            tmp_path / "x" / "s.h5", ShardHeader("ab" * 32, "clean", "float16"), keys, {"cls": vectors}, root=tmp_path
        )
