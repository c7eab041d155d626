"""How much of an ablation is done, and how long the rest may take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from heads.ablation.study import Trial
from heads.head.protocol import Progress

__all__ = ["Clock"]


class Clock:
    """Tells a callback where the work stands; see `heads.ablation.ablation.ablate`."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress, self._start = progress, time.monotonic()
        self._cost = self._total = 0.0
        self._n_done = self._n_total = 0

    def plan(self, trials: Sequence[Trial], cost: Callable[[Trial], float]) -> None:
        """Add work that is to be done."""
        self._total += sum(cost(trial) for trial in trials)
        self._n_total += sum(len(trial.cells) for trial in trials)

    def tell(self, trial: Trial, epoch: int | None = None) -> None:
        """Report where the work stands."""
        if self._progress is None:
            return
        elapsed = time.monotonic() - self._start
        rest = elapsed * (self._total / self._cost - 1) if self._cost else None
        cell = trial.cells[0]
        what = f"{cell.head} {cell.name}" + (f" {cell.control}" if cell.control else "") + f", seed {trial.seed}"
        record = {"done": self._cost, "total": self._total, "n_done": self._n_done, "n_total": self._n_total}
        self._progress({**record, "what": what, "epoch": epoch, "eta": rest})

    def say(self, what: str, epoch: int | None = None) -> None:
        """Report work of which nobody knows how much there is."""
        if self._progress is not None:
            none: dict[str, float] = dict.fromkeys(("done", "total", "n_done", "n_total"), 0)
            self._progress({**none, "what": what, "epoch": epoch, "eta": None})

    def finish(self, trial: Trial, cost: float) -> None:
        """Count a trial as done."""
        self._cost += cost
        self._n_done += len(trial.cells)
        self.tell(trial)
