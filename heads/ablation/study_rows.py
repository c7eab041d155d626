"""The rows of an ablation: those that every fusion can use, in every view; their vectors stay in the store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np

from featcache import FeatureStore, Selection
from heads.ablation.grid import Cell
from heads.data.columns import Columns
from heads.data.features import Features
from heads.data.fusion import fusion_modalities
from heads.data.loading import fit_splits, load_labels
from heads.data.row_source import StoredRows
from heads.data.tasks import IntArray
from heads.errors import HeadsError

__all__ = ["StudyRows"]

_HASHED_ROWS = 512

View = Mapping[str, Selection]
ComparedOutputs = Mapping[str, Mapping[str, Sequence[Selection]]]


@dataclass(frozen=True)
class StudyRows:
    """Labelled rows of the splits ``train`` and ``valid``; test is never read.

    Attributes
    ----------
    features : Features
        Without vectors.
    store : FeatureStore
    views : tuple of mapping of modality to Selection
        The clean view first: on it heads are scored; they fit on a random one per row and epoch and select on all.
    numbers : int array (n,)
        Of the rows in the store.
    n_refused : int
        Rows that were left out: without labels, or without a vector that some fusion needs in some view.
    outputs : mapping of modality to mapping of str to sequence of Selection
        Where outputs are compared: what stands for the modality in each view, by the request of outputs. ``views`` has
        the first.
    """

    features: Features
    store: FeatureStore
    views: tuple[View, ...]
    numbers: IntArray
    n_refused: int
    outputs: ComparedOutputs = field(default_factory=dict)

    @classmethod
    def load(
        cls,
        store: FeatureStore,
        views: Sequence[View],
        *,
        fusions: Iterable[str],
        outputs: ComparedOutputs | None = None,
        needs_valid: bool = True,
    ) -> StudyRows:
        """Find the rows that all fusions can use.

        Parameters
        ----------
        store : FeatureStore
        views : sequence of mapping of modality to Selection
            As `heads.data.choices.choose_views` returns them.
        fusions : iterable of str
        outputs : mapping of modality to mapping of str to sequence of Selection, optional
            As `heads.data.choices.choose_outputs` returns them; rows need all of these vectors.
        needs_valid : bool
            Whether there must be a split ``valid``.
        """
        splits = fit_splits(store, needs_valid=needs_valid)
        others = [
            {modality: selection}
            for modality, requests in (outputs or {}).items()
            for selection in chain.from_iterable(requests.values())
        ]
        features, numbers = load_labels(store, [*views, *others], splits=splits)
        kept = features.labelled & np.all([features.usable(fusion) for fusion in fusions], axis=0)
        if not kept.any():
            raise HeadsError(f"none of the {len(features)} rows has labels and all vectors that the fusions need")
        # Without vectors: what `load_labels` leaves in the store is not there to be selected from.
        features, n_refused = replace(features, vectors={}).select(kept), int((~kept).sum())
        return cls(features, store, tuple(views), numbers[kept], n_refused, outputs or {})

    def source(self, cell: Cell) -> StoredRows:
        """Return the vectors of a cell's fusion in all views."""
        return StoredRows(self.store, self._views(cell), self.numbers)

    def columns(self, cell: Cell) -> Columns:
        """Return what stands where in the vectors of a cell."""
        return Columns.of_selections(self._views(cell)[0])

    def _views(self, cell: Cell) -> list[View]:
        """Return what stands for each modality of a cell's fusion, in each view."""
        chosen = {m: self.outputs[m][request] for m, request in cell.outputs if request is not None}
        return [
            {m: chosen[m][place] if m in chosen else view[m] for m in fusion_modalities(cell.fusion)}
            for place, view in enumerate(self.views)
        ]

    def digest(self) -> str:
        """Return a digest of rows, labels and vectors (of a sample of them): what a resumed ablation must share."""
        features = self.features
        digest = hashlib.sha256("\0".join([*features.sample_id, *features.split, *features.group]).encode())
        for task in features.tasks:
            applies = features.targets.applies[task.name]
            digest.update(repr(task).encode() + np.where(applies, features.targets.y[task.name], -1).tobytes())
        sample = np.arange(0, len(features), -(-len(features) // _HASHED_ROWS))
        compared = [
            [{modality: selection} for selection in selections]
            for modality, requests in self.outputs.items()
            for selections in requests.values()
        ]
        for views in (self.views, *compared):
            source = StoredRows(self.store, views, self.numbers)
            for view, selections in enumerate(views):
                digest.update(repr(sorted(selections.items())).encode() + source.read(sample, view).tobytes())
        return digest.hexdigest()
