from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.cache.orphans import Orphans
from featcache.cache.samples import ABSENT, PRESENT, UNREADABLE, SampleTable
from featcache.extraction.survey.scan import scan
from featcache.files.string_column import StringColumn
from featcache.upkeep.audit import Audit, audit

from factories import read_manifest, write_dataset

Row = tuple[int | None, int | None, str, int]  # picture, caption, split, class (-1: unknown)


def table(rows: list[Row], group: list[str] | None = None) -> SampleTable:
    n = len(rows)

    def keys(values: list[int | None]) -> np.ndarray:
        found = np.zeros((n, 32), np.uint8)
        for i, value in enumerate(values):
            if value is not None:
                found[i, [7, 20]] = 1 + value // 3, 1 + value % 3  # some keys begin alike
        return found

    label_b = np.array([row[3] for row in rows], np.int16)
    return SampleTable(
        "d", "/d", ("real", "alpha", "beta"),
        StringColumn.from_strings([f"s{i}" for i in range(n)]),
        StringColumn.from_strings(group or [""] * n),
        StringColumn.from_strings([""] * n),
        np.array([row[2] for row in rows], "U5"),
        np.where(label_b < 0, -1, label_b > 0).astype(np.int8),
        label_b,
        keys([row[0] for row in rows]), keys([row[1] for row in rows]),
        np.array([ABSENT if row[0] is None else PRESENT for row in rows], np.uint8),
        np.array([ABSENT if row[1] is None else PRESENT for row in rows], np.uint8),
        np.zeros(n, np.uint32), np.zeros(n, np.uint32),
    )  # fmt: skip


CONTENTS = st.none() | st.integers(0, 8)
ROWS = st.lists(st.tuples(CONTENTS, CONTENTS, st.sampled_from(["train", "valid", "test", ""]), st.integers(-1, 2)))


def shared(rows: list[Row], side: int, value: int, unknown: object) -> set[int]:
    """The contents of one side whose rows have several known values, the slow way."""
    found = set()
    for content in {row[side] for row in rows} - {None}:
        if len({row[value] for row in rows if row[side] == content} - {unknown}) > 1:
            found.add(content)
    return found


@settings(max_examples=200)
@given(ROWS)
def test_findings_are_those_of_a_search_row_by_row(rows: list[Row]) -> None:
    found = audit(table(rows))
    pictures = [row[0] for row in rows if row[0] is not None]
    twice = {p for p in pictures if pictures.count(p) > 1}
    leaked, captions = shared(rows, 0, 2, ""), shared(rows, 1, 2, "")
    conflicting = shared(rows, 0, 3, -1)
    assert found.duplicates.n_contents == len(twice)
    assert found.duplicates.n_samples == sum(p in twice for p in pictures)
    assert found.leaked_images.n_contents == len(leaked)
    assert found.leaked_captions.n_samples == sum(row[1] in captions for row in rows)
    assert found.conflicts.n_contents == len(conflicting)
    assert bool(found.leaked_images or found.leaked_captions) == bool(leaked or captions)
    for finding in (found.duplicates, found.leaked_images, found.leaked_captions, found.conflicts):
        assert len(finding.examples) == min(3, finding.n_contents)
        assert all(len(set(e.values)) > 1 for e in finding.examples if any(e.values))


def test_a_leak_names_a_sample_of_each_split_first() -> None:
    rows: list[Row] = [(0, None, "train", 1)] * 5 + [(0, None, "test", 1), (1, None, "test", 1)]
    (example,) = audit(table(rows)).leaked_images.examples
    assert (example.sample_ids, example.values, example.n_samples) == (("s0", "s5"), ("train", "test"), 6)


def test_ai_of_an_unknown_generator_contradicts_real_alone() -> None:
    rows: list[Row] = [(0, None, "", 1), (0, None, "", -1), (1, None, "", 0), (1, None, "", -1)]
    ai = replace(table(rows), label_a=np.array([1, 1, 0, 1], np.int8))
    (example,) = audit(ai).conflicts.examples
    assert (example.sample_ids, example.values) == (("s2", "s3"), ("real", "AI"))


def test_gaps_are_counted_by_kind() -> None:
    gappy = table([(None, 0, "train", 0), (0, None, "train", 0), (None, 1, "train", 0)])
    gappy = replace(gappy, image_status=np.array([ABSENT, PRESENT, UNREADABLE], np.uint8))
    found = audit(gappy, Orphans(3, ("x",)))
    assert found.n_without == {"text": 1, "image": 1} and found.n_unreadable == 1 and found.orphans.n == 3


def test_an_automatic_split_has_no_leaks(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", n_captions=30, split=[""] * 90, group=[""] * 90)
    for i in range(0, 80, 7):
        (tmp_path / "d" / f"{i // 3}-real.png").write_bytes((tmp_path / "d" / f"{i % 30}-beta.png").read_bytes())
    found = scan(read_manifest(data), seed=3).table
    assert audit(found).duplicates and not audit(found).leaked_images and not audit(found).leaked_captions
    assert set(found.split.tolist()) >= {"train", "test"}


def test_an_empty_table_has_nothing_odd() -> None:
    found = audit(table([]))
    assert isinstance(found, Audit) and not found.leaked_images and not found.leaked_captions
