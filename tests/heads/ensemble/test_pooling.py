"""Laws of the mean of predictions."""

from __future__ import annotations

import numpy as np
import pytest

from heads.ensemble.pooling import pool
from heads.head.protocol import FloatArray, Prediction
from tests.heads.rows import TASKS


def say(a: list[float], b: list[list[float]]) -> Prediction:
    return Prediction({"a": np.array(a, dtype=np.float32), "b": np.array(b, dtype=np.float32)})


def pooled(*members: Prediction) -> tuple[FloatArray, FloatArray]:
    found = pool(members, TASKS).proba
    return found["a"], found["b"]


def test_logits_are_averaged_and_so_are_log_probabilities() -> None:
    a, b = pooled(say([0.9], [[0.8, 0.1, 0.1]]), say([0.2], [[0.2, 0.4, 0.4]]))
    assert a == pytest.approx([0.6], abs=1e-6)  # odds 9 and 1/4: their geometric mean is 3/2
    shares = np.sqrt([0.16, 0.04, 0.04])
    np.testing.assert_allclose(b[0], shares / shares.sum(), atol=1e-6)


def test_members_that_agree_are_left_as_they_are() -> None:
    one = say([0.3, 0.999], [[0.7, 0.2, 0.1], [0.1, 0.0, 0.9]])
    a, b = pooled(one, one, one)
    np.testing.assert_allclose(a, one.proba["a"], atol=1e-6)
    np.testing.assert_allclose(b, one.proba["b"], atol=1e-6)


def test_what_one_member_rules_out_is_unlikely_and_what_all_rule_out_is_zero() -> None:
    a, b = pooled(say([0.0, 1.0], [[0.0, 1.0, 0.0]] * 2), say([0.9, 0.9], [[0.5, 0.5, 0.0]] * 2))
    assert np.isfinite(a).all() and 0 < a[0] < 0.01 and 0.99 < a[1] < 1
    np.testing.assert_allclose(b.sum(axis=1), 1, atol=1e-6)
    assert (b[:, 2] == 0).all() and (b[:, 0] > 0).all() and (b[:, 0] < 0.001).all()


def test_members_that_rule_each_other_out_leave_a_distribution() -> None:
    a, b = pooled(say([0.0], [[1.0, 0.0, 0.0]]), say([1.0], [[0.0, 1.0, 0.0]]))
    assert a == pytest.approx([0.5], abs=1e-6)
    np.testing.assert_allclose(b, [[0.5, 0.5, 0]], atol=1e-6)
