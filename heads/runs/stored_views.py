"""Under which views of the pictures a store has what the head of a run takes."""

from __future__ import annotations

from collections.abc import Sequence

from featcache import FeatureStore, FingerprintMismatch
from heads.runs.run import Run
from heads.verdicts.points import BALANCED

__all__ = ["own_view", "readable_views", "stored_views"]


def own_view(run: Run) -> str:
    """Return the view that a head is fitted for: the clean one of a head that looks at captions alone."""
    return run.points[BALANCED].view


def stored_views(run: Run, store: FeatureStore) -> list[str]:
    """Return the views that a store has of all modalities that a run takes, that of the run first."""
    own = own_view(run)
    found: list[Sequence[str]] = [
        store.views(modality, encoder=selection.fingerprint)
        for modality, selection in run.selections.items()
        if modality != "text"
    ]
    shared = [view for view in found[0] if all(view in views for views in found)] if found else [own]
    return [own, *(view for view in shared if view != own)]


def readable_views(run: Run, store: FeatureStore) -> list[str]:
    """Return those of `stored_views` under which all outputs that the head takes are stored."""
    own, *others = stored_views(run, store)
    return [own, *(view for view in others if _has_outputs(run.in_view(view), store))]


def _has_outputs(run: Run, store: FeatureStore) -> bool:
    try:
        for producer in run.record.producers.values():
            store.check(producer.selection, producer.document)
    except FingerprintMismatch:
        return False
    return True
