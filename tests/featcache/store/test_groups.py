from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.cache.samples import ABSENT, PRESENT, SampleTable
from featcache.files.string_column import StringColumn
from featcache.store.groups import link_groups, link_rows, shared_rows

Row = tuple[int | None, int | None]  # picture, caption


def table(rows: list[Row], group: list[str] | None = None) -> SampleTable:
    n = len(rows)

    def keys(values: list[int | None]) -> np.ndarray:
        found = np.zeros((n, 32), np.uint8)
        for i, value in enumerate(values):
            if value is not None:
                found[i, [7, 20]] = 1 + value // 3, 1 + value % 3  # some keys begin alike
        return found

    return SampleTable(
        "d", "/d", ("real", "alpha"),
        StringColumn.from_strings([f"s{i}" for i in range(n)]),
        StringColumn.from_strings(group or [""] * n),
        StringColumn.from_strings([""] * n),
        np.array([""] * n, "U5"), np.full(n, -1, np.int8), np.full(n, -1, np.int16),
        keys([row[0] for row in rows]), keys([row[1] for row in rows]),
        np.array([ABSENT if row[0] is None else PRESENT for row in rows], np.uint8),
        np.array([ABSENT if row[1] is None else PRESENT for row in rows], np.uint8),
        np.zeros(n, np.uint32), np.zeros(n, np.uint32),
    )  # fmt: skip


CONTENTS = st.none() | st.integers(0, 8)
ROWS = st.lists(st.tuples(CONTENTS, CONTENTS))


@settings(max_examples=100)
@given(ROWS)
def test_link_groups_are_the_finest_that_divide_no_picture_and_no_caption(rows: list[Row]) -> None:
    groups = link_groups(table(rows)).tolist()
    merged = list(range(len(rows)))
    for _ in rows:
        for i, a in enumerate(rows):
            for j, b in enumerate(rows):
                if any(a[s] is not None and a[s] == b[s] for s in (0, 1)):
                    merged[i] = merged[j] = min(merged[i], merged[j])
    assert [groups.index(g) for g in groups] == merged


def test_link_groups_honour_a_given_group() -> None:
    rows: list[Row] = [(i, None) for i in range(4)]
    assert link_groups(table(rows, ["a", "", "a", ""])).tolist() == [0, 1, 0, 2]


def test_an_empty_table_has_no_groups() -> None:
    assert len(link_groups(table([]))) == 0


@dataclass(frozen=True)
class LinkedRows:
    group: np.ndarray
    keys: dict[str, np.ndarray]


def linked(rows: list[tuple[str, int | None, int | None]]) -> LinkedRows:
    found = table([row[1:] for row in rows])
    keys = {"text": found.text_key, "image": found.image_key, "spectral": found.image_key}
    return LinkedRows(np.array([row[0] for row in rows], dtype=np.str_), keys)


LINKED = st.lists(st.tuples(st.sampled_from(["", "", "a", "b", "c"]), CONTENTS, CONTENTS), max_size=15)


@settings(max_examples=100)
@given(LINKED)
def test_linked_rows_are_the_finest_that_divide_no_group_no_picture_and_no_caption_without_group(
    rows: list[tuple[str, int | None, int | None]],
) -> None:
    sets = link_rows(linked(rows)).tolist()
    merged = list(range(len(rows)))
    for _ in rows:
        for i, (group, picture, caption) in enumerate(rows):
            for j, (other_group, other_picture, other_caption) in enumerate(rows):
                is_one_group = group != "" and group == other_group
                is_one_caption = caption is not None and caption == other_caption and group == other_group == ""
                if is_one_group or is_one_caption or (picture is not None and picture == other_picture):
                    merged[i] = merged[j] = min(merged[i], merged[j])
    assert [sets.index(number) for number in sets] == merged
    assert sets == [sorted(set(merged)).index(first) for first in merged]


@settings(max_examples=100)
@given(LINKED, LINKED)
def test_shared_rows_have_something_in_common_with_another_row_directly(
    rows: list[tuple[str, int | None, int | None]], others: list[tuple[str, int | None, int | None]]
) -> None:
    def share(one: tuple[str, int | None, int | None], other: tuple[str, int | None, int | None]) -> bool:
        return any(value not in ("", None) and value == value_ for value, value_ in zip(one, other, strict=True))

    expected = [any(share(row, other) for other in others) for row in rows]
    assert shared_rows(linked(rows), linked(others)).tolist() == expected
