"""Laws of reading rows: as asked for, in few and long copies, and ahead only where that helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import FrozenInstanceError
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.store import rows as rows_module
from featcache.store.column import Column
from featcache.store.rows import Rows
from featcache.store.window import Window

WIDTHS = {"pooled": 3, "cls": 2}


class Taken(Window):
    """A window that keeps what it gave."""

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        super().__init__(arrays)
        self.given: list[np.ndarray] = []

    def take(self, positions: np.ndarray) -> np.ndarray:
        self.given.append(super().take(positions))
        return self.given[-1]


class Maps:
    """Shards in memory that note what they are asked for: (number, is_random) by output."""

    def __init__(self, sizes: Sequence[int], *, has_windows: bool = False, is_open: bool = False) -> None:
        self.shards = [
            {
                name: np.random.default_rng(i).normal(size=(n, width)).astype(np.float16)
                for name, width in WIDTHS.items()
            }
            for i, n in enumerate(sizes)
        ]
        self._has_windows, self._is_open = has_windows, is_open
        self.windows: dict[tuple[str, bool], Taken] = {}
        self.asked: list[tuple[int, bool]] = []

    def get(self, number: int, output: str, is_random: bool) -> np.ndarray:
        self.asked.append((number, is_random))
        return self.shards[number][output]

    def opened(self, output: str, is_random: bool) -> dict[int, np.ndarray]:
        return {i: shard[output] for i, shard in enumerate(self.shards)} if self._is_open else {}

    def window(self, output: str, is_random: bool) -> Taken | None:
        if self._has_windows and (output, is_random) not in self.windows:
            self.windows[output, is_random] = Taken([shard[output] for shard in self.shards])
        return self.windows.get((output, is_random))

    @property
    def n_taken(self) -> dict[bool, int]:
        """How often windows were asked, by whether at random."""
        return {is_random: len(window.given) for (_, is_random), window in self.windows.items()}

    def rows(self, places: Sequence[tuple[int, int]], outputs: Sequence[str] = ("pooled",), **options: Any) -> Rows:
        """Return the rows of these shards; a shard that is not there holds absent ones."""
        shard, row = np.array(places, np.int64).reshape(-1, 2).T
        # As `ShardSet.find` has it: the number after the last, and row -1.
        present = shard < len(self.shards)
        shard, row = np.where(present, shard, len(self.shards)), np.where(present, row, -1)
        columns = tuple(Column(name, WIDTHS[name], shard.astype(np.uint16), row.astype(np.int32)) for name in outputs)
        return Rows(self, columns, present, np.dtype(np.float16), **options)  # type: ignore[arg-type]

    def vectors(self, places: Sequence[tuple[int, int]], outputs: Sequence[str] = ("pooled",)) -> np.ndarray:
        nothing = {name: np.full(width, np.nan, np.float16) for name, width in WIDTHS.items()}
        rows = [
            np.concatenate([self.shards[s][o][r] if s < len(self.shards) else nothing[o] for o in outputs])
            for s, r in places
        ]
        return np.array(rows, np.float16).reshape(len(places), sum(WIDTHS[name] for name in outputs))


def run_of(shard: int, first: int, n: int) -> list[tuple[int, int]]:
    return [(shard, first + i) for i in range(n)]


SIZES = (6, 1, 9)
stretches = st.tuples(st.integers(0, 3), st.integers(0, 8), st.integers(1, 9)).map(lambda s: run_of(*s))
layouts = st.lists(stretches, max_size=6).map(
    lambda runs: [(s, r) for run in runs for s, r in run if s == 3 or r < SIZES[s]]
)


@pytest.mark.parametrize("options", [{}, {"has_windows": True}, {"is_open": True}])
@pytest.mark.parametrize("n_shards", [1, 2])
@pytest.mark.parametrize("order", [[0, 2, 1, 3], [0, 1, 1, 3], [3, 2, 1, 0], [-1, 0, 1, 2], [1, 1, 1, 1]])
def test_what_looks_like_a_stretch_and_is_none_is_read_row_by_row(
    options: dict[str, bool], n_shards: int, order: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "_RUN", 2)
    maps = Maps([4] * n_shards, **options)
    places = run_of(0, 0, 4) if n_shards == 1 else [(0, 0), (0, 1), (1, 1), (1, 2)]
    expected = maps.vectors(places)[order]
    np.testing.assert_array_equal(maps.rows(places).read(np.array(order)), expected)
    scrambled = maps.rows([places[i] for i in order])
    np.testing.assert_array_equal(scrambled.read(np.arange(4)), expected)


@pytest.mark.parametrize("is_random", [False, True])
@pytest.mark.parametrize("first", [0, 7])
def test_a_stretch_of_32_rows_a_shard_is_one_copy_each_that_is_read_ahead(is_random: bool, first: int) -> None:
    """Fewer are scattered rows like others."""
    before = [(0, 99 - i) for i in range(first)]
    for sizes, is_copied in (([32], True), ([31], False), ([33, 31], True), ([32, 31], False), ([20, 44, 32], True)):
        maps = Maps([100] * 4, has_windows=True)
        places = before + [place for i, n in enumerate(sizes) for place in run_of(i + 1, 5, n)]
        rows = maps.rows([*places, (0, 0)], is_random=is_random)
        indices = np.arange(first, len(places))
        np.testing.assert_array_equal(rows.read(indices), maps.vectors(places)[first:])
        if is_copied:
            assert (maps.asked, maps.n_taken) == ([(i + 1, False) for i in range(len(sizes))], {})
        else:
            assert (maps.asked, maps.n_taken) == ([], {is_random: 1})


def test_a_stretch_to_the_last_row_is_one_copy_and_none_goes_beyond() -> None:
    maps = Maps([40, 1], has_windows=True)
    places = [(1, 0), *run_of(0, 0, 40)]
    rows = maps.rows(places)
    np.testing.assert_array_equal(rows.read(np.arange(4, 41)), maps.vectors(places)[4:])
    assert (maps.asked, maps.n_taken) == ([(0, False)], {})
    with pytest.raises(IndexError):
        rows.read(np.arange(4, 42))


def test_absent_rows_are_nan_and_ask_for_no_shard() -> None:
    maps = Maps([1])
    absent = [(1, 0)] * 40
    for indices in (np.arange(40), np.array([3, 1, 2])):
        assert np.isnan(maps.rows(absent).read(indices)).all() and maps.asked == []


@pytest.mark.parametrize("is_random", [False, True])
def test_scattered_rows_of_many_shards_are_one_take_and_of_one_shard_one_too(is_random: bool) -> None:
    maps = Maps([50, 50], has_windows=True)
    scattered = np.random.default_rng(0).permutation(50)
    many = maps.rows([(i % 2, i) for i in range(50)], is_random=is_random)
    many.read(scattered)
    assert (maps.asked, maps.n_taken) == ([], {is_random: 1})
    one = maps.rows(run_of(1, 0, 50), is_random=is_random)
    one.read(scattered)
    assert (maps.asked, maps.n_taken) == ([(1, is_random)], {is_random: 1})


@pytest.mark.parametrize(("n", "is_given"), [(1, True), (2, True), (4096, True), (4097, False)])
def test_up_to_4096_rows_as_they_are_stored_are_given_as_they_were_taken(n: int, is_given: bool) -> None:
    maps = Maps([50, 50], has_windows=True)
    places = [(i % 2, i % 50) for i in range(4100)]
    rows, indices = maps.rows(places), np.arange(4100)[::-1][:n]
    found = rows.read(indices, dtype=np.float16)
    np.testing.assert_array_equal(found, maps.vectors(places)[indices])
    given = maps.windows["pooled", False].given
    assert (found is given[0]) is is_given and [len(part) for part in given] == ([n] if is_given else [4096, 1])


@pytest.mark.parametrize("n", [7, 8])
def test_rows_are_sorted_by_shard_where_less_than_four_of_one_come_together(n: int) -> None:
    places = [(0, 5), (0, 3), (0, 1), (1, 1), (1, 0), (0, 2), (0, 0), (0, 4)][:n]
    maps = Maps([6, 6])
    np.testing.assert_array_equal(maps.rows(places).read(np.arange(n)), maps.vectors(places))
    assert [number for number, _ in maps.asked] == ([0, 1, 0] if n == 8 else [0, 1])


@pytest.mark.parametrize("is_random", [False, True])
@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("n", [31, 32])
def test_a_run_of_32_rows_among_scattered_ones_is_read_ahead(n: int, is_open: bool, is_random: bool) -> None:
    """A shard that is open is not asked for again to read less."""
    maps = Maps([50, 50], is_open=is_open)
    places = [*run_of(0, 9, n), (1, 4), (1, 2), (1, 1), (1, 0)]
    rows = maps.rows(places[::-1], is_random=is_random)
    indices = np.arange(len(places))[::-1]
    np.testing.assert_array_equal(rows.read(indices, dtype=np.float16), maps.vectors(places))
    scattered = [] if is_open else [(1, is_random)]
    short = [] if is_open else [(0, is_random)]
    assert maps.asked == ([(0, False)] if n == 32 else short) + scattered


@pytest.mark.parametrize("n", [31, 32])
def test_a_run_of_32_rows_in_the_only_shard_is_read_ahead(n: int) -> None:
    maps = Maps([50])
    maps.rows(run_of(0, 0, 50)[::-1], is_random=True).read(np.arange(n)[::-1])
    maps.rows(run_of(0, 0, 50), is_random=True).read(np.arange(n)[::-1])
    assert maps.asked == [(0, n < 32), (0, True)]


def test_rows_are_not_at_random_unless_that_is_asked_for_and_then_stay_so() -> None:
    rows = Maps([3]).rows(run_of(0, 0, 3))
    assert not rows.is_random and rows.at_random().is_random and rows.at_random() is rows.at_random()
    assert rows.at_random().at_random() is rows.at_random() and rows.at_random().select(np.array([0])).is_random
    assert (len(rows), rows.width, rows.is_complete) == (3, 3, True)


def test_out_must_have_the_shape_and_a_dtype_that_holds_what_is_stored() -> None:
    rows = Maps([3]).rows(run_of(0, 0, 3))
    for out in (np.zeros((3, 3), np.int16), np.zeros((2, 3), np.float16), np.zeros((3, 2), np.float16)):
        with pytest.raises(ValueError, match=r"^out is \(\d, \d\) \w+, expected \(3, 3\) of float16 or wider$"):
            rows.read(np.arange(3), out=out)


def test_rows_are_one_thing_that_cannot_be_changed() -> None:
    rows = Maps([3]).rows(run_of(0, 0, 3))
    assert rows == rows and rows != Maps([3]).rows(run_of(0, 0, 3)) and hash(rows) == hash(rows)
    with pytest.raises(FrozenInstanceError):
        rows.is_random = True  # type: ignore[misc]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("outputs", [("pooled",), ("cls", "pooled")])
@pytest.mark.parametrize("options", [{}, {"has_windows": True}, {"is_open": True}])
@given(layouts, st.booleans(), st.data())
def test_rows_are_read_as_they_lie_whichever_way_they_are_read(
    outputs: tuple[str, ...], options: dict[str, bool], dtype: type, places: Any, is_random: bool, data: st.DataObject
) -> None:
    """With few rows a chunk, a run and a shard, so that little data goes every way."""
    maps = Maps(SIZES, **options)
    rows, expected = maps.rows(places, outputs, is_random=is_random), maps.vectors(places, outputs)
    n = len(places)
    pieces = st.tuples(st.integers(-n, n - 1), st.integers(1, n)).map(lambda p: range(p[0], min(p[0] + p[1], n)))
    drawn = data.draw(st.lists(pieces, max_size=4)) if n else []
    indices = np.array(list(chain.from_iterable(drawn)), np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "_CHUNK", 7)
        patch.setattr(rows_module, "_RUN", 3)
        patch.setattr(rows_module, "_FEW", 2)
        found = rows.read(indices, dtype=dtype)
        out = np.zeros_like(found)
        assert rows.read(indices, out=out) is out
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected[indices])
    np.testing.assert_array_equal(out, found)
