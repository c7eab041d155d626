"""How boosted trees are fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from heads.files.ranges import Range
from heads.head.balance import check_balance
from heads.head.saved import check_settings

__all__ = ["GbdtConfig"]

_FEW = 2**24  # values of a matrix
_COMPONENTS = 512
_LEAF_ROWS = 20
_SHARE = Range(float, 0, 1, is_open=True)
_OPTIONAL = ("components", "min_data_in_leaf")
_RANGES = {
    "rounds": Range(int, 1, 10_000),
    "patience": Range(int, 1, 10_000),
    "num_leaves": Range(int, 2, 4096),
    "min_data_in_leaf": Range(int, 1, 2**31 - 1),
    "max_bin": Range(int, 2, 65_535),
    "components": Range(int, 0, 4096),
    "num_threads": Range(int, 1, 1024),
    "learning_rate": _SHARE,
    "feature_fraction": _SHARE,
}


@dataclass(frozen=True)
class GbdtConfig:
    """LightGBM's settings, under its names where it has them.

    Trees pay for every column and every value that it can take. Many rows are learnt from as 512 components in 63 bins,
    15 % of them a tree. Few rows are cheap as they are, and the better for it where classes differ in directions of
    little variance.

    Attributes
    ----------
    rounds : int
        Most boosting rounds; each is one tree for A and one a generator for B.
    patience : int
        Stop after so many rounds without a lower loss on the select rows; the best round is kept.
    min_data_in_leaf : int or None
        None: 20, or a quarter of the rows of a task where that is fewer, at least 1.
    feature_fraction : float
        Share of the components, or columns, that a tree may use.
    components : int or None
        Principal components of the standardised columns to learn from, where there are more columns than that; 0
        stands for the columns as they are. None: 0 for a matrix of up to 16 million values, else 512.
    num_threads : int
        At most; never more than the machine's processors, and one for a small matrix. The trees do not depend on it.
    balance : {"none", "class", "origin"}
        What weighs the same in the loss (`heads.head.balance`).
    """

    rounds: int = 100
    patience: int = 20
    learning_rate: float = 0.15
    num_leaves: int = 31
    min_data_in_leaf: int | None = None
    max_bin: int = 63
    feature_fraction: float = 0.15
    components: int | None = None
    num_threads: int = 4
    balance: str = "none"

    def __post_init__(self) -> None:
        for name, numbers in _RANGES.items():
            value = getattr(self, name)
            if not (name in _OPTIONAL and value is None):
                numbers.check(value, name)
        check_balance(self.balance)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Build from parsed JSON or TOML; unknown keys are refused."""
        check_settings(cls, values, kind="gbdt")
        return cls(**values)

    def components_for(self, shape: tuple[int, ...]) -> int:
        """Return how many components a matrix (n, d) is learnt from; 0: its columns as they are."""
        n, d = shape
        wanted = (0 if n * d <= _FEW else _COMPONENTS) if self.components is None else self.components
        return wanted if wanted < d else 0

    def leaf_rows_for(self, n_rows: int) -> int:
        """Return the least rows of a leaf, for a task of so many rows.

        Measured on 30 to 2,400 pictures of 8 generators: leaves as small as the smallest class asks for overfit.
        """
        return self.min_data_in_leaf or max(1, min(_LEAF_ROWS, n_rows // 4))
