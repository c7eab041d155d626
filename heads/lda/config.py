"""How linear discriminants are fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from heads.errors import HeadsError
from heads.files.ranges import Range
from heads.head.balance import check_balance
from heads.head.saved import check_settings
from heads.head.view_differences import check_names

__all__ = ["GAMMA", "LABELS", "SHRINKAGE", "LdaConfig"]

LABELS = ("clean", "views")
"""Which views of the training rows count as rows of their class: the clean one, or all that are trained on."""

_MOST = 1000
GAMMA = Range(float, 0, 1e6)
SHRINKAGE = Range(float, 1e-6, 1e6)


@dataclass(frozen=True)
class LdaConfig:
    """How an `LdaHead` is fitted.

    Attributes
    ----------
    gammas : tuple of float
        Weights to choose from, of the differences between views against the covariance within the classes; 0 lets them
        be. The middle one is taken where the clean view alone is trained on: rows of it cannot choose.
    shrinkages : tuple of float
        Values to choose from, of a multiple of the identity that is added to the covariance, in units of the mean
        variance within the classes: scikit-learn's ``shrinkage`` is ``value / (1 + value)``.
    labels : tuple of {"clean", "views"}
        Which views count as rows of their class, to choose from. Rows of views double the time, and gain nothing as a
        rule: their differences say as much.
    invariant_to : tuple of str
        Names of views that show no more than how views differ: neither their labels nor their scores are used.
    balance : {"none", "class"}
        With ``class`` all classes have the same prior, and weigh the same where strengths and temperature are chosen
        (`heads.head.balance`). The covariance, which they have in common, is that of the rows.
    """

    gammas: tuple[float, ...] = (0.0, 0.3, 1.0, 3.0, 10.0)
    shrinkages: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    labels: tuple[str, ...] = LABELS[:1]
    invariant_to: tuple[str, ...] = ()
    balance: str = "none"

    def __post_init__(self) -> None:
        for name, numbers in (("gammas", GAMMA), ("shrinkages", SHRINKAGE)):
            values = getattr(self, name)
            if not 0 < len(values) <= _MOST or not all(map(numbers.holds, values)):
                raise HeadsError(f"{name} are {values!r:.80}, expected 1 to {_MOST} times {numbers}")
        if not self.labels or not all(name in LABELS for name in self.labels):
            raise HeadsError(f"labels are {self.labels!r:.80}, expected some of {', '.join(LABELS)}")
        check_names(self.invariant_to)
        check_balance(self.balance)
        if self.balance == "origin":
            raise HeadsError(
                "balance is 'origin', head lda has 'none' and 'class': take one of these, or --head linear"
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Build from parsed JSON or TOML; unknown keys are refused."""
        check_settings(cls, values, kind="lda")
        lists = {name: given for name, given in values.items() if name != "balance"}
        for name, given in lists.items():
            if not isinstance(given, list | tuple):
                raise HeadsError(f"{name} are {given!r:.80}, expected a list")
        return cls(**{**values, **{name: tuple(given) for name, given in lists.items()}})
