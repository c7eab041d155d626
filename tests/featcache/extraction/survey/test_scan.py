from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.cache.samples import ABSENT, PRESENT, UNREADABLE, read_samples, write_samples
from featcache.dataset.manifest import Manifest
from featcache.dataset.sample import ImageFile, ImageSource, Sample
from featcache.dataset.sample_list import SampleList
from featcache.errors import ManifestError, ShardError
from featcache.extraction.survey.scan import scan
from featcache.files.string_column import StringColumn
from featcache.identity.key_index import number_keys

from factories import png, read_manifest, write_dataset


def test_keys_are_the_digests_of_the_exact_bytes(tmp_path: Path) -> None:
    table = scan(read_manifest(write_dataset(tmp_path / "d", n_captions=2))).table
    first = hashlib.sha256((tmp_path / "d" / "0-real.png").read_bytes()).digest()
    assert bytes(table.image_key[0]) == first
    assert bytes(table.text_key[0]) == hashlib.sha256(b"caption number 0").digest()
    assert len(table.unique_keys("text")) == 2 and len(table.unique_keys("image")) == 6
    assert table.width[0] == 8 and table.height[0] == 6


def test_unique_contents_come_in_the_order_of_first_appearance(tmp_path: Path) -> None:
    table = scan(read_manifest(write_dataset(tmp_path / "d", n_captions=4))).table
    assert table.first_rows("text").tolist() == [0, 3, 6, 9]


@pytest.mark.slow
@given(st.lists(st.integers(0, 8), max_size=30))
def test_first_rows_are_exact_when_keys_begin_alike(contents: list[int]) -> None:
    keys = np.zeros((len(contents), 32), np.uint8)
    keys[:, 3], keys[:, 31] = np.array(contents, int) // 3, np.array(contents, int) % 3
    numbers = number_keys(keys, np.ones(len(contents), bool))
    assert len(set(zip(contents, numbers.tolist(), strict=True))) == len(set(contents)) == len({*numbers.tolist()})
    only_heads = number_keys(keys[:, ::-1].copy(), np.ones(len(contents), bool))
    assert len(set(zip(numbers.tolist(), only_heads.tolist(), strict=True))) == len(set(contents))


def test_a_picture_that_cannot_be_read_is_told_apart_from_one_that_is_absent(tmp_path: Path) -> None:
    manifest = read_manifest(write_dataset(tmp_path / "d", n_captions=1, image=["0-real.png", "", "0-beta.png"]))
    (tmp_path / "d" / "0-beta.png").unlink()
    scanned = scan(manifest)
    assert scanned.table.image_status.tolist() == [PRESENT, ABSENT, UNREADABLE]
    assert [(f.sample_id, f.stage) for f in scanned.unreadable] == [("0-beta", "read")]
    assert not scanned.table.image_key[1:].any()


def test_a_split_is_made_where_none_is_given_and_keeps_captions_and_duplicates_together(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", n_captions=40, split=[""] * 120, group=[""] * 120)
    (tmp_path / "d" / "7-alpha.png").write_bytes((tmp_path / "d" / "30-beta.png").read_bytes())
    table = scan(read_manifest(data), seed=1).table
    split = dict(zip(table.sample_id.to_array().tolist(), table.split.tolist(), strict=True))
    assert {split[f"{i}-real"] for i in range(40)} == {"train", "valid", "test"}
    for i in range(40):
        assert len({split[f"{i}-{name}"] for name in ("real", "alpha", "beta")}) == 1
    assert split["7-real"] == split["30-real"]


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    table = scan(read_manifest(write_dataset(tmp_path / "d", caption=["ü\n\x1b", *["x"] * 17]))).table
    write_samples(tmp_path / "t.h5", table, root=tmp_path)
    copy = read_samples(tmp_path / "t.h5")
    for name in ("label_a", "label_b", "image_key", "text_key", "image_status", "text_status", "width", "split"):
        np.testing.assert_array_equal(getattr(copy, name), getattr(table, name))
    for name in ("sample_id", "group", "source"):
        np.testing.assert_array_equal(getattr(copy, name).to_array(), getattr(table, name).to_array())
    assert (copy.dataset, copy.origin, copy.class_names) == (table.dataset, table.origin, table.class_names)


@pytest.mark.slow
def test_every_flipped_byte_of_a_table_is_an_error_or_harmless(tmp_path: Path) -> None:
    table = scan(read_manifest(write_dataset(tmp_path / "d", n_captions=1))).table
    path = tmp_path / "t.h5"
    write_samples(path, table, root=path.parent)
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    found = 0
    for position in rng.integers(0, len(good), 150):
        bad = bytearray(good)
        bad[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(bad))
        try:
            copy = read_samples(path)
        except ShardError:
            found += 1
        else:
            np.testing.assert_array_equal(copy.image_key, table.image_key)
            assert copy.sample_id.to_array().tolist() == table.sample_id.to_array().tolist()
    assert found > 20


@given(st.lists(st.text()))
def test_strings_survive_packing(values: list[str]) -> None:
    values = [v.encode("utf-8", "replace").decode() for v in values]
    column = StringColumn.from_strings(values)
    assert [column[i] for i in range(len(column))] == values
    assert column.to_array().tolist() == [v.rstrip("\x00") for v in values]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_unreadable(tmp_path: Path) -> None:
    manifest = read_manifest(write_dataset(tmp_path / "d", n_captions=1))
    (tmp_path / "d" / "0-real.png").chmod(0)
    assert scan(manifest).table.image_status[0] == UNREADABLE


@dataclass(frozen=True)
class Counted:
    """A picture that is no file, and notes when it is read."""

    number: int
    log: list[int]

    @property
    def name(self) -> str:
        return str(self.number)

    def read_bytes(self) -> bytes:
        self.log.append(self.number)
        return png(self.number)


def mixed(n: int, folder: Path, log: list[int]) -> Manifest:
    """Every third picture a file, every third of another source, every third missing."""
    folder.mkdir()
    samples = []
    for i in range(n):
        image: ImageSource | None = Counted(i, log) if i % 3 == 1 else None
        if i % 3 == 0:
            (folder / f"{i}.png").write_bytes(png(i))
            image = ImageFile(str(folder / f"{i}.png"))
        samples.append(Sample(f"s{i}", image, f"caption {i}", -1, None, "train", None, f"row {i}"))
    return Manifest("mixed", str(folder), SampleList.of(samples), (), ())


@pytest.mark.parametrize("workers", [1, 3])
def test_every_row_gets_its_own_picture_whatever_its_source_and_the_threads(tmp_path: Path, workers: int) -> None:
    log: list[int] = []
    scanned = scan(mixed(100, tmp_path / "d", log), workers=workers, processes=lambda _: 2 * (workers > 1))
    for i in range(100):
        key = hashlib.sha256(png(i)).digest() if i % 3 < 2 else bytes(32)
        assert bytes(scanned.table.image_key[i]) == key
    assert scanned.n_read == 67 and sorted(log) == list(range(1, 100, 3))
    assert workers > 1 or log == sorted(log)  # tars and Parquet files are read from front to back


def test_progress_never_goes_back_and_ends_at_all_samples(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    scan(mixed(100, tmp_path / "d", []), progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen) and seen[-1] == (100, 100)


def test_an_interrupted_scan_leaves_the_rest_unread(tmp_path: Path) -> None:
    log: list[int] = []
    manifest = mixed(3000, tmp_path / "d", log)

    def interrupt(done: int, total: int) -> None:
        if done > 1100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(manifest, workers=1, progress=interrupt)
    assert len(log) < 900


def test_a_caption_that_is_no_unicode_is_an_error(tmp_path: Path) -> None:
    sample = Sample("s", None, "\udc80", -1, None, None, None, "row 1")
    with pytest.raises(ManifestError, match="no valid Unicode"):
        scan(Manifest("d", "/d", SampleList.of([sample]), (), ()))
