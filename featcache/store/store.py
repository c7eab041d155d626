"""Reading a cache: aligned arrays of the vectors of a data set's samples. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from featcache.cache.folder import Cache
from featcache.cache.index import Receipt, load_index
from featcache.cache.samples import SampleTable, StringColumn, read_samples
from featcache.errors import FeatcacheError
from featcache.identity.fingerprint import Fingerprint
from featcache.identity.terms import CLEAN, SPLITS, Content
from featcache.store.arrays import Arrays
from featcache.store.batches import Shuffle, iterate_batches
from featcache.store.rows import Rows
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
from featcache.store.soundness import CheckProgress, Soundness

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from featcache.store.torch_data import FeatureDataset

__all__ = ["Arrays", "FeatureStore", "Selection", "open_store"]


class FeatureStore:
    """The samples of one data set and their cached vectors; read-only, picklable.

    Parameters
    ----------
    cache : Cache
        The folder.
    samples : SampleTable
        The data set.
    soundness : Soundness
        What checks shards before their rows are looked up; by default nothing does.
    """

    def __init__(self, cache: Cache, samples: SampleTable, *, soundness: Soundness | None = None) -> None:
        self.cache = cache
        self.samples = samples
        self._soundness = soundness
        self._sets: dict[tuple[str, str], ShardSet] = {}
        self._rows: dict[Selection, Rows] = {}

    def __getstate__(self) -> dict[str, Any]:
        kept = {"cache": self.cache, "samples": self.samples, "_soundness": self._soundness}
        return kept | {"_sets": {}, "_rows": {}}

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

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """Splits that have samples, in the order train, valid, test."""
        return tuple(s for s in SPLITS if (self.samples.split == s).any())

    @cached_property
    def modalities(self) -> tuple[str, ...]:
        """Modalities of which this cache has a producer."""
        return stored_modalities(self.cache)

    @cached_property
    def sample_id(self) -> NDArray[np.str_]:
        """Names of all samples: (n,)."""
        return self.samples.sample_id.to_array()

    def document(self, fingerprint: str) -> Mapping[str, Any]:
        """Return the document of a producer of this cache."""
        return self._producer(fingerprint).to_document()

    def _producer(self, fingerprint: str) -> Fingerprint:
        if fingerprint not in self.cache.producers:
            known = ", ".join(f.short for f in self.cache.producers.values()) or "none"
            raise FeatcacheError(f"cache {str(self.path)!r} has no producer {fingerprint[:12]!r}; it has: {known}")
        return self.cache.producers[fingerprint]

    @cached_property
    def _receipts(self) -> Mapping[Path, Receipt]:
        return load_index(self.cache)

    def shard_set(self, fingerprint: str, view: str = CLEAN) -> ShardSet:
        """Return the shards of a producer and view, opened once; their digests are not checked (`rows` does that)."""
        if (fingerprint, view) not in self._sets:
            self._sets[fingerprint, view] = ShardSet.open(
                self.cache, self._producer(fingerprint), view, known=self._receipts
            )
        return self._sets[fingerprint, view]

    def select(
        self,
        modality: str,
        *,
        encoder: str | None = None,
        outputs: Outputs | None = None,
        view: str = CLEAN,
    ) -> Selection:
        """Say which vectors of a modality are meant.

        Parameters
        ----------
        modality : {"text", "image", "spectral"}
            What the vectors are.
        encoder : str
            Beginning of a fingerprint, or a model's name. May be left out where the cache has one encoder of the
            modality, or where only one has these outputs, or only one the standard output, in this view.
        outputs : str or sequence of str
            Stored outputs, also ``layers:4-8`` or ``layers:all``. By default the standard one (``cls`` of text,
            ``pooled`` of image), else the only one, else the last layer if there are layers only; all of spectral.
        view : str
            Perturbation.

        Raises
        ------
        FeatcacheError
            If there is no such encoder, view or output, or more than one encoder fits; what there is is listed.
        """
        return choose(self.cache, self._widths, modality, encoder=encoder, outputs=outputs, view=view)

    def _widths(self, fingerprint: str, view: str) -> Mapping[str, int]:
        return self.shard_set(fingerprint, view).widths

    def check(self, selection: Selection, document: Mapping[str, Any]) -> None:
        """Make sure that this store has the vectors that something else was built on.

        Parameters
        ----------
        selection : Selection
            What is needed.
        document : mapping
            Its producer's document, as recorded by whoever needs it.

        Raises
        ------
        FingerprintMismatch
            Naming the fields in which this store's encoder differs.
        """
        check_selection(self.cache, self._widths, selection, document)

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
            picture was perturbed so is left out.

        Raises
        ------
        FeatcacheError
            If that leaves none that is made of pictures.
        """
        return choose_defaults(self.cache, self._widths, view)

    def _selections(self, selections: Mapping[str, Selection] | None, view: str) -> Mapping[str, Selection]:
        if selections is None:
            return self.default_selections(view)
        if view != CLEAN:
            raise FeatcacheError(f"view {view!r} and selections are both given: selections name views themselves")
        return selections

    def rows(self, selection: Selection) -> Rows:
        """Return where the vectors of all samples lie, in the order of the manifest; looked up once a selection.

        Raises
        ------
        ShardError
            If a shard is damaged, and this store checks them.
        """
        if selection not in self._rows:
            shards = self.shard_set(selection.fingerprint, selection.view)
            if self._soundness is not None:
                self._soundness.check(shards.shards, selection.outputs, self._receipts)
            self._rows[selection] = shards.find(selection.outputs, self.samples.keys(selection.content))
            shards.forget_keys()
        return self._rows[selection]

    def row_numbers(self, split: str | None = None) -> NDArray[np.int64]:
        """Return the rows of a split (default: all) in the order of the manifest: (n,).

        Raises
        ------
        FeatcacheError
            If no sample is in that split.
        """
        if split is None:
            return np.arange(len(self))
        rows = np.flatnonzero(self.samples.split == split)
        if not len(rows):
            known = ", ".join(self.splits) or "none"
            raise FeatcacheError(f"data set {self.dataset!r} has no sample in split {split!r}; it has: {known}")
        return rows

    def arrays(
        self, split: str | None = None, *, selections: Mapping[str, Selection] | None = None, view: str = CLEAN
    ) -> Arrays:
        """Read the samples of a split (default: all) in the order of the manifest; see `read`."""
        return self.read(self.row_numbers(split), selections=selections, view=view)

    def gather(
        self, sample_ids: Sequence[str], *, selections: Mapping[str, Selection] | None = None, view: str = CLEAN
    ) -> Arrays:
        """Read samples by name, in the order asked for; see `read`.

        Raises
        ------
        FeatcacheError
            If a name is unknown.
        """
        wanted = np.asarray(sample_ids, dtype=np.str_).reshape(-1)
        order = self._by_name
        position = np.searchsorted(self.sample_id, wanted, sorter=order)
        rows = order[np.minimum(position, len(order) - 1)]
        unknown = np.flatnonzero(self.sample_id[rows] != wanted)
        if len(unknown):
            raise FeatcacheError(
                f"data set {self.dataset!r} has no sample {str(wanted[unknown[0]])!r} ({len(unknown)} unknown in all)"
            )
        return self.read(rows, selections=selections, view=view, is_random=True)

    @cached_property
    def _by_name(self) -> NDArray[np.intp]:
        return np.argsort(self.sample_id, kind="stable")

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
        table = self.samples
        features, present = {}, {}
        for modality, selection in self._selections(selections, view).items():
            places = self.rows(selection)
            features[modality] = (places.at_random() if is_random else places).read(rows)
            present[modality] = places.present[rows]
        return Arrays(
            sample_id=_strings(table.sample_id, rows),
            split=table.split[rows],
            group=_strings(table.group, rows),
            label_a=table.label_a[rows],
            label_b=table.label_b[rows],
            class_names=self.class_names,
            features=features,
            present=present,
            keys={content: table.keys(content)[rows] for content in get_args(Content)},
        )

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
        selections : mapping of modality to Selection
            Which vectors; default: the standard ones.
        view : str
            Instead of selections: the standard vectors of pictures perturbed so.
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
        labels = {
            "label_a": self.samples.label_a[rows].astype(np.int64),
            "label_b": self.samples.label_b[rows].astype(np.int64),
        }
        features = {m: self.rows(s).select(rows).at_random() for m, s in chosen.items()}
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


def _strings(column: StringColumn, rows: NDArray[np.integer]) -> NDArray[np.str_]:
    # A whole column is decoded faster at once, a batch row by row.
    if 4 * len(rows) > len(column):
        return np.asarray(column.to_array()[rows])
    return np.array([column[row] for row in rows.tolist()], dtype=np.str_).reshape(len(rows))


def open_store(
    path: str | Path,
    *,
    dataset: str | None = None,
    check: bool = False,
    remember: bool = True,
    progress: CheckProgress | None = None,
) -> FeatureStore:
    """Open a cache for reading.

    Parameters
    ----------
    path : path
        The cache folder.
    dataset : str
        Which of its data sets; may be left out where there is one only.
    check : bool
        Read through the shards of a selection, checking all their digests, before its rows are first looked up: once,
        as fast as SHA-256 goes, which is remembered in the cache until a file looks different. Damage is then refused
        (`ShardError`) instead of read. By default nothing is read but what is asked for, and of damaged vectors only
        those are noticed whose file has another size or head: `featcache verify --deep` finds the others.
    remember : bool
        Whether what a check found is written into the cache: not into one that only somebody else's file names.
    progress : callable
        Called with (bytes checked, bytes to check) while that lasts.

    Raises
    ------
    FeatcacheError
        If the folder is no cache, or the data set is not there or not clear.
    ShardError
        If a file of the cache is damaged.
    """
    cache = Cache.open(path)
    names = cache.datasets
    if dataset is None and len(names) == 1:
        dataset = names[0]
    if dataset is None or dataset not in names:
        asked = "which data set is meant" if dataset is None else f"no data set {dataset!r}"
        raise FeatcacheError(
            f"cache {str(path)!r}: {asked}; it has: {', '.join(names) or 'none yet'} (option --dataset)"
        )
    soundness = Soundness(cache.path, remember=remember, progress=progress) if check else None
    return FeatureStore(cache, read_samples(cache.sample_path(dataset)), soundness=soundness)
