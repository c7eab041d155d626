"""Reading a cache: aligned arrays of the vectors of a data set's samples. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.folder import Cache
from featcache.cache.samples import SampleTable
from featcache.errors import FeatcacheError
from featcache.identity.terms import CLEAN
from featcache.store.arrays import Arrays
from featcache.store.batches import Shuffle, iterate_batches
from featcache.store.lookup import Lookup
from featcache.store.rows import Rows
from featcache.store.sample_rows import SampleRows
from featcache.store.selection import (
    Outputs,
    Selection,
    check_selection,
    choose,
    choose_defaults,
    find_producers,
    stored_modalities,
    stored_views,
)
from featcache.store.shard_set import ShardSet
from featcache.store.soundness import Soundness

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from featcache.store.torch_data import FeatureDataset

__all__ = ["FeatureStore"]


class FeatureStore:
    """The samples of one data set and their cached vectors; read-only, picklable.

    Parameters
    ----------
    cache : Cache
        The cache whose vectors are read.
    samples : SampleTable
        The table of the data set.
    soundness : Soundness
        What checks shards before their rows are looked up; by default nothing does.
    """

    def __init__(self, cache: Cache, samples: SampleTable, *, soundness: Soundness | None = None) -> None:
        self.cache = cache
        self.samples = samples
        self._soundness = soundness

    def __getstate__(self) -> dict[str, Any]:
        return {"cache": self.cache, "samples": self.samples, "_soundness": self._soundness}

    @cached_property
    def _lookup(self) -> Lookup:
        return Lookup(self.cache, self.samples, self._soundness)

    @cached_property
    def _sample_rows(self) -> SampleRows:
        return SampleRows(self.samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __repr__(self) -> str:
        return f"FeatureStore({str(self.path)!r}, dataset={self.dataset!r}, {len(self)} samples)"

    @property
    def path(self) -> Path:
        """The cache folder."""
        return self.cache.path

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self.samples.dataset

    @property
    def class_names(self) -> tuple[str, ...]:
        """``("real", generator, …)``."""
        return self.samples.class_names

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that have samples, in the order train, valid, test."""
        return self._sample_rows.splits

    @cached_property
    def modalities(self) -> tuple[str, ...]:
        """Modalities of which this cache has a producer."""
        return stored_modalities(self.cache)

    @property
    def sample_id(self) -> NDArray[np.str_]:
        """Names of all samples: (n,)."""
        return self._sample_rows.names

    def document(self, fingerprint: str) -> Mapping[str, Any]:
        """Return the document of a producer of this cache."""
        return self._lookup.producer(fingerprint).to_document()

    def shard_set(self, fingerprint: str, view: str = CLEAN) -> ShardSet:
        """Return the shards of a producer and view, opened once; their digests are not checked (`rows` does that)."""
        return self._lookup.shard_set(fingerprint, view)

    def select(
        self, modality: str, *, encoder: str | None = None, outputs: Outputs | None = None, view: str = CLEAN
    ) -> Selection:
        """Say which vectors of a modality are meant.

        Parameters
        ----------
        modality : {"text", "image", "spectral"}
            What the vectors are to be.
        encoder : str
            Beginning of a fingerprint, or a model's name. May be left out where the cache has one encoder of the
            modality, or where only one has these outputs, or only one the standard output, in this view.
        outputs : str or sequence of str
            Stored outputs, also ``layers:4-8`` or ``layers:all``. By default the standard one (``cls`` of text,
            ``pooled`` of image), else the only one, else the last layer if there are layers only; all of spectral.
        view : str
            Perturbation under which the contents were encoded.

        Raises
        ------
        FeatcacheError
            If there is no such encoder, view or output, or more than one encoder fits; what there is is listed.
        """
        return choose(self.cache, self._lookup.widths, modality, encoder=encoder, outputs=outputs, view=view)

    def check(self, selection: Selection, document: Mapping[str, Any]) -> None:
        """Make sure that this store has the vectors that something else was built on.

        Parameters
        ----------
        selection : Selection
            The vectors that are needed.
        document : mapping
            Its producer's document, as recorded by whoever needs it.

        Raises
        ------
        FingerprintMismatch
            Naming the fields in which this store's encoder differs.
        """
        check_selection(self.cache, self._lookup.widths, selection, document)

    def views(self, modality: str, *, encoder: str | None = None) -> tuple[str, ...]:
        """Return the views of which vectors of a modality are stored, the clean one first.

        Parameters
        ----------
        modality : {"text", "image", "spectral"}
            What the vectors are.
        encoder : str
            Beginning of a fingerprint, or a model's name; default: all encoders.
        """
        return stored_views(self.cache, find_producers(self.cache, modality, encoder))

    def default_selections(self, view: str = CLEAN) -> Mapping[str, Selection]:
        """Return one selection a modality, by the rules of `select`.

        Parameters
        ----------
        view : str
            Perturbation of pictures. Captions have none: they are selected as they are. A modality of which no
            picture was perturbed so is left out; FeatcacheError if that leaves none that is made of pictures.
        """
        return choose_defaults(self.cache, self._lookup.widths, view)

    def _selections(self, selections: Mapping[str, Selection] | None, view: str) -> Mapping[str, Selection]:
        if selections is None:
            return self.default_selections(view)
        if view != CLEAN:
            raise FeatcacheError(f"view {view!r} and selections are both given: selections name views themselves")
        return selections

    def rows(self, selection: Selection) -> Rows:
        """Return where the vectors of all samples lie, in the order of the manifest; looked up once a selection.

        ShardError if a shard is damaged, and this store checks them.
        """
        return self._lookup.rows(selection)

    def row_numbers(self, split: str | None = None) -> NDArray[np.int64]:
        """Return the rows of a split (default: all) in the order of the manifest: (n,); FeatcacheError if none is."""
        return self._sample_rows.of_split(split)

    def arrays(
        self, split: str | None = None, *, selections: Mapping[str, Selection] | None = None, view: str = CLEAN
    ) -> Arrays:
        """Read the samples of a split (default: all) in the order of the manifest; see `read`."""
        return self.read(self.row_numbers(split), selections=selections, view=view)

    def gather(
        self, sample_ids: Sequence[str], *, selections: Mapping[str, Selection] | None = None, view: str = CLEAN
    ) -> Arrays:
        """Read samples by name, in the order asked for; see `read`. FeatcacheError if a name is unknown."""
        rows = self._sample_rows.of_names(sample_ids)
        return self.read(rows, selections=selections, view=view, is_random=True)

    def read(
        self,
        rows: NDArray[np.integer],
        *,
        selections: Mapping[str, Selection] | None = None,
        view: str = CLEAN,
        is_random: bool = False,
    ) -> Arrays:
        """Read samples by row number, in the order asked for.

        Parameters
        ----------
        rows : (n,) int
            Row numbers in the order of the manifest.
        selections : mapping of modality to Selection
            Which vectors; default: the standard ones.
        view : str
            Instead of selections: the standard vectors of pictures perturbed so, as `default_selections` has them.
        is_random : bool
            Whether the rows are scattered, so that reading ahead would be in vain.
        """
        features: dict[str, NDArray[np.float32]] = {}
        present = {}
        for modality, selection in self._selections(selections, view).items():
            places = self.rows(selection)
            features[modality] = (places.at_random() if is_random else places).read(rows)
            present[modality] = places.present[rows]
        return self._sample_rows.arrays(rows, features, present)

    def batches(
        self,
        split: str | None = None,
        *,
        batch_size: int,
        shuffle: Shuffle | None = None,
        seed: int = 0,
        selections: Mapping[str, Selection] | None = None,
        view: str = CLEAN,
    ) -> Iterator[Arrays]:
        """Go once over the samples of a split (default: all) in bounded memory.

        Parameters
        ----------
        split : str
            ``train``, ``valid`` or ``test``.
        batch_size : int
            Rows of a batch; the last may be shorter.
        shuffle : {"global", "block"}
            ``global``: a permutation of all rows, each read where it lies. ``block``: blocks of rows in random order,
            mixed within a window that is held in memory; for stores on slow disks. Default: the manifest's order.
        seed : int
            The same seed gives the same order.
        selections, view
            Which vectors to read, as `read` takes them.
        """
        read = partial(self.read, selections=self._selections(selections, view))
        rows = self.row_numbers(split)
        return iterate_batches(read, rows, batch_size=batch_size, shuffle=shuffle, seed=seed)

    def torch_dataset(
        self, split: str | None = None, *, selections: Mapping[str, Selection] | None = None, view: str = CLEAN
    ) -> FeatureDataset:
        """Return a map-style data set for torch's DataLoader that reads whole batches at once."""
        from featcache.store.torch_data import FeatureDataset

        rows, chosen = self.row_numbers(split), self._selections(selections, view)
        features = {m: self.rows(s).select(rows).at_random() for m, s in chosen.items()}
        labels = self._sample_rows.labels(rows)
        return FeatureDataset(labels, features, sample_ids=self.samples.sample_id, rows=rows)

    def to_arrow(
        self, split: str | None = None, *, selections: Mapping[str, Selection] | None = None, view: str = CLEAN
    ) -> pa.Table:
        """Return a pyarrow table: sample columns, and one fixed-size list of float32 a modality."""
        from featcache.store.frames import arrow_table

        return arrow_table(self.arrays(split, selections=selections, view=view))

    def to_pandas(
        self, split: str | None = None, *, selections: Mapping[str, Selection] | None = None, view: str = CLEAN
    ) -> pd.DataFrame:
        """Return a pandas frame: sample columns, and one column of float32 vectors a modality."""
        from featcache.store.frames import pandas_frame

        return pandas_frame(self.arrays(split, selections=selections, view=view))
