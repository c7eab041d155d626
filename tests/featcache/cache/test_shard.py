from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from featcache.cache.shard import read_shard
from featcache.errors import ShardError

from factories import write_small_shard


@pytest.mark.parametrize("size", [0, 1, 100, 2000])
def test_a_truncated_shard_is_refused(tmp_path: Path, size: int) -> None:
    path = write_small_shard(tmp_path / "x.h5", n=100)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ShardError, match="cannot be read"):
        read_shard(path)


def test_a_shard_with_bytes_behind_its_end_is_refused(tmp_path: Path) -> None:
    path = write_small_shard(tmp_path / "u.h5")
    with path.open("ab") as file:
        file.write(b"garbage\n")
    with pytest.raises(ShardError, match=r"u.h5 has \d+ bytes, its HDF5 head says \d+"):
        read_shard(path)


def test_a_shard_that_shrinks_under_a_reader_is_an_error_not_a_crash(tmp_path: Path) -> None:
    path = write_small_shard(tmp_path / "x.h5", n=100)
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
        elif what == "no outputs":
            del file["features"], file["norm"]


@pytest.mark.parametrize(
    "what",
    ["attribute type", "attribute extra", "attribute array", "row count", "version", "external link", "soft link loop",
     "chunked", "compressed", "object dtype", "compound dtype", "huge claim", "external storage", "virtual",
     "group for dataset", "stranger", "wrong dtype", "norm missing", "no outputs"],
)  # fmt: skip
def test_a_file_that_breaks_the_contract_is_refused_with_its_name(tmp_path: Path, what: str) -> None:
    path = write_small_shard(tmp_path / "x.h5")
    edit(path, what)
    with pytest.raises(ShardError, match=r"x\.h5"):
        read_shard(path)
