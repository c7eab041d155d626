"""Laws of scores with a third outcome: nothing said is nothing right, and is told apart from what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from heads.head.abstention import score_abstaining
from heads.head.metrics import multiclass_metrics


def test_where_nothing_is_unsure_both_scores_are_those_of_classes() -> None:
    rng = np.random.default_rng(0)
    y, said = rng.integers(0, 3, 60), rng.integers(0, 3, 60)
    found = score_abstaining(y, said, 3)
    assert found.without_unsure == multiclass_metrics(y, said, 3)
    assert found.with_unsure == pytest.approx(multiclass_metrics(y, said, 3))
    assert (found.n_unsure, found.decided) == (0, 1.0)


def test_what_is_unsure_is_a_column_and_wrong_with_it_and_gone_without() -> None:
    y, said = np.array([0, 0, 1, 1, 2, 2]), np.array([0, -1, 1, 0, -1, -1])
    found = score_abstaining(y, said, 3)
    assert found.confusion.tolist() == [[1, 0, 0, 1], [1, 1, 0, 0], [0, 0, 0, 2]]
    assert (found.n_unsure, found.decided) == (3, 0.5)
    # F1: real 2/(2 + 2), first generator 2/(2 + 1), second 0 of 2 rows.
    assert found.with_unsure == pytest.approx(
        {"accuracy": 2 / 6, "f1_macro": (1 / 2 + 2 / 3 + 0) / 3, "f1_weighted": (1 / 2 + 2 / 3) / 3}
    )
    assert found.without_unsure == multiclass_metrics(np.array([0, 1, 1]), np.array([0, 1, 0]), 3)


@pytest.mark.parametrize(("y", "decided"), [([0, 1], 0.0), ([], None)])
def test_without_anything_said_scores_are_undefined(y: list[int], decided: float | None) -> None:
    found = score_abstaining(np.array(y, dtype=np.int64), np.full(len(y), -1), 2)
    assert set(found.without_unsure.values()) == {None} and found.decided == decided
    assert found.with_unsure["accuracy"] == (0.0 if y else None)
