import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.identity.reading import EARLY, NEWEST, RULES, Reading

TEXT = st.text(st.characters(), max_size=20)
READINGS = st.builds(
    Reading,
    st.integers(1, RULES),
    st.dictionaries(TEXT, TEXT, max_size=3).map(lambda columns: tuple(columns.items())),
    st.none() | TEXT,
)


@given(READINGS)
def test_what_is_written_is_read(reading: Reading) -> None:
    assert Reading.from_text(reading.to_text()) == reading
    assert reading.to_text().isascii()


def test_what_is_as_by_default_is_not_written() -> None:
    assert (NEWEST.to_document(), EARLY.to_document()) == ({"rules": RULES}, {"rules": 1})


@pytest.mark.parametrize(
    "text",
    ["", "1", "[]", "{}", '{"rules": 0}', f'{{"rules": {RULES + 1}}}', '{"rules": true}', '{"rules": "1"}',
     '{"rules": 1.0}', '{"rules": 1, "columns": []}', '{"rules": 1, "columns": {"image": 1}}',
     '{"rules": 1, "root": 1}', '{"rules": 1, "more": 1}', "[" * 100_000],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Reading.from_text(text)


def test_options_say_the_same_on_the_command_line() -> None:
    reading = Reading(columns=(("image", "file"), ("caption", "a, b")), root="/data")
    assert reading.options == {"--column": "image=file,caption=a, b", "--root": "/data"}
    assert NEWEST.options == {}
