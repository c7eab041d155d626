"""Which rows a run may be calibrated on: labelled valid rows that its head neither learned nor chose by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from featcache import FeatcacheError, FeatureStore, Selection, link_rows, open_store, shared_rows
from heads.data.division import divide_validation
from heads.data.features import BoolArray, Features
from heads.data.fusion import check_fusion
from heads.data.loading import load_labels
from heads.data.row_source import StoredRows
from heads.data.tasks import IntArray, joint_tasks
from heads.errors import HeadsError
from heads.files.places import is_same, is_there
from heads.runs.run import Run
from heads.verdicts.draws import BudgetedRows
from heads.verdicts.guarantees import Demand, check_enough

__all__ = ["CalibrationRows", "check_fit_rows", "own_rows"]

_OWN, _OTHER = "calibrating", "valid"
_CONDITION = "if none of these pictures was trained on, which nobody could check"


@dataclass(frozen=True)
class CalibrationRows:
    """Labelled rows to calibrate on, by sample_id, and where their vectors are.

    Attributes
    ----------
    features : Features
        Without vectors. By sample_id: what is drawn of them does not depend on the order of a manifest.
    source : StoredRows
        Its row i has the vectors of the i-th of ``features``.
    dataset, part, view : str
        As of `BudgetedRows`.
    n_refused, n_shared, note
        As of `heads.runs.calibration.Calibration`.
    """

    features: Features
    source: StoredRows
    dataset: str
    part: str
    view: str
    n_refused: int
    n_shared: int
    note: str | None

    def __len__(self) -> int:
        return len(self.features)

    @property
    def is_own(self) -> bool:
        """Whether these are of the run's own validation."""
        return self.part == _OWN

    @property
    def groups(self) -> IntArray:
        """Which rows are not independent."""
        return link_rows(self.features)

    @property
    def budgeted(self) -> BudgetedRows:
        """The labels of those rows whose label of task A is known."""
        rows = _budgeted(self.features, dataset=self.dataset, part=self.part, view=self.view)
        return replace(rows, note=self.condition)

    @property
    def condition(self) -> str:
        """On what a promise depends because it could not be found out; blank where all was."""
        return _CONDITION if self.note else ""

    @classmethod
    def find(cls, run: Run, store: FeatureStore, *, view: str | None) -> CalibrationRows:
        """Find the calibrating rows of a run in its own data set, or all valid rows of another that it has not seen.

        Raises
        ------
        FingerprintMismatch
            If the store has no vectors of the producer, view and outputs that the head takes.
        HeadsError
            If validation is no longer that of the run, or no row is left.
        """
        chosen = run.in_view(view) if view else run
        selections = chosen.selections
        _check_store(chosen, store)
        features, numbers = load_labels(store, [selections], splits=("valid",), tasks=run.tasks)
        own = own_rows(run, store)
        meant = features.labelled if own is None else own
        usable = features.usable(run.fusion)
        shared, note = _seen_rows(run, features, store) if own is None else (~meant, None)
        n_refused, n_shared = int((meant & ~usable).sum()), int((meant & usable & shared).sum())
        kept = np.flatnonzero(meant & usable & ~shared)
        if not len(kept):
            raise HeadsError(
                f"none of the {int(meant.sum())} labelled valid rows of {store.dataset!r:.80} can be calibrated on: "
                f"{n_refused} have no vector in this view, {n_shared} share a picture, caption or group with rows that "
                "the head was fitted or selected on"
            )
        kept = kept[np.argsort(features.sample_id[kept], kind="stable")]
        source, part = StoredRows(store, [selections], numbers[kept]), _OTHER if own is None else _OWN
        about = (store.dataset, part, _view_of(selections))
        return cls(features.select(kept), source, *about, n_refused, n_shared, note)


def check_fit_rows(features: Features, fusion: str, demand: Demand, *, dataset: str, view: str) -> None:
    """Raise if the rows that a head is to be fitted with leave too few for its budgets: before it is fitted.

    Parameters
    ----------
    features : Features
        Of the splits ``train`` and ``valid``.
    fusion : str
    demand : Demand
    dataset, view : str
        For what is said.
    """
    if not demand.budgets:
        return
    valid = features.select((features.split == "valid") & features.usable(fusion) & features.labelled)
    part = valid.select(divide_validation(valid).calibrating)
    check_enough(_budgeted(part, dataset=dataset, part=_OWN, view=view), demand)


def _check_store(run: Run, store: FeatureStore) -> None:
    check_fusion(run.fusion, store.modalities, where=f"cache {store.path}", is_fitted=True)
    for producer in run.record.producers.values():
        store.check(producer.selection, producer.document)
    if "valid" not in store.splits:
        raise HeadsError(
            f"data set {store.dataset!r:.80} of cache {store.path} has no rows in split 'valid', and a run is "
            "calibrated on no others: give rows of the manifest the split 'valid', and run featcache extract"
        )


def own_rows(run: Run, store: FeatureStore) -> BoolArray | None:
    """Return which valid rows of a store are the calibrating ones of a run; None if the store has other rows.

    Raises
    ------
    HeadsError
        If it has the run's own data set, and validation is not what it was; or if nobody can tell.
    """
    own = Path(run.record.source["cache"])
    if store.dataset != run.record.source["dataset"]:
        return None
    is_source = is_same(store.path, own)
    views = [run.selections, *(run.in_view(view).selections for view in run.record.views)]
    try:
        features, _ = load_labels(store, views, splits=("valid",), tasks=run.tasks)
    except FeatcacheError:
        if is_source:
            raise
        return None
    used = np.flatnonzero(features.usable(run.fusion) & features.labelled)
    expected = run.record.validation.get("digest")
    if len(used):
        division = divide_validation(features.select(used), rule=run.record.division_rule)
        if division.digest == expected:
            mask = np.zeros(len(features), np.bool_)
            mask[used[division.calibrating]] = True
            return mask
    if is_source or not is_there(own):
        raise HeadsError(
            f"the validation rows of {store.dataset!r:.80} in cache {store.path} are not those that {run.path} was "
            f"selected on (expected digest {str(expected)[:12]}): calibrate on another --dataset, or train a new head"
        )
    return None


def _seen_rows(run: Run, features: Features, store: FeatureStore) -> tuple[BoolArray, str | None]:
    """Return which rows share a picture, caption or group with those that a head was fitted or selected on."""
    source = _source(run, store)
    seen = np.zeros(len(features), np.bool_)
    if source is None:
        return seen, (
            f"cache {run.record.source['cache']} is not there: whether the head was fitted on some of these rows is "
            "not known, and if it was, nothing is guaranteed"
        )
    for split in ("train", "valid", *run.record.transductive):
        if split in source.splits:
            seen |= shared_rows(features, source.arrays(split, selections={}))
    return seen, None


def _source(run: Run, store: FeatureStore) -> FeatureStore | None:
    """Return the data set that a head was fitted on: from its cache, or from the one that is given if it moved there.

    A data set of another cache is the run's own only if its validation is.
    """
    dataset = run.record.source["dataset"]
    try:
        return open_store(run.record.source["cache"], dataset=dataset, remember=False)
    except (FeatcacheError, OSError):
        pass
    try:
        moved = open_store(store.path, dataset=dataset, remember=False)
        return moved if own_rows(run, moved) is not None else None
    except (FeatcacheError, HeadsError, OSError):
        return None


def _view_of(selections: Mapping[str, Selection]) -> str:
    views = {selection.view for modality, selection in selections.items() if modality != "text"}
    return min(views, default="clean")


def _budgeted(features: Features, *, dataset: str, part: str, view: str) -> BudgetedRows:
    a = joint_tasks(features.tasks)[0].name
    known = features.targets.applies[a]
    origins = None if features.origin is None else features.origin[known]
    return BudgetedRows(features.targets.y[a][known], link_rows(features)[known], origins, dataset, part, view)
