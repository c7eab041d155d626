"""The rows of an ablation: those that every fusion can use, in every view; their vectors stay in the store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from featcache import FeatureStore, Selection
from heads.data.features import Features, fit_splits, load_rows
from heads.data.fusion import fusion_modalities
from heads.data.row_source import StoredRows
from heads.data.tasks import IntArray
from heads.errors import HeadsError

__all__ = ["StudyRows"]

_HASHED_ROWS = 512

View = Mapping[str, Selection]


@dataclass(frozen=True)
class StudyRows:
    """Labelled rows of the splits ``train`` and ``valid``; test is never read.

    Attributes
    ----------
    features : Features
        Without vectors.
    store : FeatureStore
    views : tuple of mapping of modality to Selection
        The clean view first: on it heads select and are scored; fitting takes a random one per row and epoch.
    numbers : int array (n,)
        Of the rows in the store.
    n_refused : int
        Rows that were left out: without labels, or without a vector that some fusion needs in some view.
    """

    features: Features
    store: FeatureStore
    views: tuple[View, ...]
    numbers: IntArray
    n_refused: int

    @classmethod
    def load(
        cls, store: FeatureStore, views: Sequence[View], *, fusions: Iterable[str], needs_valid: bool = True
    ) -> StudyRows:
        """Find the rows that all fusions can use.

        Parameters
        ----------
        store : FeatureStore
        views : sequence of mapping of modality to Selection
            As `heads.data.choices.choose_views` returns them.
        fusions : iterable of str
        needs_valid : bool
            Whether there must be a split ``valid``.
        """
        splits = fit_splits(store, needs_valid=needs_valid)
        features, _ = load_rows(store, views, splits=splits)
        numbers = np.concatenate([store.row_numbers(split) for split in splits])
        kept = features.labelled & np.all([features.usable(fusion) for fusion in fusions], axis=0)
        if not kept.any():
            raise HeadsError(f"none of the {len(features)} rows has labels and all vectors that the fusions need")
        # Without vectors: what `load_rows` leaves in the store is not there to be selected from.
        return cls(replace(features, vectors={}).select(kept), store, tuple(views), numbers[kept], int((~kept).sum()))

    def source(self, fusion: str) -> StoredRows:
        """Return the vectors of a fusion in all views."""
        views = [{m: view[m] for m in fusion_modalities(fusion)} for view in self.views]
        return StoredRows(self.store, views, self.numbers)

    def digest(self) -> str:
        """Return a digest of rows, labels and vectors (of a sample of them): what a resumed ablation must share."""
        features = self.features
        digest = hashlib.sha256("\0".join([*features.sample_id, *features.split, *features.group]).encode())
        for task in features.tasks:
            applies = features.targets.applies[task.name]
            digest.update(repr(task).encode() + np.where(applies, features.targets.y[task.name], -1).tobytes())
        source = StoredRows(self.store, self.views, self.numbers)
        sample = np.arange(0, len(features), -(-len(features) // _HASHED_ROWS))
        for view, selections in enumerate(self.views):
            digest.update(repr(sorted(selections.items())).encode() + source.read(sample, view).tobytes())
        return digest.hexdigest()
