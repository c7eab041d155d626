"""The mean of predictions: of logits where there are two classes, of log probabilities where there are more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, softmax

from heads.data.tasks import Task
from heads.head.protocol import FloatArray, Prediction

__all__ = ["FLOOR", "pool"]

FLOOR = 1e-7
"""Probabilities below it count as it, those above 1 - it as that: no member alone can rule a class out."""


def pool(predictions: Sequence[Prediction], tasks: Sequence[Task]) -> Prediction:
    """Return the geometric means of the members' probabilities, made to sum to 1; all members weigh the same.

    This is the product rule of J. Kittler, M. Hatef, R. P. W. Duin, J. Matas, "On Combining Classifiers", IEEE TPAMI
    20(3), 1998, with the mean in the place of the sum of logs, so that members that agree are not made surer than they
    are. A class to which every member gives exactly 0 has 0.
    """
    proba: dict[str, FloatArray] = {}
    for task in tasks:
        members = np.stack([prediction.proba[task.name] for prediction in predictions]).astype(np.float64)
        proba[task.name] = (_pool_two if task.kind == "binary" else _pool_many)(members)
    return Prediction(proba)


def _pool_two(members: NDArray[np.float64]) -> FloatArray:
    """Pool probabilities of the second class (members, n)."""
    return np.asarray(expit(logit(np.clip(members, FLOOR, 1 - FLOOR)).mean(axis=0)), dtype=np.float32)


def _pool_many(members: NDArray[np.float64]) -> FloatArray:
    """Pool probabilities of all classes (members, n, K)."""
    logs = np.log(np.maximum(members, FLOOR)).mean(axis=0)
    logs[(members == 0).all(axis=0)] = -np.inf
    return np.asarray(softmax(logs, axis=1), dtype=np.float32)
