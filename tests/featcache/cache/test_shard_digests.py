from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from featcache.cache.shard import read_shard
from featcache.cache.shard_digests import intact_keys, verify_shard
from featcache.errors import ShardError

from factories import write_small_shard


def test_any_flipped_bit_of_the_data_is_found(tmp_path: Path) -> None:
    path = write_small_shard(tmp_path / "x.h5")
    good, shard = path.read_bytes(), read_shard(path)
    for block in (shard.key, shard.outputs["cls"], shard.norms["layers:4"]):
        for position in (block.offset, block.offset + block.nbytes - 1):
            bad = bytearray(good)
            bad[position] ^= 1
            path.write_bytes(bytes(bad))
            with pytest.raises(ShardError, match="damaged"):
                verify_shard(read_shard(path))


def test_a_digest_of_the_wrong_type_is_found_by_verify(tmp_path: Path) -> None:
    path = write_small_shard(tmp_path / "x.h5")
    with h5py.File(path, "r+") as file:
        del file["features/cls"].attrs["sha256"]
        file["features/cls"].attrs["sha256"] = np.arange(1000)
    with pytest.raises(ShardError, match=r"'features/cls': attribute 'sha256' has dtype int64"):
        verify_shard(read_shard(path))


def test_the_keys_of_a_damaged_shard_are_known_if_they_are_intact(tmp_path: Path) -> None:
    path = write_small_shard(tmp_path / "x.h5")
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
    path = write_small_shard(tmp_path / "x.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["view"] = np.bytes_("jpeg5")
    with pytest.raises(ShardError, match="attributes were damaged"):
        verify_shard(read_shard(path))
