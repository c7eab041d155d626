"""How pictures are judged, and what is told of them beside the verdict."""

from __future__ import annotations

from dataclasses import dataclass

from heads.head.protocol import FloatArray
from heads.runs.neighbours import Neighbour, TrainingRows

__all__ = ["JudgeOptions"]


@dataclass(frozen=True)
class JudgeOptions:
    """What decides, and what is told beside it.

    Attributes
    ----------
    point : str or None
        Name of the operating point that decides; None: the run's own choice.
    prior : float or None
        Share of AI pictures at which probabilities are given; None: that of the rows that were fitted.
    abstain_novel : bool
        Whether pictures that are unlike those of training are unsure.
    training : TrainingRows or None
        Where neighbours are looked for; None: none are named.
    n_neighbours : int
        How many of each picture.
    """

    point: str | None = None
    prior: float | None = None
    abstain_novel: bool = False
    training: TrainingRows | None = None
    n_neighbours: int = 0

    def neighbours(self, X: FloatArray) -> list[tuple[Neighbour, ...]] | None:
        """Return the neighbours of rows (m, d), the nearest first; None where none are asked for."""
        return None if self.training is None else self.training.nearest(X, self.n_neighbours)
