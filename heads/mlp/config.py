"""How a network head is built and trained; loads no framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from heads.data.fusion import FUSIONS
from heads.errors import HeadsError
from heads.files.ranges import FINITE, Range
from heads.head.balance import BALANCES
from heads.head.saved import check_settings

__all__ = ["MlpConfig"]

_LEAST_EPOCHS = 50
_CHOICES = {
    "loss": ("multitask", "paper", "joint"),
    "select_by": ("all", "paper"),
    "fusion": tuple(FUSIONS),
    "balance": BALANCES,
}
_FEW = Range(int, 1, 10**6)
_RATE = Range(float, 0, FINITE)
_RANGES = {
    "dim": Range(int, 1, 65_536),
    "components": Range(int, 0, 2**20),
    "batch_size": Range(int, 1, 2**31),
    "epochs": _FEW,
    "patience": _FEW,
    "min_steps": Range(int, 0, 10**9),
    "weight": _RATE,
    "contrast": _RATE,
    "lr": _RATE,
    "weight_decay": _RATE,
}
_OPTIONAL = ("epochs", "patience")


@dataclass(frozen=True)
class MlpConfig:
    """How an `MlpHead` is built and trained.

    Attributes
    ----------
    dim : int
        Width of the hidden layer (of each, where the fusion has several).
    components : int
        Principal axes of each modality's standardised columns to which these are turned for training, where there are
        as many; 0 trains on the columns as they are. Fusions that map each output alike always do. Saved heads take
        raw columns either way.
    loss : {"multitask", "paper", "joint"}
        See `heads.mlp.losses`.
    weight : float
        λ of the conditional tasks; the joint loss has none.
    contrast : float
        ξ: so many times `heads.mlp.losses.contrastive_loss` of the hidden units is added in training. RINE
        takes 0.1 to 0.2.
    lr, weight_decay : float
        Of AdamW.
    batch_size : int
    epochs : int or None
        None: 50, or as many as make ``min_steps`` steps.
    patience : int or None
        Stop after so many epochs without a better one; None never stops early.
    min_steps : int
        Patience does not end training before so many steps of the optimiser: on little data an epoch is one or two
        of them, and says nothing. On 42,000 rows it is 3 epochs, fewer than the patience.
    select_by : {"all", "paper"}
        By which the epoch is chosen: `heads.head.selecting.joint_merit` of all tasks, or A's binary F1 alone.
    fusion : str
        A key of `heads.data.fusion.FUSIONS`: the network, and the columns that it takes.
    balance : {"none", "class", "origin"}
        What weighs the same in the loss (`heads.head.balance`).
    """

    dim: int = 512
    components: int = 1024
    loss: Literal["multitask", "paper", "joint"] = "multitask"
    weight: float = 1.0
    contrast: float = 0.0
    lr: float = 1e-3
    weight_decay: float = 0.01
    batch_size: int = 256
    epochs: int | None = None
    patience: int | None = 8
    min_steps: int = 500
    select_by: Literal["all", "paper"] = "all"
    fusion: str = "concat"
    balance: str = "none"

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise HeadsError(f"{name} is {getattr(self, name)!r:.80}, expected one of {', '.join(known)}")
        for name, numbers in _RANGES.items():
            value = getattr(self, name)
            if not (name in _OPTIONAL and value is None):
                numbers.check(value, name)

    @classmethod
    def paper(cls) -> Self:
        """Return the settings of NAU-QMUL's published code (but its encoders stay frozen)."""
        return cls(components=0, loss="paper", lr=2e-5, epochs=8, patience=None, select_by="paper")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Build from parsed JSON or TOML; unknown keys are refused."""
        check_settings(cls, values, kind="mlp")
        return cls(**values)

    def count_epochs(self, n_rows: int) -> int:
        """Return the most epochs that a fit on so many rows takes."""
        steps = -(-n_rows // self.batch_size)
        return self.epochs if self.epochs is not None else max(_LEAST_EPOCHS, -(-self.min_steps // steps))
