"""Reading a cache: aligned arrays of the vectors of a data set's samples. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache import CLEAN, Cache
from featcache.errors import FeatcacheError, FingerprintMismatch
from featcache.fingerprint import Fingerprint, check_same
from featcache.samples import SampleTable, read_samples
from featcache.shardset import ShardSet

if TYPE_CHECKING:
    from featcache.torch_data import FeatureDataset

__all__ = ["Arrays", "FeatureStore", "Selection", "open_store"]

MODALITIES = ("text", "image")
_DEFAULT_OUTPUTS = {"text": "cls", "image": "pooled"}


@dataclass(frozen=True)
class Selection:
    """Which stored vectors of one modality are meant.

    Attributes
    ----------
    modality : {"text", "image"}
        Side of the sample.
    fingerprint : str
        Digest of the producer, 64 hex digits.
    view : str
        Perturbation.
    outputs : tuple of str
        Named vectors, concatenated in this order.
    widths : tuple of int
        Columns of each.
    """

    modality: str
    fingerprint: str
    view: str
    outputs: tuple[str, ...]
    widths: tuple[int, ...]


@dataclass(frozen=True)
class Arrays:
    """Aligned rows of one data set.

    Attributes
    ----------
    sample_id, split, group : (n,) str
        ``split`` is ``""`` for samples in none, ``group`` where none was given.
    label_a : (n,) int8
        0 real, 1 AI, -1 unknown.
    label_b : (n,) int16
        0 real, k for ``class_names[k]``, -1 unknown.
    class_names : tuple of str
        ``("real", generator, …)``.
    features : mapping of modality to (n, d) float32
        Raw vectors; a row is NaN where the sample has none.
    present : mapping of modality to (n,) bool
        Which rows are not NaN.
    keys : mapping of modality to (n, 32) uint8
        Content keys of both sides, whatever is selected; zeros where the sample has no content on that side.
    """

    sample_id: NDArray[np.str_]
    split: NDArray[np.str_]
    group: NDArray[np.str_]
    label_a: NDArray[np.int8]
    label_b: NDArray[np.int16]
    class_names: tuple[str, ...]
    features: Mapping[str, NDArray[np.float32]]
    present: Mapping[str, NDArray[np.bool_]]
    keys: Mapping[str, NDArray[np.uint8]]

    def __len__(self) -> int:
        return len(self.label_a)


class FeatureStore:
    """The samples of one data set and their cached vectors; read-only, picklable.

    Parameters
    ----------
    cache : Cache
        The folder.
    samples : SampleTable
        The data set.
    """

    def __init__(self, cache: Cache, samples: SampleTable) -> None:
        self.cache = cache
        self.samples = samples
        self._sets: dict[tuple[str, str], ShardSet] = {}

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
        return tuple(s for s in ("train", "valid", "test") if (self.samples.split == s).any())

    @cached_property
    def modalities(self) -> tuple[str, ...]:
        """Modalities of which this cache has a producer."""
        found = {f.modality for f in self.cache.producers.values()}
        return tuple(m for m in MODALITIES if m in found)

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

    def shard_set(self, fingerprint: str, view: str = CLEAN) -> ShardSet:
        """Return the shards of a producer and view, opened once."""
        if (fingerprint, view) not in self._sets:
            self._sets[fingerprint, view] = ShardSet.open(self.cache, self._producer(fingerprint), view)
        return self._sets[fingerprint, view]

    def select(
        self,
        modality: str,
        *,
        encoder: str | None = None,
        outputs: Sequence[str] | None = None,
        view: str = CLEAN,
    ) -> Selection:
        """Say which vectors of a modality are meant.

        Parameters
        ----------
        modality : {"text", "image"}
            Side of the sample.
        encoder : str
            Beginning of a fingerprint, or a model's name; may be left out where the cache has one encoder only.
        outputs : sequence of str
            Stored outputs; by default the standard one (``cls`` of text, ``pooled`` of image), else the only one.
        view : str
            Perturbation.

        Raises
        ------
        FeatcacheError
            If there is no such encoder, view or output, or more than one encoder fits; what there is is listed.
        """
        producers = [f for f in self.cache.producers.values() if f.modality == modality]
        if encoder is not None:
            producers = [f for f in producers if f.digest.startswith(encoder) or f.model_name == encoder]
        if len(producers) != 1:
            raise FeatcacheError(self._choice(modality, encoder, len(producers)))
        fingerprint = producers[0]
        widths = self.shard_set(fingerprint.digest, view).widths
        if outputs is None:
            default = _DEFAULT_OUTPUTS[modality]
            outputs = (default,) if default in widths or len(widths) != 1 else tuple(widths)
        unknown = [name for name in outputs if name not in widths]
        if unknown or not outputs:
            raise FeatcacheError(
                f"{modality} encoder {fingerprint.short} ({fingerprint.model_name}), view {view!r}, has no output "
                f"{(unknown or ['(none named)'])[0]!r}; it has: {', '.join(widths) or 'nothing yet'}"
            )
        return Selection(modality, fingerprint.digest, view, tuple(outputs), tuple(widths[n] for n in outputs))

    def _choice(self, modality: str, encoder: str | None, n_found: int) -> str:
        known = [f"{f.short} ({f.model_name})" for f in self.cache.producers.values() if f.modality == modality]
        if not known:
            return f"cache {str(self.path)!r} has no {modality} features"
        asked = (
            f"{modality} encoder {encoder!r} fits {n_found}"
            if encoder
            else f"there are {len(known)} {modality} encoders"
        )
        return f"cache {str(self.path)!r}: {asked}, expected exactly one; it has: {', '.join(known)}"

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
        if selection.fingerprint not in self.cache.producers:
            wanted = Fingerprint.from_document(document, f"of {selection.modality} features")
            for found in self.cache.producers.values():
                if found.modality == selection.modality:
                    check_same(wanted, found, f"{selection.modality} features of cache {str(self.path)!r}")
            raise FingerprintMismatch(f"cache {str(self.path)!r} has no {selection.modality} features")
        widths = self.shard_set(selection.fingerprint, selection.view).widths
        for name, width in zip(selection.outputs, selection.widths, strict=True):
            if widths.get(name) != width:
                raise FingerprintMismatch(
                    f"{selection.modality} output {name!r}, view {selection.view!r}, has {widths.get(name, 0)} columns "
                    f"in cache {str(self.path)!r}, expected {width}"
                )

    def default_selections(self) -> Mapping[str, Selection]:
        """Return one selection a modality that has vectors, by the rules of `select`."""
        return {modality: self.select(modality) for modality in self.modalities}

    def arrays(self, split: str | None = None, *, selections: Mapping[str, Selection] | None = None) -> Arrays:
        """Read the samples of a split (default: all) in the order of the manifest.

        Raises
        ------
        FeatcacheError
            If no sample is in that split.
        """
        rows = np.arange(len(self)) if split is None else np.flatnonzero(self.samples.split == split)
        if split is not None and not len(rows):
            known = ", ".join(self.splits) or "none"
            raise FeatcacheError(f"data set {self.dataset!r} has no sample in split {split!r}; it has: {known}")
        return self._read(rows, selections)

    def gather(self, sample_ids: Sequence[str], *, selections: Mapping[str, Selection] | None = None) -> Arrays:
        """Read samples by name, in the order asked for.

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
        return self._read(rows, selections)

    @cached_property
    def _by_name(self) -> NDArray[np.intp]:
        return np.argsort(self.sample_id, kind="stable")

    def _read(self, rows: NDArray[np.integer], selections: Mapping[str, Selection] | None) -> Arrays:
        table = self.samples
        features, present = {}, {}
        keys = {modality: table.keys(modality)[rows] for modality in MODALITIES}
        for modality, selection in (self.default_selections() if selections is None else selections).items():
            shards = self.shard_set(selection.fingerprint, selection.view)
            vectors, found = shards.gather(selection.outputs, keys[modality])
            features[modality], present[modality] = vectors, found
        return Arrays(
            sample_id=self.sample_id[rows],
            split=table.split[rows],
            group=table.group.to_array()[rows],
            label_a=table.label_a[rows],
            label_b=table.label_b[rows],
            class_names=self.class_names,
            features=features,
            present=present,
            keys=keys,
        )

    def torch_dataset(
        self, split: str | None = None, *, selections: Mapping[str, Selection] | None = None
    ) -> FeatureDataset:
        """Return a map-style data set for torch's DataLoader that reads whole batches at once."""
        from featcache.torch_data import FeatureDataset

        rows = np.arange(len(self)) if split is None else np.flatnonzero(self.samples.split == split)
        return FeatureDataset(self, rows, self.default_selections() if selections is None else selections)


def open_store(path: str | Path, *, dataset: str | None = None) -> FeatureStore:
    """Open a cache for reading.

    Parameters
    ----------
    path : path
        The cache folder.
    dataset : str
        Which of its data sets; may be left out where there is one only.

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
    return FeatureStore(cache, read_samples(cache.sample_path(dataset)))
