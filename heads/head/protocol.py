"""What every head can do, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from heads.data.tasks import IntArray, Targets, Task

if TYPE_CHECKING:
    from heads.data.row_source import RowSource
    from heads.files.contents import Contents

__all__ = ["Device", "Head", "Noting", "Prediction", "Progress"]

FloatArray = NDArray[np.float32]
Device = Literal["cpu", "cuda"]
"""Where heads of kind ``mlp`` are trained."""
Progress = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Prediction:
    """Class probabilities of ``n`` rows.

    Attributes
    ----------
    proba : mapping of task name to float32 array
        ``(n,)`` for a binary task: the probability of its second class. ``(n, K)`` for a multiclass one: rows
        sum to 1; for a conditional task they are conditional on the parent's class, e.g. P(generator | AI).
    """

    proba: Mapping[str, FloatArray]

    def __len__(self) -> int:
        return len(next(iter(self.proba.values())))


class Head(Protocol):
    """A classifier over cached vectors; ``X`` is (n, d) float32, raw (a head standardises for itself)."""

    kind: ClassVar[str]
    tasks: tuple[Task, ...]

    def fit(
        self,
        X: FloatArray,
        targets: Targets,
        *,
        select: tuple[FloatArray, Targets],
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Self:
        """Fit on ``X``, rows in one view; choose epochs, strengths and the like on the rows of ``select`` only.

        By what they are chosen, `heads.head.selecting` says.
        """
        ...

    def fit_rows(
        self,
        source: RowSource,
        targets: Targets,
        fit_rows: IntArray,
        select_rows: IntArray,
        *,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Self:
        """Fit on some rows of a source and choose on others, of both in all their views.

        With several views every task is chosen by its log loss over all of them (`heads.head.selecting`).

        Parameters
        ----------
        source : RowSource
        targets : Targets
            Of all its rows.
        fit_rows, select_rows : int array (n,), (m,)
        seed, progress
            As of `fit`.
        """
        ...

    @property
    def history_(self) -> Sequence[Mapping[str, Any]]:
        """One JSON-able record a step (epoch, boosting round, strength): what was tried and how it scored."""
        ...

    @property
    def n_parameters(self) -> int | None:
        """Numbers that were learnt, the standardisation left out; None where that has no meaning (trees)."""
        ...

    def predict_proba(self, X: FloatArray) -> Prediction:
        """Return the class probabilities of ``X``."""
        ...

    def save(self, folder: Path) -> None:
        """Write the fitted head into an existing empty folder: safetensors, LightGBM text and JSON only."""
        ...

    @classmethod
    def load(cls, contents: Contents) -> Self:
        """Read what `save` wrote; the folder is untrusted."""
        ...


@runtime_checkable
class Noting(Protocol):
    """A fitted head that may have something to say to whoever fitted it."""

    @property
    def notes_(self) -> Sequence[str]:
        """What is better known, a sentence each; none where all is as usual."""
        ...
