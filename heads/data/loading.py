"""Rows of a store become features: those of some splits, with their vectors or with where these are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from featcache import FeatureStore, Selection
from heads.data.features import Features, features_of
from heads.data.row_source import StoredRows
from heads.data.tasks import IntArray, Task
from heads.errors import HeadsError

__all__ = ["fit_splits", "load_features", "load_fit_rows", "load_labels", "load_rows"]


def load_features(
    store: FeatureStore,
    selections: Mapping[str, Selection],
    *,
    splits: Sequence[str] | None = None,
    tasks: Sequence[Task] | None = None,
) -> Features:
    """Read the rows of some splits, and of no other.

    Parameters
    ----------
    store : FeatureStore
        The open cache.
    selections : mapping of modality to Selection
        Which vectors to read.
    splits : sequence of str, optional
        Default: every row, also those in no split.
    tasks : sequence of Task, optional
        Default: task A and, where the rows of split ``train`` that have all modalities show two generators or
        more, task B over those. Classes of the store are mapped to classes of the tasks by name.
    """
    parts = [store.arrays(split, selections=selections) for split in (splits or (None,))]
    return features_of(parts, selections, tasks=tasks)


def load_rows(
    store: FeatureStore,
    views: Sequence[Mapping[str, Selection]],
    *,
    splits: Sequence[str],
    tasks: Sequence[Task] | None = None,
    n_further: int = 0,
) -> tuple[Features, StoredRows]:
    """Read everything but the vectors, and say where those of several views can be read.

    Parameters
    ----------
    store : FeatureStore
        The open cache.
    views : sequence of mapping of modality to Selection
        For each view what stands for each modality; the first is the clean one.
    splits, tasks
        As of `load_features`.
    n_further : int
        How many of the last views show no more than how views differ.

    Returns
    -------
    features : Features
        Without vectors; a row counts as present if it is in every view.
    rows : StoredRows
        Its row i has the vectors of the i-th of ``features``.
    """
    features, numbers = load_labels(store, views, splits=splits, tasks=tasks)
    return features, StoredRows(store, views, numbers, n_further=n_further)


def load_labels(
    store: FeatureStore,
    views: Sequence[Mapping[str, Selection]],
    *,
    splits: Sequence[str],
    tasks: Sequence[Task] | None = None,
) -> tuple[Features, IntArray]:
    """Read everything but the vectors.

    Parameters
    ----------
    store : FeatureStore
        The open cache.
    views : sequence of mapping of modality to Selection
        The first has all modalities; later ones may have fewer.
    splits, tasks
        As of `load_features`.

    Returns
    -------
    features : Features
        Without vectors; a row counts as present if all selections of that modality have it.
    numbers : int array (n,)
        Of the rows in the store.
    """
    numbers = np.concatenate([store.row_numbers(split) for split in splits])
    present = {
        modality: np.all([store.rows(view[modality]).present[numbers] for view in views if modality in view], axis=0)
        for modality in views[0]
    }
    arrays = replace(store.read(numbers, selections={}), present=present)
    return features_of([arrays], views[0], tasks=tasks), numbers


def load_fit_rows(
    store: FeatureStore, views: Sequence[Mapping[str, Selection]], *, n_further: int = 0
) -> tuple[Features, StoredRows]:
    """Find the rows of splits ``train`` and ``valid`` and no other; their vectors stay in the store (`load_rows`)."""
    return load_rows(store, views, splits=fit_splits(store), n_further=n_further)


def fit_splits(store: FeatureStore, *, needs_valid: bool = True) -> list[str]:
    """Return those of the splits ``train`` and ``valid`` that a store has; raise if one that is needed is not there.

    Without ``needs_valid``, for folds over both, either of them will do.
    """
    splits: list[str] = [name for name in ("train", "valid") if name in store.splits]
    missing = [name for name in ("train", "valid") if name not in splits and (needs_valid or not splits)]
    if missing:
        raise HeadsError(
            f"cache {store.path} has no rows in split {missing[0]!r} (it has: "
            f"{', '.join(store.splits) or 'none'}): name it in the manifest, or leave the split "
            "column out to have one made, and run featcache extract"
        )
    return splits
