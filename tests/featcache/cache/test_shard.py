from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.cache.shard import ShardHeader, copy_rows, intact_keys, read_shard, storable, verify_shard, write_shard
from featcache.errors import ShardError

HEADER = ShardHeader("ab" * 32, "clean", "float16")


def rows(n: int, d: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 32), dtype=np.uint8), rng.standard_normal((n, d)).astype(np.float32)


def write(path: Path, n: int = 7) -> Path:
    keys, vectors = rows(n)
    assert write_shard(path, HEADER, keys, {"cls": vectors, "layers:4": vectors[:, :2]}, root=path.parent)
    return path


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 40), d=st.integers(1, 9), dtype=st.sampled_from(["float16", "float32"]))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, n: int, d: int, dtype: str) -> None:
    path = tmp_path_factory.mktemp("s") / "x.h5"
    keys, vectors = rows(n, d, seed=n * d)
    write_shard(path, ShardHeader("ab" * 32, "jpeg:50", dtype), keys, {"out": vectors}, root=path.parent)
    shard = read_shard(path)
    assert shard.n_rows == n and shard.header == ShardHeader("ab" * 32, "jpeg:50", dtype)
    np.testing.assert_array_equal(shard.map(shard.key), keys)
    np.testing.assert_array_equal(shard.map(shard.outputs["out"]), vectors.astype(dtype))
    np.testing.assert_allclose(shard.map(shard.norms["out"]), np.linalg.norm(vectors, axis=1), rtol=1e-6)
    verify_shard(shard)


WRITER = """
import sys
from pathlib import Path
import numpy as np
from featcache.cache.shard import ShardHeader, write_shard
if sys.argv[2] == "loaded":
    import PIL
header = ShardHeader("ab" * 32, "clean", "float16")
path, vectors = Path(sys.argv[1]), {"cls": np.zeros((1, 2), np.float32)}
write_shard(path, header, np.zeros((1, 32), np.uint8), vectors, root=path.parent)
assert ("PIL" in sys.modules) == (sys.argv[2] == "loaded")
"""


@pytest.mark.parametrize("pillow", ["loaded", "installed"])
def test_a_shard_says_which_pillow_it_was_made_with(tmp_path: Path, pillow: str) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", WRITER, str(tmp_path / "x.h5"), pillow], check=True)
    with h5py.File(tmp_path / "x.h5") as file:
        assert json.loads(file.attrs["versions"])["pillow"] == PIL.__version__


def test_a_published_shard_is_never_replaced(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5")
    before = path.read_bytes()
    keys, vectors = rows(7, seed=1)
    assert not write_shard(path, HEADER, keys, {"cls": vectors}, root=path.parent)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_values_that_the_disk_cannot_hold_are_refused(tmp_path: Path) -> None:
    keys, vectors = rows(3)
    vectors[1, 2] = 7e4
    assert storable(vectors, "float16").tolist() == [True, False, True]
    with pytest.raises(ShardError, match="float16 cannot hold"):
        write_shard(tmp_path / "x.h5", HEADER, keys, {"cls": vectors}, root=tmp_path)
    assert list(tmp_path.iterdir()) == []
    write_shard(tmp_path / "x.h5", ShardHeader("ab" * 32, "clean", "float32"), keys, {"cls": vectors}, root=tmp_path)
    vectors[0, 0] = np.nan
    assert not storable(vectors, "float32")[0]


def test_rows_are_contiguous_and_aligned_for_memory_maps(tmp_path: Path) -> None:
    shard = read_shard(write(tmp_path / "x.h5"))
    for block in (shard.key, *shard.outputs.values(), *shard.norms.values()):
        assert block.offset % 64 == 0


def test_any_flipped_bit_of_the_data_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5")
    good, shard = path.read_bytes(), read_shard(path)
    for block in (shard.key, shard.outputs["cls"], shard.norms["layers:4"]):
        for position in (block.offset, block.offset + block.nbytes - 1):
            bad = bytearray(good)
            bad[position] ^= 1
            path.write_bytes(bytes(bad))
            with pytest.raises(ShardError, match="damaged"):
                verify_shard(read_shard(path))


@pytest.mark.parametrize("size", [0, 1, 100, 2000])
def test_a_truncated_shard_is_refused(tmp_path: Path, size: int) -> None:
    path = write(tmp_path / "x.h5", n=100)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ShardError, match="cannot be read"):
        read_shard(path)


def test_a_shard_with_bytes_behind_its_end_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "u.h5")
    with path.open("ab") as file:
        file.write(b"garbage\n")
    with pytest.raises(ShardError, match=r"u.h5 has \d+ bytes, its HDF5 head says \d+"):
        read_shard(path)


def test_a_shard_that_shrinks_under_a_reader_is_an_error_not_a_crash(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5", n=100)
    shard = read_shard(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ShardError, match=r"has 3000 bytes, expected"):
        shard.map(shard.key)


def edit(path: Path, what: str) -> None:
    with h5py.File(path, "r+") as file:
        if what == "attribute type":
            file.attrs["rows"] = "seven"
        elif what == "attribute extra":
            file.attrs["more"] = 1
        elif what == "attribute array":
            file.attrs["rows"] = np.arange(3)
        elif what == "row count":
            file.attrs["rows"] = np.int64(8)
        elif what == "version":
            file.attrs["format_version"] = np.int64(99)
        elif what == "external link":
            del file["features/cls"]
            file["features/cls"] = h5py.ExternalLink("/etc/passwd", "/x")
        elif what == "soft link loop":
            del file["key"]
            file["key"] = h5py.SoftLink("/key")
        elif what == "chunked":
            del file["features/cls"]
            file.create_dataset("features/cls", data=np.zeros((7, 5), np.float16), chunks=(1, 5))
        elif what == "compressed":
            del file["features/cls"]
            file.create_dataset("features/cls", data=np.zeros((7, 5), np.float16), compression="gzip")
        elif what == "object dtype":
            del file["key"]
            file.create_dataset("key", data=["a"] * 7, dtype=h5py.string_dtype())
        elif what == "compound dtype":
            del file["key"]
            file.create_dataset("key", data=np.zeros(7, [("a", "i4")]))
        elif what == "huge claim":
            del file["features/cls"]
            file.create_dataset("features/cls", shape=(1 << 40, 5), dtype="float16")
        elif what == "external storage":
            del file["features/cls"]
            file.create_dataset("features/cls", shape=(7, 5), dtype="float16", external="/etc/passwd")
        elif what == "virtual":
            del file["features/cls"]
            layout = h5py.VirtualLayout((7, 5), "float16")
            layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(7, 5))
            file.create_virtual_dataset("features/cls", layout)
        elif what == "group for dataset":
            del file["key"]
            file.create_group("key")
        elif what == "stranger":
            file.create_dataset("extra", data=np.zeros(3))
        elif what == "wrong dtype":
            del file["features/cls"]
            file.create_dataset("features/cls", data=np.zeros((7, 5), np.float64))
        elif what == "norm missing":
            del file["norm/cls"]
        elif what == "digest type":
            del file["features/cls"].attrs["sha256"]
            file["features/cls"].attrs["sha256"] = np.arange(1000)
        elif what == "no outputs":
            del file["features"], file["norm"]


@pytest.mark.parametrize(
    "what",
    ["attribute type", "attribute extra", "attribute array", "row count", "version", "external link", "soft link loop",
     "chunked", "compressed", "object dtype", "compound dtype", "huge claim", "external storage", "virtual",
     "group for dataset", "stranger", "wrong dtype", "norm missing", "no outputs"],
)  # fmt: skip
def test_a_file_that_breaks_the_contract_is_refused_with_its_name(tmp_path: Path, what: str) -> None:
    path = write(tmp_path / "x.h5")
    edit(path, what)
    with pytest.raises(ShardError, match=r"x\.h5"):
        read_shard(path)


def test_a_digest_of_the_wrong_type_is_found_by_verify(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5")
    edit(path, "digest type")
    with pytest.raises(ShardError, match=r"'features/cls': attribute 'sha256' has dtype int64"):
        verify_shard(read_shard(path))


@settings(max_examples=15, deadline=None)
@given(rows=st.lists(st.integers(0, 6), min_size=1, max_size=7, unique=True))
def test_copied_rows_are_the_very_bytes_of_the_original(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("s")
    shard = read_shard(write(folder / "x.h5"))
    assert copy_rows(shard, np.array(rows), folder / "y.h5", root=folder)
    copy = read_shard(folder / "y.h5")
    verify_shard(copy)
    assert copy.header == shard.header
    for a, b in zip((shard.key, *shard.outputs.values(), *shard.norms.values()),
                    (copy.key, *copy.outputs.values(), *copy.norms.values()), strict=True):  # fmt: skip
        np.testing.assert_array_equal(shard.map(a)[rows], copy.map(b))
    assert not copy_rows(shard, np.array(rows), folder / "y.h5", root=folder)


def test_the_keys_of_a_damaged_shard_are_known_if_they_are_intact(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5")
    shard, good = read_shard(path), path.read_bytes()
    for block, is_known in ((shard.outputs["cls"], True), (shard.key, False)):
        bad = bytearray(good)
        bad[block.offset] ^= 1
        path.write_bytes(bytes(bad))
        keys = intact_keys(shard)
        assert (keys is not None) is is_known
        if keys is not None:
            np.testing.assert_array_equal(keys, shard.map(shard.key))


def test_damaged_attributes_are_found_by_verify(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["view"] = np.bytes_("jpeg5")
    with pytest.raises(ShardError, match="attributes were damaged"):
        verify_shard(read_shard(path))
