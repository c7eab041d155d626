"""The course of one head's training: its record, its best epoch, and when it is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from heads.mlp.config import MlpConfig

__all__ = ["Course"]


class Course:
    """What is kept of a head while it trains.

    Parameters
    ----------
    config : MlpConfig
    n_rows : int
        That it learns from.

    Attributes
    ----------
    history : list of mapping
        One record an epoch: ``epoch`` (from 1), ``loss`` (mean over the batches), ``select_loss``, ``score``,
        ``merit``.
    best_epoch : int
        Largest ``merit``, then lowest ``select_loss``, then earliest; 0 if there was none.
    best : mapping
        The weights of that epoch.
    diverged : int or None
        The epoch in which a loss was not finite.
    seconds : float
        This head's share of the time of its pack.
    """

    def __init__(self, config: MlpConfig, n_rows: int, *, weights: Mapping[str, Tensor]) -> None:
        self._config = config
        self._epochs = config.count_epochs(n_rows)
        self._steps = -(-n_rows // config.batch_size)
        self._best_key = (-np.inf, -np.inf)
        self.history: list[Mapping[str, Any]] = []
        self.best_epoch, self.best = 0, weights
        self.diverged: int | None = None
        self.seconds = 0.0

    @property
    def is_over(self) -> bool:
        """Whether this head has trained for the last time."""
        epoch, config = len(self.history), self._config
        if self.diverged is not None or epoch >= self._epochs:
            return True
        is_patient = config.patience is None or epoch - self.best_epoch < config.patience
        return not is_patient and epoch * self._steps >= config.min_steps

    def record(
        self,
        loss: float,
        select_loss: float,
        *,
        judge: Callable[[], Mapping[str, float]],
        weights: Callable[[], Mapping[str, Tensor]],
    ) -> None:
        """Note an epoch.

        Parameters
        ----------
        loss, select_loss : float
        judge : callable
            Returns ``score`` and ``merit``; called if the losses are finite.
        weights : callable
            Returns the head's parameters; called if the epoch is the best so far.
        """
        epoch = len(self.history) + 1
        if not np.isfinite([loss, select_loss]).all():
            self.diverged = epoch
        else:
            judged = judge()
            self.history.append({"epoch": epoch, "loss": loss, "select_loss": select_loss, **judged})
            key = judged["merit"], -select_loss
            if key > self._best_key:
                self._best_key, self.best_epoch, self.best = key, epoch, weights()
