"""Maps from raw scores to probabilities: a logistic one for task A, a temperature for task B, and a prior.

A head's raw P(AI) stands for the share of AI rows that it was fitted on. The map of A turns its log-odds into the
evidence for AI (a log-likelihood ratio, of no prior); evidence and the log-odds of a prior make a probability. Rankings
and verdicts never depend on any of this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heads.data.tasks import Task, joint_tasks
from heads.errors import HeadsError
from heads.files.ranges import Range
from heads.head.protocol import Prediction

__all__ = ["PRIOR", "RAW", "LogisticMap", "ProbabilityMaps", "log_odds", "parse_maps"]

PRIOR = Range(float, 1e-6, 1 - 1e-6)
"""What a share of AI can be."""
_SLOPE, _INTERCEPT, _TEMPERATURE = Range(float, 1e-3, 1e3), Range(float, -1e3, 1e3), Range(float, 1e-2, 1e2)
_LEAST = 1e-7
Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class LogisticMap:
    """Evidence for AI, ``slope * log_odds(raw) + intercept``: the log-odds of AI where half of the pictures are AI.

    Attributes
    ----------
    slope : float
        Positive: a map keeps the order of scores.
    intercept : float
    """

    slope: float
    intercept: float

    def __post_init__(self) -> None:
        _SLOPE.check(self.slope, "slope of the map of A")
        _INTERCEPT.check(self.intercept, "intercept of the map of A")


@dataclass(frozen=True)
class ProbabilityMaps:
    """How raw scores become probabilities; without maps and at the prior of training they are as the head gave them.

    Attributes
    ----------
    prior : float or None
        Share of AI rows that raw P(AI) stands for, and at which probabilities are given unless another is asked for.
        None: unknown (early runs), and no other can be asked for.
    a : LogisticMap or None
        Of P(AI); None where raw scores were as good.
    b : float or None
        Temperature of P(generator | AI), by which log-probabilities are divided; None likewise.
    """

    prior: float | None = None
    a: LogisticMap | None = None
    b: float | None = None

    def __post_init__(self) -> None:
        if self.prior is not None:
            PRIOR.check(self.prior, "prior")
        elif self.a is not None:
            raise HeadsError("a map of A needs the prior that it is used at, found none")
        if self.b is not None:
            _TEMPERATURE.check(self.b, "temperature of B")

    def apply(self, prediction: Prediction, tasks: Sequence[Task], *, prior: float | None = None) -> Prediction:
        """Return the probabilities of rows, float32, at a prior; the default is that of training."""
        a, b = joint_tasks(tasks)
        proba = {a.name: self.p_ai(prediction.proba[a.name], prior=prior).astype(np.float32)}
        if b is not None:
            proba[b.name] = self.p_generator(prediction.proba[b.name])
        return Prediction(proba)

    def p_ai(self, raw: ArrayLike, *, prior: float | None = None) -> Float64Array:
        """Return P(AI) of raw scores, or of a threshold on them: increasing in ``raw``.

        Raises
        ------
        HeadsError
            If a prior is asked for and the run does not know which one its raw scores stand for.
        """
        scores = np.asarray(raw, dtype=np.float64)
        if prior is not None:
            PRIOR.check(prior, "prior")
            if self.prior is None:
                raise HeadsError(
                    "this run does not record the share of AI rows that it was fitted on, so that its P(AI) cannot be "
                    "moved to another prior: fit it again"
                )
        if self.a is None and (prior is None or prior == self.prior):
            return scores
        wanted = self.prior if prior is None else prior
        assert wanted is not None
        return 1 / (1 + np.exp(-(self.evidence(scores) + log_odds(wanted))))

    def p_generator(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return P(generator | AI) of raw probabilities, both (n, K)."""
        return raw if self.b is None else _cool(raw, self.b)

    def evidence(self, raw: ArrayLike) -> Float64Array:
        """Return the log-likelihood ratio of AI to real that raw scores stand for."""
        if self.a is not None:
            return self.a.slope * log_odds(raw) + self.a.intercept
        if self.prior is None:
            raise HeadsError("raw scores of an unknown prior are no evidence: fit the run again")
        return log_odds(raw) - log_odds(self.prior)

    def to_json(self) -> dict[str, Any]:
        """Return the object that stands in ``run.json``."""
        return asdict(self)


RAW = ProbabilityMaps()
"""Of early runs: scores are all there is."""


def log_odds(p: ArrayLike) -> Float64Array:
    """Return ``log(p / (1 - p))``; what lies within 1e-7 of 0 or 1, where float32 ends, counts as that."""
    bounded = np.clip(np.asarray(p, dtype=np.float64), _LEAST, 1 - _LEAST)
    return np.asarray(np.log(bounded) - np.log1p(-bounded))


def parse_maps(fields: Mapping[str, Any], where: str) -> ProbabilityMaps:
    """Read what `ProbabilityMaps.to_json` wrote; it is not trusted."""
    of_a = fields.get("a")
    is_sound = set(fields) == {"prior", "a", "b"} and (
        of_a is None or (isinstance(of_a, dict) and set(of_a) == {"slope", "intercept"})
    )
    if not is_sound:
        raise HeadsError(f"{where} has malformed maps: {fields!r:.80}")
    return ProbabilityMaps(fields["prior"], of_a and LogisticMap(**of_a), fields["b"])


def _cool(proba: NDArray[np.floating[Any]], temperature: float) -> NDArray[np.float32]:
    """Divide log-probabilities by a temperature; what is impossible stays impossible."""
    with np.errstate(divide="ignore"):
        logits = np.log(proba.astype(np.float64)) / temperature
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), dtype=np.float32)
