"""Laws of documents: plain JSON is read as it is, and nothing of it can overflow, or overrun, what reads it later."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heads.errors import HeadsError
from heads.files.document import is_version, parse_document

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=20,
)


@given(VALUES)
def test_plain_json_is_read_as_it_is(value: Any) -> None:
    assert parse_document(json.dumps(value).encode(), "x") == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[NaN]", "NaN is not a JSON number"),
        ("[-Infinity]", "-Infinity is not a JSON number"),
        ("[1e999]", "1e999 is beyond the largest number"),
        ("[-1e999]", "-1e999 is beyond the largest number"),
        ("1" * 301, "a number of 301 digits"),
        ("1" * 5000, "a number of 5000 digits"),
        ("[" * 65 + "]" * 65, "more than 64 levels"),
        ('{"a":' * 65 + "0" + "}" * 65, "more than 64 levels"),
        ("[" * 900 + "]" * 900, "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('"\\ud800"', "surrogates not allowed"),
        ('{"\\udfff": 0}', "surrogates not allowed"),
    ],
)
def test_what_is_no_plain_json_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(HeadsError, match=f"^x is not JSON: .*{message.removeprefix('not JSON')}") as caught:
        parse_document(text.encode(), "x")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


@pytest.mark.parametrize("data", [b"\xff", b"\xed\xa0\x80", '"x"'.encode("utf-16")])
def test_bytes_that_are_no_utf8_are_refused(data: bytes) -> None:
    with pytest.raises(HeadsError, match="not JSON"):
        parse_document(data, "x")


@pytest.mark.parametrize("piece", [b"[],", b"{},", b'{"a":0},', b"0,"])
def test_more_values_than_memory_should_hold_are_refused_unread(piece: bytes) -> None:
    started = time.process_time()
    with pytest.raises(HeadsError, match=r"x has .* values, expected at most"):
        parse_document(b"[" + piece * 2**21 + b"0]", "x")
    assert time.process_time() - started < 1


def test_a_version_is_a_whole_number() -> None:
    assert is_version(1, 1)
    assert not any(is_version(value, 1) for value in (True, 1.0, "1", None, 2, [1], 10**400))
