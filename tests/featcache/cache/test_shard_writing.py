"""Laws of writing shards: what is written is read, and a name that is taken stays as it is."""

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

from featcache.cache.shard import ShardHeader, read_shard
from featcache.cache.shard_digests import verify_shard
from featcache.cache.shard_writing import copy_rows, storable, write_shard
from featcache.errors import ShardError

from factories import SMALL_HEADER, small_rows, write_small_shard


@settings(max_examples=25)
@given(n=st.integers(1, 40), d=st.integers(1, 9), dtype=st.sampled_from(["float16", "float32"]))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, n: int, d: int, dtype: str) -> None:
    path = tmp_path_factory.mktemp("s") / "x.h5"
    keys, vectors = small_rows(n, d, seed=n * d)
    write_shard(path, ShardHeader("ab" * 32, "jpeg:50", dtype), keys, {"out": vectors}, root=path.parent)
    shard = read_shard(path)
    assert shard.n_rows == n and shard.header == ShardHeader("ab" * 32, "jpeg:50", dtype)
    np.testing.assert_array_equal(shard.map(shard.key), keys)
    np.testing.assert_array_equal(shard.map(shard.outputs["out"]), vectors.astype(dtype))
    np.testing.assert_allclose(shard.map(shard.norms["out"]), np.linalg.norm(vectors, axis=1), rtol=1e-6)
    verify_shard(shard)


def test_a_published_shard_is_never_replaced(tmp_path: Path) -> None:
    path = write_small_shard(tmp_path / "x.h5")
    before = path.read_bytes()
    keys, vectors = small_rows(7, seed=1)
    assert not write_shard(path, SMALL_HEADER, keys, {"cls": vectors}, root=path.parent)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_values_that_the_disk_cannot_hold_are_refused(tmp_path: Path) -> None:
    keys, vectors = small_rows(3)
    vectors[1, 2] = 7e4
    assert storable(vectors, "float16").tolist() == [True, False, True]
    with pytest.raises(ShardError, match="float16 cannot hold"):
        write_shard(tmp_path / "x.h5", SMALL_HEADER, keys, {"cls": vectors}, root=tmp_path)
    assert list(tmp_path.iterdir()) == []
    write_shard(tmp_path / "x.h5", ShardHeader("ab" * 32, "clean", "float32"), keys, {"cls": vectors}, root=tmp_path)
    vectors[0, 0] = np.nan
    assert not storable(vectors, "float32")[0]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_largest_number_of_a_dtype_is_storable_and_infinity_is_not(dtype: str) -> None:
    largest = np.finfo(dtype).max.astype(np.float32)
    vectors = np.array([[largest, 0], [-largest, 0], [0, np.inf], [-np.inf, 0], [0, np.nan]], np.float32)
    assert storable(vectors, dtype).tolist() == [True, True, False, False, False]
    assert not storable(np.array([[1e5]], np.float32), "float16").any()


def test_rows_are_contiguous_and_aligned_for_memory_maps(tmp_path: Path) -> None:
    shard = read_shard(write_small_shard(tmp_path / "x.h5"))
    for block in (shard.key, *shard.outputs.values(), *shard.norms.values()):
        assert block.offset % 64 == 0


@pytest.mark.slow
@settings(max_examples=15)
@given(rows=st.lists(st.integers(0, 6), min_size=1, max_size=7, unique=True))
def test_copied_rows_are_the_very_bytes_of_the_original(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("s")
    shard = read_shard(write_small_shard(folder / "x.h5"))
    assert copy_rows(shard, np.array(rows), folder / "y.h5", root=folder)
    copy = read_shard(folder / "y.h5")
    verify_shard(copy)
    assert copy.header == shard.header
    for a, b in zip((shard.key, *shard.outputs.values(), *shard.norms.values()),
                    (copy.key, *copy.outputs.values(), *copy.norms.values()), strict=True):  # fmt: skip
        np.testing.assert_array_equal(shard.map(a)[rows], copy.map(b))
    assert not copy_rows(shard, np.array(rows), folder / "y.h5", root=folder)


WRITER = """
import sys
from pathlib import Path
import numpy as np
from featcache.cache.shard import ShardHeader
from featcache.cache.shard_writing import write_shard
if sys.argv[2] == "loaded":
    import PIL
header = ShardHeader("ab" * 32, "clean", "float16")
path, vectors = Path(sys.argv[1]), {"cls": np.zeros((1, 2), np.float32)}
write_shard(path, header, np.zeros((1, 32), np.uint8), vectors, root=path.parent)
assert ("PIL" in sys.modules) == (sys.argv[2] == "loaded")
"""


@pytest.mark.slow
@pytest.mark.parametrize("pillow", ["loaded", "installed"])
def test_a_shard_says_which_pillow_it_was_made_with(tmp_path: Path, pillow: str) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", WRITER, str(tmp_path / "x.h5"), pillow], check=True)
    with h5py.File(tmp_path / "x.h5") as file:
        assert json.loads(file.attrs["versions"])["pillow"] == PIL.__version__
