"""Samples in columns are the samples that were put in."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import numpy as np
import pytest

from featcache.dataset.readers.outcome import check_unique
from featcache.dataset.sample import ImageFile, ImageSource, Sample
from featcache.dataset.sample_list import SampleList
from featcache.errors import ManifestError


@dataclass(frozen=True)
class Elsewhere:
    """A picture that is no file."""

    name: str

    def read_bytes(self) -> bytes:
        """Give nothing."""
        return b""


def draw(rng: random.Random, number: int) -> Sample:
    images: list[ImageSource | None] = [None, ImageFile(f"/p/{number} é\udcff.jpg"), Elsewhere(f"tar {number}")]
    return Sample(
        f"s{number}",
        rng.choice(images),
        rng.choice([None, "a cat", "ein Bär 🐻", " blanks  "]),
        rng.choice([-1, 0, 1]),
        rng.choice([None, "real", "sdxl", "flux"]),
        rng.choice([None, "train", "valid", "test"]),
        rng.choice([None, "g1", f"g{number}"]),
        f"row {number}",
    )


@pytest.fixture
def samples() -> list[Sample]:
    rng = random.Random(3)
    return [draw(rng, number) for number in range(500)]


def test_what_goes_in_comes_out(samples: list[Sample]) -> None:
    packed = SampleList.of(iter(samples))
    assert list(packed) == samples and len(packed) == 500
    assert [packed[i] for i in (0, 499, -1, -500)] == [samples[i] for i in (0, 499, -1, -500)]
    assert list(packed[3:90:7]) == samples[3:90:7] and list(packed.select([5, 2, 5])) == [samples[i] for i in (5, 2, 5)]
    for row in (500, -501):
        with pytest.raises(IndexError):
            packed[row]


def test_columns_tell_what_the_samples_tell(samples: list[Sample]) -> None:
    packed = SampleList.of(samples)
    assert packed.has_image.tolist() == [s.image is not None for s in samples]
    assert packed.has_file.tolist() == [isinstance(s.image, ImageFile) for s in samples]
    assert list(packed.source) == [s.image.name if s.image else "" for s in samples]
    assert packed.split.tolist() == [s.split or "" for s in samples]
    assert [packed.image(row) for row in range(500)] == [s.image for s in samples]
    files = SampleList.of(s for s in samples if not isinstance(s.image, Elsewhere))
    assert files.source is files.path


def test_equal_lists_are_equal_and_others_are_not(samples: list[Sample]) -> None:
    packed = SampleList.of(samples)
    assert packed == SampleList.of(samples) and packed != SampleList.of(samples[:-1]) and packed != samples
    assert packed != SampleList.of([replace(samples[0], label_a=-samples[0].label_a - 1), *samples[1:]])


def test_no_samples_are_a_list_too() -> None:
    nothing = SampleList.of([])
    assert list(nothing) == [] and nothing.has_image.shape == nothing.split.shape == (0,) and len(nothing.source) == 0


def test_text_that_no_file_could_hold_is_refused_with_its_place(samples: list[Sample]) -> None:
    with pytest.raises(ManifestError, match=r"row 0: '\\ud800' is no valid Unicode"):
        SampleList.of([replace(samples[0], caption="\ud800")])


def test_the_first_id_that_comes_twice_is_named_with_both_places(samples: list[Sample]) -> None:
    check_unique(SampleList.of(samples))
    twice = [*samples, replace(samples[7], where="row 500"), replace(samples[3], where="row 501")]
    with pytest.raises(ManifestError, match=r"row 500: sample_id 's7' is taken by row 7, .* \(and 1 more"):
        check_unique(SampleList.of(twice))


def test_strings_are_read_by_rows_in_any_order(samples: list[Sample]) -> None:
    column = SampleList.of(samples).caption
    rows = np.random.default_rng(0).permutation(500)[:50]
    assert [text.decode() for text in column.encoded(rows)] == [samples[row].caption or "" for row in rows]
    assert column.encoded(rows[:0]) == []
