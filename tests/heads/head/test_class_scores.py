"""Laws of scores: a factor makes them the likeliest probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from heads.head.class_scores import fit_factor


def test_the_factor_is_the_one_of_the_lowest_log_loss() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(20_000, 3)) * 2
    y = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)  # drawn from the softmax of the logits
    for scale in (0.01, 1, 50):
        assert fit_factor(logits / scale, y) == pytest.approx(scale, rel=0.05)


def test_scores_that_are_never_wrong_get_a_finite_factor() -> None:
    assert np.isfinite(fit_factor(np.eye(3), np.arange(3)))
