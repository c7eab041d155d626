"""Words for real and AI pictures and for missing values, in every spelling that data sets have."""

from __future__ import annotations

import pytest

from featcache.dataset.readers.words import (
    canonical,
    counts_alone,
    is_missing,
    is_split_like,
    is_vague,
    is_weak,
    split_of,
    verdict_of,
)


@pytest.mark.parametrize(
    "name", ["real", "REAL", " Real ", "0_real", "1-real", "real_images", "Real Images", "nature", "natural", "human"]
)
def test_words_for_real_pictures(name: str) -> None:
    assert verdict_of(name) == 0 and not is_weak(name)


@pytest.mark.parametrize("name", ["photo", "Photos", "authentic", "original_images"])
def test_words_that_mean_real_pictures_beside_others_only(name: str) -> None:
    assert verdict_of(name) == 0 and is_weak(name) and not counts_alone(name)


@pytest.mark.parametrize(("name", "alone"), [("real", True), ("0_real", True), ("Nature", False), ("humans", False)])
def test_words_for_what_pictures_show_do_not_count_alone(name: str, alone: bool) -> None:
    assert verdict_of(name) == 0 and counts_alone(name) == alone


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(("train", "train"), ("Val", "valid"), ("train2017", "train"), ("val_2014", "valid"), ("test_set", "test")),
        *(("trainset", "train"), ("training-set", "train"), ("test2", None), ("test_images", None), ("trains", None)),
    ],
)
def test_names_of_splits(name: str, split: str | None) -> None:
    assert split_of(name) == split
    assert is_split_like(name) == (name != "trains")


@pytest.mark.parametrize(
    "name",
    [
        "ai",
        "AI",
        "fake",
        "1_fake",
        "0-fake",
        "fake_images",
        "generated",
        "synthetic",
        "ai-generated",
        "AI_generated",
        "aigc",
    ],
)
def test_words_for_ai_pictures(name: str) -> None:
    assert verdict_of(name) == 1 and not is_weak(name)


@pytest.mark.parametrize(
    "name", ["", "sdxl", "realistic", "really", "real_vs_fake", "aircraft", "1", "_", "images", "0"]
)
def test_other_names_are_no_words(name: str) -> None:
    assert verdict_of(name) is None


@pytest.mark.parametrize(
    "name", ["12", "1.5", "images", "real_vs_fake", "Real-AI", "unlabelled", "None", "", "all data"]
)
def test_names_of_no_generator(name: str) -> None:
    assert is_vague(name)


@pytest.mark.parametrize("name", ["sd21", "data2vec", "stable_diffusion_v1.5", "airplane", "DALL-E 3"])
def test_names_of_a_generator(name: str) -> None:
    assert not is_vague(name)


@pytest.mark.parametrize("text", ["nan", "NaN", "None", "NULL", "null", " nan ", "<NA>", "n/a"])
def test_what_programs_write_where_there_is_nothing(text: str) -> None:
    assert is_missing(text)


@pytest.mark.parametrize("text", ["", "0", "nano", "a nan", "none of them"])
def test_what_is_something(text: str) -> None:
    assert not is_missing(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1.0", "1"), ("True", "1"), ("FALSE", "0"), (" SDXL ", "sdxl"), ("-1.", "-1"), ("1.5", "1.5")],
)
def test_spellings_of_one_value(text: str, expected: str) -> None:
    assert canonical(text) == expected
