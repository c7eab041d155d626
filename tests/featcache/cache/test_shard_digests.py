"""Laws of the digests: whatever changed after writing is found, and what is whole is known."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from featcache.cache import shard_digests
from featcache.cache.shard import read_shard
from featcache.cache.shard_digests import intact_keys, verify_shard
from featcache.errors import ShardError

from factories import write_small_shard


def test_a_shard_is_sound_as_it_was_written(tmp_path: Path) -> None:
    shard = read_shard(write_small_shard(tmp_path / "x.h5"))
    verify_shard(shard)
    keys = intact_keys(shard)
    assert keys is not None and keys.shape == (7, 32)


def test_any_flipped_bit_of_the_data_is_found(tmp_path: Path) -> None:
    path = write_small_shard(tmp_path / "x.h5")
    good, shard = path.read_bytes(), read_shard(path)
    for name in ("key", "features/cls", "norm/layers:4"):
        block = shard.blocks[name]
        for position in (block.offset, block.offset + block.nbytes - 1):
            bad = bytearray(good)
            bad[position] ^= 1
            path.write_bytes(bytes(bad))
            with pytest.raises(ShardError, match=rf"x.h5: dataset '{name}' \(7 rows\) was damaged"):
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


def test_attributes_that_are_no_text_are_found_by_verify(tmp_path: Path) -> None:
    shard = read_shard(write_small_shard(tmp_path / "x.h5"))
    with h5py.File(shard.path, "r+") as file:
        file.attrs["view"] = np.bytes_(b"\xff\xfe")
    with pytest.raises(ShardError, match="attributes were damaged"):
        verify_shard(shard)


@pytest.mark.parametrize("error", [OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError])
def test_whatever_hdf5_says_of_a_damaged_file_is_said_of_the_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    shard = read_shard(write_small_shard(tmp_path / "x.h5"))

    def fail(*_: object) -> None:
        raise error("strange")

    monkeypatch.setattr(shard_digests, "read_attributes", fail)
    with pytest.raises(ShardError, match=r"x.h5 cannot be read: '?strange"):
        verify_shard(shard)


def test_the_keys_of_a_shard_that_is_gone_or_cannot_be_mapped_are_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = read_shard(write_small_shard(tmp_path / "x.h5"))

    def refuse(*_: object, **__: object) -> None:
        raise OSError("Cannot allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(np, "memmap", refuse)
        assert intact_keys(shard) is None
    assert intact_keys(shard) is not None
    shard.path.unlink()
    assert intact_keys(shard) is None
