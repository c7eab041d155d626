"""From settings and a cache to a new run: which head is meant, which rows it is fitted on, and what is kept of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from featcache import FeatureStore, Selection, parse_memory
from heads.data.choices import choose_views
from heads.data.features import Features
from heads.data.loading import load_fit_rows
from heads.data.row_source import StoredRows
from heads.head.protocol import Device, Progress
from heads.runs.calibration import check_apart, save_fitted
from heads.runs.calibration_rows import check_fit_rows
from heads.runs.crossfit import CrossFit, cross_fit
from heads.runs.default_head import name_head
from heads.runs.fitting import FittedRun, fit_run, parse_config
from heads.runs.members import MemberRuns
from heads.runs.record import TrainConfig
from heads.runs.recording import build_record
from heads.runs.run import Run
from heads.verdicts.guarantees import Demand

__all__ = ["TrainPlan", "TrainRows"]


@dataclass(frozen=True)
class TrainRows:
    """The rows of a store that a head is to be fitted on, selected and calibrated by.

    Attributes
    ----------
    store : FeatureStore
    features : Features
        Without vectors.
    stored : StoredRows
        Theirs, in all views.
    selections : mapping of modality to Selection
        Of the clean view.
    views : tuple of str
        Those to learn from, the clean one first.
    """

    store: FeatureStore
    features: Features
    stored: StoredRows
    selections: Mapping[str, Selection]
    views: tuple[str, ...]


@dataclass(frozen=True)
class TrainPlan:
    """What is to be fitted.

    Attributes
    ----------
    settings : mapping
        What was asked for, as `parse_config` takes it; perhaps without a head.
    config : TrainConfig
        What that means.
    members : MemberRuns
        Fitted runs that are averaged; none as a rule.
    demand : Demand
        Of an operating point.
    folds : int or None
        Heads beside the one on all rows, to estimate scores with.
    device : {"cpu", "cuda"} or None
        Of networks; None: it was not asked for.
    memory : str or None
        Of networks.
    """

    settings: Mapping[str, Any]
    config: TrainConfig
    members: MemberRuns
    demand: Demand
    folds: int | None
    device: Device | None
    memory: str | None

    @classmethod
    def make(
        cls,
        settings: Mapping[str, Any],
        *,
        demand: Demand,
        folds: int | None = None,
        device: Device | None = None,
        memory: str | None = None,
    ) -> Self:
        """Settle what can be before the cache is read; the arguments are the attributes.

        Raises
        ------
        HeadsError
            If settings do not fit together, or a run among the members cannot be one.
        """
        check_apart(demand, folds)
        named = name_head(settings, on_network=device is not None or memory is not None)
        members, named = MemberRuns.find(named, folds=folds)
        config = parse_config(named)
        if memory is not None:
            parse_memory(memory)
        return cls(settings, config, members, demand, folds, device, memory)

    @property
    def further_views(self) -> Sequence[str]:
        """Views that show no more than how views differ."""
        return tuple(self.config.settings.get("invariant_to", ()))

    def read(self, store: FeatureStore, views: Sequence[str], choices: Mapping[str, Mapping[str, str]]) -> TrainRows:
        """Find the rows in some views, the clean one first, with choices of vectors; these stay in the store."""
        further = self.further_views
        selected = choose_views(store, [self.config.fusion], views=[*views, *further], choices=choices)
        features, stored = load_fit_rows(store, selected, n_further=len(further))
        return TrainRows(store, features, stored, selected[0], tuple(views))

    def for_columns(self, n_columns: int) -> TrainPlan:
        """Return the plan with the head that is meant where there are so many columns: the same if one was named."""
        on_network = self.device is not None or self.memory is not None
        meant = name_head(self.settings, on_network=on_network, n_columns=n_columns)
        return self if meant["head"] == self.config.head else replace(self, config=parse_config(meant))

    def fit(self, rows: TrainRows, progress: Progress | None = None) -> tuple[FittedRun, CrossFit | None]:
        """Fit the head, and those of folds; rows that are too few for the demand are refused before."""
        fusion = self.config.fusion
        check_fit_rows(rows.features, fusion, self.demand, dataset=rows.store.dataset, view=rows.views[0])
        fit = partial(fit_run, config=self.config, device=self.device or "cpu", memory=self.memory, progress=progress)
        own = self.members.fitting(rows.features, self.config, rows.selections)
        fitted = fit(rows.features, stored=rows.stored, **own)
        if self.folds is None:
            return fitted, None
        return fitted, cross_fit(rows.features, rows.stored, folds=self.folds, fusion=fusion, fit=fit)

    def save(
        self, rows: TrainRows, fitted: FittedRun, crossed: CrossFit | None, *, out: Path, overwrite: bool = False
    ) -> Run:
        """Calibrate what was fitted for the demand, and write the run's folder."""
        record = build_record(
            fitted,
            rows.store,
            selections=rows.selections,
            views=rows.views if len(rows.views) > 1 else (),
            transductive=self.members.transductive,
        )
        new = Run(out, record, fitted.head, fitted.likeness)
        return save_fitted(new, rows.store, demand=self.demand, crossed=crossed, overwrite=overwrite)
