from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from featcache.cache.samples import ABSENT, PRESENT, SampleTable
from featcache.files.string_column import StringColumn
from featcache.upkeep.overlap import find_overlaps

Row = tuple[int | None, str]  # picture, split


def table(name: str, rows: list[Row]) -> SampleTable:
    n = len(rows)
    keys = np.zeros((n, 32), np.uint8)
    for i, (content, _) in enumerate(rows):
        if content is not None:
            keys[i, [3, 30]] = 1 + content // 2, 1 + content % 2  # some begin alike
    strings = [StringColumn.from_strings(v) for v in ([f"{name}{i}" for i in range(n)], [""] * n, [""] * n)]
    status = np.array([ABSENT if content is None else PRESENT for content, _ in rows], np.uint8)
    zeros = np.zeros(n, np.uint32)
    return SampleTable(
        name, f"/{name}", ("real",), *strings, np.array([split for _, split in rows], "U5"),
        np.zeros(n, np.int8), np.zeros(n, np.int16), keys, np.zeros((n, 32), np.uint8),
        status, np.full(n, ABSENT, np.uint8), zeros, zeros,
    )  # fmt: skip


ROWS = st.lists(st.tuples(st.none() | st.integers(0, 6), st.sampled_from(["train", "valid", "test", ""])), max_size=8)


@given(ROWS, ROWS)
def test_overlaps_are_those_of_plain_sets(one: list[Row], other: list[Row]) -> None:
    def parts(rows: list[Row], splits: set[str]) -> set[int | None]:
        return {content for content, split in rows if split in splits} - {None}

    every, fitted = {"train", "valid", "test", ""}, {"train", "valid"}
    shared = parts(one, every) & parts(other, every)
    leaks = (parts(one, {"test"}) & parts(other, fitted)) | (parts(one, fitted) & parts(other, {"test"}))
    found = find_overlaps([table("a", one), table("b", other)])
    assert bool(found) == bool(shared)
    for overlap in found:
        assert (overlap.modality, overlap.n_contents, overlap.n_leaks) == ("image", len(shared), len(leaks))
        a, b = (rows[int(name[1:])][0] for rows, name in zip((one, other), overlap.sample_ids, strict=True))
        assert a == b and a in (leaks or shared)


def test_every_pair_of_data_sets_and_both_sides_are_compared() -> None:
    one, other, third = (table(name, [(k, "train"), (9, "test")]) for k, name in enumerate("abc"))
    one, other = (replace(t, text_key=t.image_key, text_status=t.image_status) for t in (one, other))
    found = [(o.datasets, o.modality, o.n_contents) for o in find_overlaps([one, other, third])]
    pairs = [(("a", "b"), "image", 1), (("a", "b"), "text", 1), (("a", "c"), "image", 1), (("b", "c"), "image", 1)]
    assert found == pairs


def test_a_data_set_alone_overlaps_with_nothing() -> None:
    assert find_overlaps([]) == find_overlaps([table("a", [(1, "train"), (1, "test")])]) == ()
