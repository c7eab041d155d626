"""The grammar of output names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.errors import FeatcacheError
from featcache.identity.outputs import (
    PATCH_MEANS,
    abbreviate,
    expand,
    layer_family,
    layer_name,
    layer_number,
    natural_order,
    parse_outputs,
    tell_pairs,
)


def test_two_blocks_that_may_be_taken_for_a_range_are_told() -> None:
    said = tell_pairs("cls, layers:7-12,layers:7-8,layers:1-4-9,layers_mean:1-3,layers:2..5,layers:9-3,layers:4")
    assert said == (
        "layers:7-12 is blocks 7 and 12; a range is layers:7..12",
        "layers_mean:1-3 is blocks 1 and 3; a range is layers_mean:1..3",
    )
    assert max(map(len, tell_pairs("layers_mean:10-12"))) + len("note ") <= 80


def blocks(*numbers: int) -> list[str]:
    return [layer_name(k) for k in numbers]


def means(*numbers: int) -> list[str]:
    return [layer_name(k, PATCH_MEANS) for k in numbers]


TWELVE = ["cls", "pooled", *blocks(*range(1, 13))]


def test_a_request_is_expanded_in_the_order_asked_for_without_repetitions() -> None:
    expected = ("pooled", "layers:8", "layers:4", "cls", "layers:12")
    assert expand("pooled,layers:8-4,cls,layers:4-12,pooled", TWELVE) == expected
    assert expand("layers:all", blocks(3, 1, 2)) == ("layers:1", "layers:2", "layers:3")
    assert expand(["layers:2..4-1", " cls "], TWELVE) == ("layers:2", "layers:3", "layers:4", "layers:1", "cls")
    assert expand("layers:all", ["cls", *blocks(12, 4, 8)]) == ("layers:4", "layers:8", "layers:12")


def test_both_families_of_layers_are_asked_for_in_the_same_way_and_apart() -> None:
    both = ["cls", *blocks(1, 2, 3), *means(1, 2, 3)]
    assert expand("layers:all", both) == tuple(blocks(1, 2, 3))
    assert expand("layers_mean:all", both) == tuple(means(1, 2, 3))
    assert expand("layers_mean:3-1..2,layers:2", both) == (*means(3, 1, 2), "layers:2")
    assert abbreviate(both) == "cls, layers:1..3, layers_mean:1..3"
    assert natural_order([*means(2), *blocks(10), "mean", *means(1)]) == (
        "mean", "layers:10", "layers_mean:1", "layers_mean:2"
    )  # fmt: skip
    assert list(map(layer_family, ["layers:1", "layers_mean:1", "mean", "layers_mean:0"])) == [
        "layers", "layers_mean", None, None
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "there", "message"),
    [
        ("layers:13", TWELVE, r"^model 'm' has no output 'layers:13'; it has: cls, pooled, layers:1\.\.12$"),
        ("cls,layers:4-6", ["cls", *blocks(4, 8)], r"^model 'm' has no output 'layers:6'; it has: cls, layers:4-8$"),
        ("layers:all", ["mean", "pooled"], "^model 'm' has no output 'layers:all'; it has: mean, pooled$"),
        ("layers_mean:all", blocks(1), "^model 'm' has no output 'layers_mean:all'; it has: layers:1$"),
        ("layers_mean:3..1", TWELVE, "'layers_mean:3..1' runs from layer 3 to 1"),
        ("best", [], "^model 'm' has no output 'best'; it has: none$"),
        ("poled", ["cls", "pooled"], r"it has: cls, pooled; did you mean 'pooled'\?$"),
        ("layers:5..3", TWELVE, "runs from layer 5 to 3"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(wanted: str, there: list[str], message: str) -> None:
    with pytest.raises(FeatcacheError, match=message):
        expand(wanted, there, owner="model 'm'")


BAD = ["", "cls,", ",", "layers:", "layers:0", "layers:-1", "layers:1-", "layers:01", "layers:1-all", "layers:1.2"]
BAD += [
    "layers:1...3",
    "layers:99999",
    "Cls x",
    "../up",
    "a/b",
    "cls;mean",
    "layers_max:1",
    "layers_mean:0",
    "layers:٣",
    "Klass",
    "x" * 65,
]


@pytest.mark.parametrize("bad", [*BAD, []])
def test_what_is_no_name_is_refused(bad: str | list[str]) -> None:
    with pytest.raises(FeatcacheError, match="expected"):
        parse_outputs(bad)


def test_a_huge_request_is_refused_before_it_is_expanded() -> None:
    with pytest.raises(FeatcacheError, match="expected 1 to 1024"):
        parse_outputs(f"o{i}" for i in range(1025))
    with pytest.raises(FeatcacheError, match="has no output 'layers:13'"):
        expand("layers:1..9999", TWELVE)


def test_layers_are_ordered_by_number_after_all_other_names() -> None:
    assert natural_order(["layers:10", "pooled", "layers:2", "cls"]) == ("cls", "pooled", "layers:2", "layers:10")


def test_the_short_list_for_people_is_short() -> None:
    names = ["pooled", *(layer_name(k) for k in range(1, 13)), "cls"]
    assert abbreviate(names) == "cls, pooled, layers:1..12"
    assert abbreviate(["layers:9", "layers:4", "layers:5"]) == "layers:4-5-9"
    assert abbreviate([]) == ""


names = st.one_of(
    st.sampled_from(["cls", "mean", "pooled"]),
    st.integers(1, 40).map(layer_name),
    st.integers(1, 40).map(lambda k: means(k)[0]),
)


@given(st.lists(names, min_size=1, unique=True))
def test_the_short_list_is_a_request_of_the_same_outputs(wanted: list[str]) -> None:
    assert expand(abbreviate(wanted), wanted) == natural_order(wanted)


@given(st.integers(1, 9999))
def test_the_number_of_a_layer_is_in_its_name(number: int) -> None:
    assert layer_number(layer_name(number)) == number
    assert layer_number(f"layers:0{number}") is None
