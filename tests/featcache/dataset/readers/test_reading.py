"""What a user states about labels: every form, and what is none."""

from __future__ import annotations

import pytest

from featcache.dataset.readers.reading import AI_CLASS, TODAY, Reading
from featcache.errors import ManifestError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1=real,0=ai", "0=ai,1=real"),
        (" 0_real = Real , Midjourney=AI", "0_real=real,midjourney=ai"),
        ("True=real,1.0=real", "1=real"),
        ("a=b=ai", "a=b=ai"),
        ('"b,*=ai,c" = ai, a=real', 'a=real,"b,*=ai,c"=ai'),
        (""""say ""x"",y"=ai""", """"say ""x"",y"=ai"""),
        ("*=ai", "*=ai"),
        ("None", "none"),
        ("AUTO", "auto"),
    ],
)
def test_a_statement_has_one_spelling(text: str, expected: str) -> None:
    stated = TODAY.state(text)
    assert stated.labels == expected and stated.state(expected) == stated


@pytest.mark.parametrize(
    ("text", "odd"),
    [
        ("1=rael", "1=rael"),
        ("real", "real"),
        ("", ""),
        ("=ai", "=ai"),
        ("a=ai,", ""),
        ("a=", "a="),
        ("a=sdxl", "a=sdxl"),
        ("a=b,c=ai", "a=b"),
    ],
)
def test_what_is_no_statement_is_refused_with_the_forms(text: str, odd: str) -> None:
    with pytest.raises(ManifestError, match="is not VALUE=real or VALUE=ai, expected such as 1=real,0=ai") as caught:
        TODAY.state(text)
    assert repr(odd) in str(caught.value) and ('"a,b"=ai' in str(caught.value)) == ("," in text)


def test_a_value_means_one_thing() -> None:
    with pytest.raises(ManifestError, match="'true' means real and ai"):
        TODAY.state("1=real,true=ai")


def test_stated_values_and_all_others() -> None:
    stated = TODAY.state("coco=real,3=ai,*=ai")
    assert stated.stated == {"coco": 0, "3": 1} and stated.rest == 1
    assert stated.of_names.labels == "*=ai,coco=real"
    assert (TODAY.stated, TODAY.rest, TODAY.is_unlabelled) == ({}, None, False)
    assert TODAY.state("none").is_unlabelled and TODAY.state("auto") != TODAY


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1.0", 1),
        ("True", 1),
        ("false", 0),
        ("fake", 1),
        ("0_real", 0),
        ("-1", None),
        ("nan", None),
        ("unknown", None),
    ],
)
def test_a_value_of_label_a(text: str, expected: int | None) -> None:
    assert TODAY.of_label(text) == expected


def test_a_stated_value_of_label_a_and_one_that_was_forgotten() -> None:
    stated = TODAY.state("1=real,0=ai")
    assert (stated.of_label("1.0"), stated.of_label("False"), stated.of_label("fake")) == (0, 1, 1)
    with pytest.raises(ValueError, match="--labels says what 1 means, and nothing of '0'"):
        TODAY.state("1=real").of_label("0")
    with pytest.raises(ValueError, match="unknown label '2'"):
        stated.of_label("2")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, "real") for name in ("nature", "natural", "human", "real", "Real", "0_real", "authentic")),
        *((name, AI_CLASS) for name in ("ai", "AI", "fake", "generated", "1_fake")),
        *((name, None) for name in ("None", "nan", "unknown", "unlabeled", "Unlabelled")),
        ("sdxl", "sdxl"),
    ],
)
def test_a_name_of_a_class(name: str, expected: str | None) -> None:
    assert TODAY.of_class(name) == expected
    assert Reading(rules=1).of_class(name) == ("real" if name.lower() == "real" else name)


def test_a_stated_name_of_a_class() -> None:
    stated = TODAY.state("coco=real,midjourney=ai,7=ai")
    assert [stated.of_class(name) for name in ("COCO", "Midjourney", "7", "sdxl")] == [
        "real",
        "Midjourney",
        AI_CLASS,
        "sdxl",
    ]
    assert [TODAY.state("*=ai").of_class(name) for name in ("sdxl", "real", "ai")] == ["sdxl", None, None]
    assert [TODAY.state("*=real").of_class(name) for name in ("sdxl", "real")] == [None, None]
