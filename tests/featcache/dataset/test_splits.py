"""Laws of splits: clusters are kept whole, and neither order, company nor time moves them."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.dataset.splits import assign_splits
from featcache.errors import ManifestError
from featcache.identity.links import clusters

Rows = list[tuple[str | None, int]]
ROWS = st.lists(st.tuples(st.none() | st.sampled_from("abcdefgh"), st.integers(-1, 12)), min_size=1, max_size=40)


def columns(rows: Rows) -> list[object]:
    return [[group for group, _ in rows], np.array([number for _, number in rows], dtype=np.int64)]


@pytest.mark.parametrize(
    ("seed", "named", "numbered"),
    [
        ({}, "rarrrrarrrrrrrearrrrrarr", "rrrererrrararrrrarerraer"),
        ({"seed": 0}, "rarrrrarrrrrrrearrrrrarr", "rrrererrrararrrrarerraer"),
        ({"seed": 3}, "rerrrrrrrrrrrrerrrerrrar", "earearrrrrerarrerarrrarr"),
    ],
)
def test_the_assignment_is_that_of_earlier_versions(seed: dict[str, int], named: str, numbered: str) -> None:
    """Told by the second letters of train, valid and test: rows that changed splits would leak from one to another."""
    unlinked = np.full(24, -1)
    for ids, expected in (([f"s{i}" for i in range(24)], named), (None, numbered)):
        for fractions in ({}, {"fractions": (0.7, 0.15, 0.15)}):
            splits = assign_splits([unlinked], sample_id=ids, **seed, **fractions)
            assert "".join(name[1] for name in splits) == expected


def test_fractions_that_sum_to_a_little_less_than_one_leave_no_row_out() -> None:
    """This id's hash lies above their sum."""
    assert assign_splits([["a"]], sample_id=["s101596"], fractions=(0.7, 0.15, 0.149992)).tolist() == ["test"]


@given(ROWS, st.integers())
def test_no_cluster_crosses_splits(rows: Rows, seed: int) -> None:
    ids = [f"s{i}" for i in range(len(rows))]
    splits = assign_splits(columns(rows), sample_id=ids, seed=seed)
    numbers = clusters(columns(rows))
    for number in set(numbers.tolist()):
        assert len(set(splits[numbers == number].tolist())) == 1


@given(ROWS, st.randoms(use_true_random=False))
def test_permuting_rows_changes_nothing(rows: Rows, random: object) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    ids = [f"s{i}" for i in range(len(rows))]
    splits = assign_splits(columns(rows), sample_id=ids)
    permuted = assign_splits(columns([rows[i] for i in order]), sample_id=[ids[i] for i in order])
    assert permuted.tolist() == splits[order].tolist()


@pytest.mark.slow
@given(ROWS, ROWS)
def test_added_rows_leave_the_clusters_alone_that_they_do_not_join(rows: Rows, added: Rows) -> None:
    ids = [f"s{i}" for i in range(len(rows) + len(added))]
    before = assign_splits(columns(rows), sample_id=ids[: len(rows)])
    after = assign_splits(columns(rows + added), sample_id=ids)
    numbers = clusters(columns(rows + added))
    joined = np.isin(numbers[: len(rows)], numbers[len(rows) :])
    assert after[: len(rows)][~joined].tolist() == before[~joined].tolist()


@pytest.mark.parametrize("fractions", [(0.7, 0.15, 0.15), (0.5, 0.5, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)])
def test_fractions_hold_over_many_clusters(fractions: tuple[float, float, float]) -> None:
    n_rows = 20_000
    unlinked = np.full(n_rows, -1)
    splits = assign_splits([unlinked], sample_id=[f"s{i}" for i in range(n_rows)], fractions=fractions)
    found = [np.mean(splits == name) for name in ("train", "valid", "test")]
    assert found == pytest.approx(fractions, abs=0.015)


def test_another_seed_gives_another_assignment() -> None:
    unlinked = np.full(1000, -1)
    one, other = (assign_splits([unlinked], seed=seed) for seed in (0, 1))
    assert 0.3 < np.mean(one == other) < 0.8


@pytest.mark.slow
def test_the_assignment_does_not_depend_on_the_process() -> None:
    code = (
        "from featcache.dataset.splits import assign_splits; "
        "print(*assign_splits([list('aabcdefgh')], sample_id=list('123456789'), seed=3))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(found) == 1


def test_no_rows_give_no_splits() -> None:
    assert assign_splits([[]]).shape == (0,)


@pytest.mark.parametrize("fractions", [(0.5, 0.5, 0.5), (1.5, -0.5, 0.0), (float("nan"), 0.5, 0.5), (1.0, 0.0)])
def test_fractions_that_are_none_are_refused(fractions: tuple[float, float, float]) -> None:
    with pytest.raises(ManifestError, match="with sum 1"):
        assign_splits([["a"]], fractions=fractions)


def test_as_many_ids_as_rows_are_needed() -> None:
    with pytest.raises(ValueError, match="one id for each of 1 rows"):
        assign_splits([["a"]], sample_id=["x", "y"])
