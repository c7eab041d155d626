"""What is put on record of a head that was fitted."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from featcache import FeatureStore, Selection
from heads.runs.fitting import FittedRun
from heads.runs.record import RunRecord
from heads.runs.run import producers_of

__all__ = ["build_record", "library_versions"]

_LIBRARIES = ("featcache", "numpy", "torch", "scikit-learn", "lightgbm", "safetensors")


def build_record(
    fitted: FittedRun,
    store: FeatureStore,
    *,
    selections: Mapping[str, Selection],
    views: Sequence[str] = (),
    transductive: tuple[str, ...] = (),
    pseudo: Mapping[str, Any] | None = None,
) -> RunRecord:
    """Write down all that identifies a run; the checksums are added when it is saved.

    Parameters
    ----------
    fitted, store, selections
        The result of `fit_run`, and what it was fitted on.
    views, transductive, pseudo
        As of `RunRecord`.
    """
    return RunRecord(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        config=fitted.config,
        tasks=tuple(task.to_json() for task in fitted.head.tasks),
        producers=producers_of(store, selections),
        threshold=fitted.threshold,
        threshold_note=fitted.threshold_note,
        verdicts=fitted.verdicts,
        validation=fitted.validation,
        rows=fitted.rows,
        history=tuple(fitted.head.history_),
        versions=library_versions(),
        source={"cache": str(store.path), "dataset": str(store.dataset)},
        views=tuple(views),
        transductive=transductive,
        pseudo=pseudo,
        folds=None,
        files={},
    )


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of what a head is computed with."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
