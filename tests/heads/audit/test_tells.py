"""Laws of tells: what says the class is found, what does not is not, and no row is scored by its own group."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from featcache import FeatureStore
from heads.audit.evidence import Vectors, Words, cross_fit
from heads.audit.facts import count_origins, file_facts, origins_of
from heads.audit.rows import AuditRows, read_rows
from heads.audit.tells import find_tells
from heads.data.folds import Part
from heads.data.tasks import BoolArray, IntArray, Task
from heads.errors import HeadsError
from tests.heads.audit.made_up import with_facts, with_files, write_store

A = Task("a", "binary", ("real", "ai"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return write_store(tmp_path_factory.mktemp("audit") / "cache")


@pytest.fixture(scope="module")
def rows(store: FeatureStore) -> AuditRows:
    return read_rows(store)


@dataclass
class Asked:
    """Evidence that is asked: its scores are the number of the call, the same for all rows of a fold."""

    known: BoolArray
    name: str = "asked"
    varies: bool = True
    parts: list[Part] = field(default_factory=list)

    def predict(self, task: Task, y: IntArray, part: Part) -> np.ndarray:
        self.parts.append(part)
        n = len(part.score_rows)
        return np.column_stack([np.zeros(n), *(np.full(n, len(self.parts)) for _ in task.classes[1:])])


def test_rows_of_test_and_without_a_label_are_not_there(store: FeatureStore, rows: AuditRows) -> None:
    assert {*store.samples.split[rows.numbers].tolist()} == {"train", "valid"}
    assert (len(rows), rows.n_groups, rows.splits) == (300, 50, ("train", "valid"))
    unlabelled = store.samples.label_a.copy()
    unlabelled[:60] = -1
    kept = read_rows(with_facts(store, label_a=unlabelled))
    assert len(kept) == 240 and kept.numbers.min() == 60
    with pytest.raises(HeadsError, match="none of the 300 rows of train and valid is known to be real or AI"):
        read_rows(with_facts(store, label_a=np.full(len(store), -1, np.int8)))


def test_a_row_is_scored_by_what_was_learnt_of_other_groups(rows: AuditRows) -> None:
    asked = Asked(np.arange(len(rows)) % 7 > 0)
    scores = cross_fit(asked, rows, A)
    assert np.array_equal(~np.isnan(scores[:, 0]), asked.known)
    for part in asked.parts:
        learnt, scored = (rows.groups[each] for each in (np.r_[part.fit_rows, part.select_rows], part.score_rows))
        assert not {*learnt.tolist()} & {*scored.tolist()}
    assert sum(len(part.score_rows) for part in asked.parts) == asked.known.sum()


def test_scores_of_two_folds_are_not_compared(rows: AuditRows) -> None:
    (of_a, of_b) = find_tells([Asked(np.ones(len(rows), np.bool_))], rows)
    assert (of_a.found.estimate, of_a.chance, of_a.p_value, of_a.tells) == (0.5, 0.5, 1, False)
    # The same generator is said of all rows: that is what chance is.
    assert of_b.found.estimate == pytest.approx(of_b.chance) and not of_b.tells


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("size", "picture sizes"),
        ("format", "file formats"),
        ("bytes", "bytes per pixel"),
        ("exif", "EXIF data"),
        ("origin", "origins"),
    ],
)
def test_the_fact_that_says_the_class_tells_it_and_no_other_does(
    store: FeatureStore, rows: AuditRows, told: str, name: str
) -> None:
    own = with_files(store, told)
    origins = origins_of(own, rows)
    assert origins is not None and count_origins(own, rows) == {"real": 2, "ai": 2, "both": 2}
    found = find_tells([*file_facts(own, rows), origins], rows)
    assert len(found) == 10 and {tell.fact for tell in found if tell.tells} == {name}
    (tell,) = [each for each in found if each.tells]
    assert (tell.task, tell.figure, tell.n) == ("a", "auc", 300)
    assert tell.found.low < tell.found.estimate and tell.found.estimate > 0.8 and tell.p_value < 0.001
    for other in found:
        assert other is tell or abs(other.found.estimate - other.chance) < 0.12


def test_generators_are_told_by_macro_f1(store: FeatureStore, rows: AuditRows) -> None:
    side = (100 + 10 * np.maximum(store.samples.label_b, 0)).astype(np.uint32)
    (of_a, of_b) = find_tells([next(file_facts(with_facts(store, width=side, height=side), rows))], rows)
    assert (of_b.figure, of_b.n, of_b.found.estimate, of_b.tells) == ("f1_macro", 250, 1.0, True)
    assert of_b.chance == pytest.approx(0.2) and of_a.found.estimate == 1


def test_few_groups_are_never_sure(store: FeatureStore) -> None:
    is_ai = store.samples.label_a == 1
    few = np.isin(store.samples.split, ["train"]) & (np.arange(len(store)) < 5 * 6)
    label_a = np.where(few, store.samples.label_a, -1).astype(np.int8)
    side = np.where(is_ai, 512, 640).astype(np.uint32)
    own = with_facts(store, label_a=label_a, width=side, height=side)
    (tell,) = [each for each in find_tells([*file_facts(own, read_rows(own))][:1], read_rows(own)) if each.task == "a"]
    assert tell.found.estimate == 1 and tell.p_value > 0.05 and not tell.tells


def test_a_word_that_was_never_learnt_says_nothing_however_few_rows_a_class_has() -> None:
    y = np.array([0, *[1] * 9, 0, 1])
    words = Words("words", np.ones(12, np.bool_), np.arange(12), np.array([0, *[1] * 9, 2, 2]), 3)
    part = Part(np.arange(6), np.arange(6, 10), np.array([10, 11]))
    scores = words.predict(A, y, part)
    assert (scores[:, 0] == scores[:, 1]).all()
    known = words.predict(A, y, Part(np.arange(6), np.arange(6, 10), np.array([0, 1])))
    assert known[0, 0] > known[0, 1] and known[1, 0] < known[1, 1]


def test_what_is_the_same_in_all_rows_does_not_vary() -> None:
    known = np.array([True, True, False])
    same, other = np.array([1, 1, 2]), np.array([1, 2, 2])
    assert [Words.of_columns("", known, [each]).varies for each in (same, other)] == [False, True]
    X = np.array([[1, 2], [1, 2], [3, 4]], np.float32)
    assert [Vectors("", each, X).varies for each in (known, ~known | known)] == [False, True]


def test_facts_that_the_cache_has_not_looked_at_are_not_made_up(tmp_path: Path, rows: AuditRows) -> None:
    store = write_store(tmp_path / "cache")
    (size,) = file_facts(store, rows)
    assert not size.known.any() and origins_of(store, rows) is None


@pytest.mark.slow
def test_facts_that_are_drawn_are_seldom_called_tells(rows: AuditRows) -> None:
    known, p_values = np.ones(len(rows), np.bool_), []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        drawn = [rng.integers(0, n, len(rows)) for n in (2, 8, 30)]
        for name, columns in (("two", drawn[:1]), ("many", drawn[1:])):
            p_values += [tell.p_value for tell in find_tells([Words.of_columns(name, known, columns)], rows)]
    # Of the two tasks, measured together and adjusted, one in twenty is to be below in one of them.
    assert (np.reshape(p_values, (-1, 2)).min(axis=1) < 0.05).mean() < 0.08
