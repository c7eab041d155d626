"""Laws of reading shards: what breaks the contract is refused by name, and what is whole is found where it lies."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from featcache.cache import shard as shard_module
from featcache.cache.shard import Shard, ShardHeader, check_layout, open_shard, read_shard, unreadable
from featcache.cache.shard_writing import write_shard
from featcache.errors import ShardError
from featcache.files.hdf5 import Block

from factories import SMALL_HEADER, small_rows, write_small_shard


def test_a_shard_tells_what_it_holds_and_where(tmp_path: Path) -> None:
    path = write_small_shard(tmp_path / "x.h5")
    shard = read_shard(path)
    assert (shard.path, shard.size, shard.header, shard.n_rows) == (path, path.stat().st_size, SMALL_HEADER, 7)
    assert {name: block.shape for name, block in shard.blocks.items()} == {
        "key": (7, 32),
        "features/cls": (7, 5),
        "features/layers:4": (7, 2),
        "norm/cls": (7,),
        "norm/layers:4": (7,),
    }
    keys, vectors = small_rows(7)
    np.testing.assert_array_equal(shard.map(shard.key), keys)
    np.testing.assert_array_equal(shard.map(shard.outputs["layers:4"]), vectors[:, :2].astype(np.float16))
    with h5py.File(path) as file:
        assert file.attrs["format_version"] == 1 and file.attrs["checksum"].decode() == shard.checksum


def test_neither_a_shard_nor_its_header_can_be_changed(tmp_path: Path) -> None:
    shard = read_shard(write_small_shard(tmp_path / "x.h5"))
    for found, name in ((shard, "size"), (shard.header, "view")):
        with pytest.raises(FrozenInstanceError):
            setattr(found, name, None)


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


def test_a_shard_that_grew_is_refused(tmp_path: Path) -> None:
    shard = read_shard(write_small_shard(tmp_path / "x.h5"))
    with shard.path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(ShardError, match=rf"x.h5 has {shard.size + 1} bytes, expected {shard.size}"):
        shard.map(shard.key)


@pytest.mark.parametrize(("beyond", "is_read"), [(0, True), (1, False)])
def test_a_block_ends_within_its_file(tmp_path: Path, beyond: int, is_read: bool) -> None:
    shard = read_shard(write_small_shard(tmp_path / "x.h5"))
    block = replace(shard.key, offset=shard.size - shard.key.nbytes + beyond)
    if is_read:
        assert shard.map(block).tobytes() == shard.path.read_bytes()[-block.nbytes :]
    else:
        with pytest.raises(ShardError, match=f"has {shard.size} bytes"):
            shard.map(block)


def test_a_shard_that_is_known_again_by_its_checksum_is_opened_without_hdf5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = read_shard(write_small_shard(tmp_path / "x.h5"))
    asked: list[Path] = []
    monkeypatch.setattr(shard_module, "read_shard", lambda path: asked.append(path) or read_shard(path))
    assert shard.map(shard.key).shape == (7, 32) and not asked
    assert replace(shard, checksum="").map(shard.key).shape == (7, 32) and asked == [shard.path]


@pytest.mark.parametrize("is_known", [True, False])
def test_another_shard_in_the_place_of_one_is_refused_and_told_apart(tmp_path: Path, is_known: bool) -> None:
    shard = read_shard(write_small_shard(tmp_path / "x.h5"))
    keys, vectors = small_rows(7)
    header = ShardHeader("cd" * 32, "flipp", "float16")
    write_shard(tmp_path / "y.h5", header, keys, {"cls": vectors, "layers:4": vectors[:, :2]}, root=tmp_path)
    (tmp_path / "y.h5").replace(shard.path)
    assert shard.path.stat().st_size == shard.size
    with pytest.raises(
        ShardError,
        match=r"x.h5 holds rows of 'cdcdcdcdcdcd', view 'flipp', outputs \['cls', 'layers:4'\]: "
        r"expected rows of 'abababababab', view 'clean', outputs \['cls', 'layers:4'\]; it was moved or swapped",
    ):
        (shard if is_known else replace(shard, checksum="")).map(shard.key)


def test_a_shard_of_another_layout_is_refused(tmp_path: Path) -> None:
    shard = read_shard(write_small_shard(tmp_path / "x.h5"))
    moved = replace(shard, key=replace(shard.key, offset=shard.key.offset + 64), checksum="")
    with pytest.raises(ShardError, match=r"expected rows of 'abababababab', .* in another layout; it was moved"):
        moved.map(shard.key)


def test_a_shard_that_is_gone_is_an_error_and_no_damage(tmp_path: Path) -> None:
    shard = read_shard(write_small_shard(tmp_path / "x.h5"))
    shard.path.unlink()
    with pytest.raises(ShardError, match=r"x.h5 cannot be read: .*No such file[^;]*$"), open_shard(shard, shard.key):
        pass


@pytest.mark.parametrize("error", [OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError])
def test_whatever_hdf5_says_of_a_damaged_file_is_said_of_the_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    path = write_small_shard(tmp_path / "x.h5")

    def fail(*_: object) -> None:
        raise error("strange\n bytes")

    monkeypatch.setattr(shard_module, "read_attributes", fail)
    with pytest.raises(ShardError, match=r"x.h5 cannot be read: '?strange(\\n| )+bytes'?; `featcache repair`"):
        read_shard(path)


def test_the_reason_for_which_a_shard_cannot_be_read_is_told_in_200_characters(tmp_path: Path) -> None:
    assert (
        str(unreadable(tmp_path, OSError(13, "x" * 300))) == f"shard {tmp_path} cannot be read: [Errno 13] {'x' * 189}"
    )


def small_shard(**changes: Any) -> Shard:
    """Return a sound shard of 3 rows, with changes."""
    parts = {
        "key": Block(64, (3, 32), "uint8"),
        "outputs": {"cls": Block(160, (3, 2), "float16")},
        "norms": {"cls": Block(172, (3,), "float32")},
    }
    return Shard(Path("x.h5"), 184, ShardHeader("ab" * 32, "clean", "float16"), **(parts | changes))


def test_a_shard_may_fill_its_file_to_the_last_byte_and_from_the_first() -> None:
    check_layout(small_shard())
    check_layout(small_shard(key=Block(0, (3, 32), "uint8")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": Block(64, (3, 31), "uint8")}, r"no \(rows, 32\) uint8 dataset 'key'"),
        ({"key": Block(64, (3, 32), "int8")}, r"no \(rows, 32\) uint8 dataset 'key'"),
        ({"outputs": {}, "norms": {}}, r"holds outputs \[\] and norms \[\]"),
        ({"norms": {}}, r"holds outputs \['cls'\] and norms \[\]"),
        ({"outputs": {"cls": Block(160, (3,), "float16")}}, "output 'cls' is .* expected 3 rows"),
        ({"outputs": {"cls": Block(160, (3, 2, 1), "float16")}}, "output 'cls' is .* expected 3 rows"),
        ({"outputs": {"cls": Block(160, (2, 2), "float16")}}, "output 'cls' is .* expected 3 rows"),
        ({"outputs": {"cls": Block(160, (3, 2), "float32")}}, "output 'cls' is .* float32, expected 3 rows"),
        ({"norms": {"cls": Block(172, (2,), "float32")}}, "output 'cls' has no float32 norm a row"),
        ({"norms": {"cls": Block(172, (3,), "float16")}}, "output 'cls' has no float32 norm a row"),
        ({"norms": {"cls": Block(173, (3,), "float32")}}, "claims more bytes than the 184 of its file"),
        ({"key": Block(-1, (3, 32), "uint8")}, "claims more bytes than the 184 of its file"),
    ],
)
def test_a_layout_that_no_shard_has_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ShardError, match=f"x.h5.*{message}"):
        check_layout(small_shard(**changes))


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
        elif what == "dataset for group":
            del file["norm"]
            file["norm"] = np.zeros(7, np.float32)
        elif what == "storage dtype":
            file.attrs["storage_dtype"] = np.bytes_("float64")


@pytest.mark.parametrize(
    "what",
    ["attribute type", "attribute extra", "attribute array", "row count", "version", "external link", "soft link loop",
     "chunked", "compressed", "object dtype", "compound dtype", "huge claim", "external storage", "virtual",
     "group for dataset", "stranger", "wrong dtype", "norm missing", "no outputs",
     "dataset for group", "storage dtype"],
)  # fmt: skip
def test_a_file_that_breaks_the_contract_is_refused_with_its_name(tmp_path: Path, what: str) -> None:
    path = write_small_shard(tmp_path / "x.h5")
    edit(path, what)
    with pytest.raises(ShardError, match=r"x\.h5"):
        read_shard(path)


def test_a_shard_may_have_1024_outputs_and_no_more(tmp_path: Path) -> None:
    path = write_small_shard(tmp_path / "x.h5")
    with h5py.File(path, "r+") as file:
        for i in range(1022):
            file[f"features/o{i}"], file[f"norm/o{i}"] = file["features/cls"], file["norm/cls"]
    assert len(read_shard(path).outputs) == 1024
    with h5py.File(path, "r+") as file:
        file["features/last"], file["norm/last"] = file["features/cls"], file["norm/cls"]
    with pytest.raises(ShardError, match="holds 1025 objects in '/features', expected at most 1024"):
        read_shard(path)
