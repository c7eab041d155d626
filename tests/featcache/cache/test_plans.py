from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from featcache.cache.plans import array_expression


@given(st.sets(st.integers(0, 60)))
def test_an_array_expression_names_exactly_its_parts(indices: set[int]) -> None:
    text = array_expression(sorted(indices))
    found: list[int] = []
    for piece in filter(None, text.split(",")):
        first, _, last = piece.partition("-")
        found += range(int(first), int(last or first) + 1)
    assert found == sorted(indices)


def test_an_array_expression_is_short() -> None:
    assert array_expression([7, 0, 1, 2, 3]) == "0-3,7" and array_expression([]) == ""
