from __future__ import annotations

import io
import os
import tarfile
import time
from pathlib import Path
from unittest import mock

import h5py
import numpy as np
import pytest

from featcache.cache.file_facts import FileFacts
from featcache.cache.memo import Memo
from featcache.cache.samples import SampleTable
from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.tar_samples import TarImage
from featcache.dataset.sample import ImageFile
from featcache.extraction.survey.scan import Scan, scan

from factories import png, read_manifest, write_dataset

AN_HOUR = 3600


def age(folder: Path, seconds: float = AN_HOUR) -> None:
    past = time.time() - seconds
    for path in folder.glob("*.png"):
        os.utime(path, (past, past))


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    found = read_manifest(write_dataset(tmp_path / "d", n_captions=3))
    age(tmp_path / "d")
    return found


def equal(a: SampleTable, b: SampleTable) -> bool:
    names = ("image_key", "text_key", "image_status", "width", "height", "split", "label_b")
    facts = all(np.array_equal(getattr(a.files, f), getattr(b.files, f)) for f in ("format", "n_bytes", "has_exif"))
    return facts and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


def forbid_reading() -> mock._patch[mock.MagicMock]:
    return mock.patch.object(ImageFile, "read_bytes", side_effect=AssertionError("a picture was read"))


def test_a_second_scan_reads_no_picture_and_finds_the_same(manifest: Manifest, tmp_path: Path) -> None:
    memo = tmp_path / "c" / "memo" / "d.h5"
    first = scan(manifest, memo=memo)
    before = memo.stat().st_mtime_ns
    with forbid_reading():
        second = scan(manifest, memo=memo)
    assert (first.n_read, second.n_read) == (9, 0) and equal(first.table, second.table)
    assert equal(second.table, scan(manifest).table) and memo.stat().st_mtime_ns == before


@pytest.mark.parametrize("size", [0, 1, 50])
def test_a_changed_picture_is_read_and_no_other(manifest: Manifest, tmp_path: Path, size: int) -> None:
    memo, victim = tmp_path / "d.h5", tmp_path / "d" / "1-real.png"
    scan(manifest, memo=memo)
    victim.write_bytes(victim.read_bytes()[:-1] + bytes(size) + b"x")
    found = scan(manifest, memo=memo)
    assert found.n_read == 1 and equal(found.table, scan(manifest).table)


def test_a_picture_exchanged_for_one_of_the_same_size_and_time_is_told_by_its_inode(
    manifest: Manifest, tmp_path: Path
) -> None:
    memo, victim = tmp_path / "d.h5", tmp_path / "d" / "1-real.png"
    scan(manifest, memo=memo)
    other = tmp_path / "other"
    other.write_bytes(victim.read_bytes()[:-1] + b"x")
    status = victim.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(victim)
    assert scan(manifest, memo=memo).n_read == 1


def test_a_change_in_place_with_the_old_time_is_found_by_rehash_alone(manifest: Manifest, tmp_path: Path) -> None:
    memo, victim = tmp_path / "d.h5", tmp_path / "d" / "1-real.png"
    first, status = scan(manifest, memo=memo), victim.stat()
    with victim.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert equal(scan(manifest, memo=memo).table, first.table)  # the documented limit
    found = scan(manifest, memo=memo, rehash=True)
    assert found.n_read == 9 and equal(found.table, scan(manifest).table) and not equal(found.table, first.table)
    again = scan(manifest, memo=memo)
    assert again.n_read == 0 and equal(again.table, found.table)


@pytest.mark.parametrize("seconds", [0, 1, -AN_HOUR])
def test_pictures_younger_than_the_clocks_step_or_of_the_future_are_not_remembered(
    manifest: Manifest, tmp_path: Path, seconds: float
) -> None:
    age(tmp_path / "d", seconds)
    memo = tmp_path / "d.h5"
    assert scan(manifest, memo=memo).n_read == 9
    assert scan(manifest, memo=memo).n_read == 9


def test_a_picture_that_changes_while_it_is_read_is_not_remembered(manifest: Manifest, tmp_path: Path) -> None:
    memo, read = tmp_path / "d.h5", ImageFile.read_bytes

    def exchange_first(image: ImageFile) -> bytes:
        data = read(image)
        if image.path.endswith("1-real.png"):
            Path(image.path).write_bytes(png(5))
        return data

    with mock.patch.object(ImageFile, "read_bytes", exchange_first):
        scan(manifest, memo=memo)
    assert len(Memo.load(memo)) == 8


def test_a_picture_that_went_or_became_a_folder_is_not_taken_from_the_memo(manifest: Manifest, tmp_path: Path) -> None:
    memo = tmp_path / "d.h5"
    scan(manifest, memo=memo)
    (tmp_path / "d" / "0-real.png").unlink()
    (tmp_path / "d" / "1-real.png").unlink()
    (tmp_path / "d" / "1-real.png").mkdir()
    found = scan(manifest, memo=memo)
    assert {f.sample_id for f in found.unreadable} == {"0-real", "1-real"} and len(Memo.load(memo)) == 7


def test_rows_that_are_removed_are_forgotten_and_new_ones_are_added(manifest: Manifest, tmp_path: Path) -> None:
    memo = tmp_path / "d.h5"
    scan(manifest, memo=memo)
    half = Manifest("d", manifest.origin, manifest.samples[:4], manifest.generators, ())
    assert scan(half, memo=memo).n_read == 0 and len(Memo.load(memo)) == 4
    assert scan(manifest, memo=memo).n_read == 5 and len(Memo.load(memo)) == 9


@pytest.mark.slow
def test_every_damaged_memo_costs_time_only(manifest: Manifest, tmp_path: Path) -> None:
    memo = tmp_path / "d.h5"
    truth = scan(manifest, memo=memo)
    good = memo.read_bytes()
    rng = np.random.default_rng(0)
    lost = 0

    def check() -> Scan:
        found = scan(manifest, memo=memo)
        assert equal(found.table, truth.table)
        return found

    for position in rng.integers(0, len(good), 100):
        bad = bytearray(good)
        bad[position] ^= 1 << int(rng.integers(8))
        memo.write_bytes(bytes(bad))
        lost += check().n_read == 9
    assert lost > 5
    for size in (0, 100, len(good) // 2, len(good) - 1):
        memo.write_bytes(good[:size])
        check()
    assert scan(manifest, memo=memo).n_read == 0


def test_a_memo_of_another_version_is_an_empty_one(manifest: Manifest, tmp_path: Path) -> None:
    memo = tmp_path / "d.h5"
    scan(manifest, memo=memo)
    with h5py.File(memo, "r+") as file:
        file.attrs["format_version"] = np.int64(1)
    assert len(Memo.load(memo)) == 0 and scan(manifest, memo=memo).n_read == 9


def test_links_and_other_shapes_in_a_memo_are_refused(manifest: Manifest, tmp_path: Path) -> None:
    memo = tmp_path / "d.h5"
    scan(manifest, memo=memo)
    with h5py.File(memo, "r+") as file:
        del file["key"]
        file["key"] = h5py.SoftLink("/stamp")
    assert len(Memo.load(memo)) == 0
    with h5py.File(memo, "r+") as file:
        del file["key"]
        file.create_dataset("key", (10**12, 32), "uint8", chunks=(1024, 32))
    assert len(Memo.load(memo)) == 0


def test_a_memo_that_cannot_be_written_is_done_without(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "memo").write_text("a file where the folder should be")
    assert equal(scan(manifest, memo=tmp_path / "memo" / "d.h5").table, scan(manifest).table)


def test_a_memo_is_read_as_it_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 256, (2, 50, 32), dtype=np.uint8)
    files = FileFacts(np.arange(50, dtype=np.uint8) % 11, keys[0, :, 0].astype(np.uint32), np.zeros(50, np.int8) - 1)
    memo = Memo(keys[0], keys[1], np.arange(50, dtype=np.uint32), np.arange(50, dtype=np.uint32)[::-1], files)
    memo.save(tmp_path / "m.h5", root=tmp_path)
    copy = Memo.load(tmp_path / "m.h5")
    for name in ("stamp", "key", "width", "height"):
        np.testing.assert_array_equal(getattr(copy, name), getattr(memo, name))
    for name in ("format", "n_bytes", "has_exif"):
        np.testing.assert_array_equal(getattr(copy.files, name), getattr(files, name))
    assert copy.find(keys[0][[7, 3]]).tolist() == [7, 3] and copy.find(keys[1][:2]).tolist() == [-1, -1]


def write_tar(path: Path, names: str = "abc", seed: int = 0) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for i, name in enumerate(names):
            for ending, data in ((".png", png(seed + i)), (".txt", f"caption {i}".encode())):
                member = tarfile.TarInfo(name + ending)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    past = time.time() - AN_HOUR
    os.utime(path, (past, past))


def test_pictures_of_a_tar_that_did_not_change_are_not_read_again(tmp_path: Path) -> None:
    memo, tar = tmp_path / "d.h5", tmp_path / "d.tar"
    write_tar(tar)
    first = scan(read_manifest(tar), memo=memo)
    with mock.patch.object(TarImage, "read_bytes", side_effect=AssertionError("a picture was read")):
        second = scan(read_manifest(tar), memo=memo)
    assert (first.n_read, second.n_read) == (3, 0) and equal(first.table, second.table)
    assert len({bytes(key) for key in second.table.image_key}) == 3
    write_tar(tar, "abcd", seed=7)
    changed = scan(read_manifest(tar), memo=memo)
    assert changed.n_read == 4 and equal(changed.table, scan(read_manifest(tar)).table)
