"""The cache that a run was fitted on: looked up for what a run does not keep, and never written."""

from __future__ import annotations

from pathlib import Path

from featcache import FeatcacheError, FeatureStore, open_store
from heads.data.fusion import check_fusion
from heads.errors import HeadsError
from heads.files.places import is_same, is_there
from heads.runs.run import Run

__all__ = ["open_training"]

_ADVICE = "name the folder where it is now: --train-cache DIR"


def open_training(run: Run, given: Path | None = None, *, at_hand: FeatureStore | None = None) -> FeatureStore:
    """Open the data set that a run was fitted on; digests are not checked, as nothing is decided by what is read.

    Parameters
    ----------
    run : Run
        It names the cache and the data set.
    given : Path, optional
        Where the cache is now.
    at_hand : FeatureStore, optional
        A store that is open already, with the vectors of the run: taken if it is this data set, or if it has one of
        that name and the cache of the run is not there.

    Raises
    ------
    HeadsError
        If there is no such cache or data set, or its vectors are not those of the run's encoders, outputs and views.
    """
    own, dataset = Path(run.record.source["cache"]), run.record.source["dataset"]
    try:
        if given is None and at_hand is not None and _is_own(at_hand, own, dataset):
            return _check(run, at_hand)
        if is_there(given or own):
            return _check(run, open_store(given or own, dataset=dataset))
    except (FeatcacheError, OSError) as error:
        raise HeadsError(f"the training cache of run {run.path} cannot be used: {error}; {_ADVICE}") from error
    raise HeadsError(f"the training cache {given or own} of run {run.path} is not there: {_ADVICE}")


def _is_own(store: FeatureStore, own: Path, dataset: str) -> bool:
    return store.dataset == dataset and (not is_there(own) or is_same(store.path, own))


def _check(run: Run, store: FeatureStore) -> FeatureStore:
    check_fusion(run.fusion, store.modalities, where=f"cache {store.path}", is_fitted=True)
    for each in (run, *map(run.in_view, run.record.views)):
        for producer in each.record.producers.values():
            store.check(producer.selection, producer.document)
    return store
