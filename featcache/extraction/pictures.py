"""Pictures of which nothing else is known, encoded as producers did whose documents somebody kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.failures import read_failures
from featcache.cache.folder import Cache, Defaults
from featcache.cache.requests import requested_datasets
from featcache.cache.samples import ABSENT, PRESENT, UNREADABLE
from featcache.dataset.loose import read_pictures
from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.left_out import Gap
from featcache.encoders.base import Device, EncoderSpec
from featcache.encoders.build import build_spec
from featcache.errors import FeatcacheError, FingerprintMismatch, ManifestError
from featcache.extraction.options import ExtractOptions
from featcache.extraction.results import ExtractResult, Progress
from featcache.extraction.run import carry_out, check_sides
from featcache.extraction.survey.reading import read_loosely
from featcache.extraction.work import Extraction, Work
from featcache.identity.fingerprint import Fingerprint, check_same
from featcache.identity.terms import CLEAN
from featcache.store.selection import Selection
from featcache.store.soundness import Soundness
from featcache.store.store import FeatureStore

__all__ = ["ExtractedPictures", "RowFault", "extract_pictures"]

_FAULTS_OF_CONTENTS = ("read", "decode")


@dataclass(frozen=True)
class RowFault:
    """Why a sample lacks vectors that were asked for.

    Attributes
    ----------
    stage : {"data", "read", "decode", "view", "encode"}
        ``data``: the data name no such content, or nothing is where they say; else what went wrong with it.
    message : str
        One sentence.
    """

    stage: str
    message: str


@dataclass(frozen=True)
class ExtractedPictures:
    """What `extract_pictures` found and made.

    Attributes
    ----------
    store : FeatureStore
        The samples, in the order of the data, and their vectors; it checks digests when it reads.
    faults : mapping of int to RowFault
        By row of the store: every sample that lacks any of the vectors, and the first reason.
    left_out : tuple of Gap
        Path and reason of each thing that is no sample: there is no regular file where the data say, a part of the
        source is damaged or refused, or it looks like a picture and is not taken.
    n_encoded : int
        Contents that were encoded now, once for each producer and view; what was in the cache before is not counted.
    """

    store: FeatureStore
    faults: Mapping[int, RowFault]
    left_out: tuple[Gap, ...]
    n_encoded: int

    def __len__(self) -> int:
        return len(self.store)

    @property
    def complete(self) -> NDArray[np.int64]:
        """Rows of the samples that have all vectors, ascending: (m,)."""
        lacking = np.fromiter(self.faults, np.int64, len(self.faults))
        return np.setdiff1d(np.arange(len(self)), lacking)

    def sample_id(self, row: int) -> str:
        """Return the name of one sample."""
        return self.store.samples.sample_id[row]

    def path(self, row: int) -> str:
        """Return where one sample's picture is, ``""`` if it has none; of one in a tar, the tar and its name there."""
        return self.store.samples.source[row]


def extract_pictures(
    data: str | Path | Manifest,
    cache: str | Path,
    producers: Sequence[tuple[Selection, Mapping[str, Any]]],
    *,
    models: Mapping[str, str] | None = None,
    device: Device = "auto",
    progress: Callable[[Progress], None] | None = None,
) -> ExtractedPictures:
    """Encode pictures of which nothing else is known, exactly as some producers did.

    What the cache has is not encoded again. Safe to interrupt anywhere and to start again; several processes may do
    this to one cache at once, with the same data or others.

    Parameters
    ----------
    data : str, Path or Manifest
        Any form of data that `read_pictures` takes, or what it read. Labels, splits and groups are not read. What is
        named and not there is left out, and told.
    cache : str or Path
        The folder to keep the vectors in; made if it is not there. Each source has a data set of its own in it, and
        there are no others.
    producers : sequence of (Selection, mapping)
        Which vectors are wanted, each with the whole document of its producer, as a run has them.
    models : mapping of modality to str
        Where the weights are now, if not where a document says: hub id or folder.
    device : {"auto", "cuda", "cpu"}
        Where to compute.
    progress : callable
        Called after every batch, from the calling thread.

    Raises
    ------
    FingerprintMismatch
        If a model, or this program's way to feed it, is not the producer's; the fields are named.
    ManifestError
        If the data cannot be read, or have samples and none of the contents that a producer encodes.
    ModelError
        If the weights cannot be found or loaded.
    FeatcacheError
        If the folder is no cache, or one with data that heads are fitted on; if nothing at all could be encoded.
    """
    wanted = [(selection, _fingerprint(selection, document)) for selection, document in producers]
    target = Cache.open_or_imagine(cache, _defaults([fingerprint for _, fingerprint in wanted]))
    _check_loose(target)
    contents = {selection.content for selection, _ in wanted}
    manifest = data if isinstance(data, Manifest) else read_pictures(data, contents=contents)
    if not manifest.is_loose:
        raise ManifestError(f"data set {manifest.name!r} was read to fit heads on, expected what read_pictures reads")
    _check_contents(manifest, wanted)
    specs = [_spec(selection, fingerprint, (models or {}).get(selection.modality)) for selection, fingerprint in wanted]
    views = dict.fromkeys(selection.view for selection, _ in wanted if selection.content == "image") or (CLEAN,)
    extraction = Extraction(Work.of(specs, tuple(views)), manifest, target, ExtractOptions(device=device))
    planned, done = carry_out(extraction, progress=progress)
    check_sides(done.sides, planned.plans, excused=_FAULTS_OF_CONTENTS)
    # The table that this extraction wrote: another one may have replaced it since.
    store = FeatureStore(Cache.open(target.path), planned.scanned.table, soundness=Soundness(target.path))
    return ExtractedPictures(store, _find_faults(store, wanted, done), manifest.gaps, done.n_encoded)


def _fingerprint(selection: Selection, document: Mapping[str, Any]) -> Fingerprint:
    fingerprint = Fingerprint.from_document(document, f"of {selection.modality} features")
    if (fingerprint.digest, fingerprint.modality) != (selection.fingerprint, selection.modality):
        raise FingerprintMismatch(
            f"{selection.modality} vectors of producer {selection.fingerprint[:12]!r} are wanted, the document beside "
            f"them is of {fingerprint.short!r} ({fingerprint.modality})"
        )
    return fingerprint


def _defaults(wanted: Sequence[Fingerprint]) -> Defaults:
    if not wanted:
        raise FeatcacheError("no producer is named, expected one or more")
    return Defaults(str(wanted[0].identity["compute_dtype"]), str(wanted[0].identity["storage_dtype"]))


def _check_loose(cache: Cache) -> None:
    """Raise if a cache has a data set that was not read to be judged: heads may be fitted on it."""
    for name in sorted({*requested_datasets(cache), *cache.datasets}):
        if read_loosely(cache, name) is None:
            raise FeatcacheError(
                f"cache {cache.path} has data set {name!r}, which heads may be fitted on: pictures to be judged are "
                "kept in a cache of their own; name another one, or a folder that is not there"
            )


def _check_contents(manifest: Manifest, wanted: Sequence[tuple[Selection, Fingerprint]]) -> None:
    if not len(manifest.samples):
        return
    has = {"text": manifest.samples.caption.is_filled.any(), "image": manifest.samples.has_image.any()}
    for selection, fingerprint in wanted:
        if not has[selection.content]:
            is_text = selection.content == "text"
            what, remedy = ("captions", " (1.txt beside 1.jpg, or a column caption)") if is_text else ("pictures", "")
            raise ManifestError(
                f"{manifest.origin} has no {what}, expected some{remedy} for {selection.modality} encoder "
                f"{fingerprint.short} ({fingerprint.model_name})"
            )


def _spec(selection: Selection, wanted: Fingerprint, model: str | None) -> EncoderSpec:
    spec = build_spec(wanted, selection.outputs, model)
    check_same(wanted, spec.fingerprint, f"features of model {model or wanted.model_name!r}", "name the expected model")
    return spec


def _find_faults(
    store: FeatureStore, wanted: Sequence[tuple[Selection, Fingerprint]], done: ExtractResult
) -> dict[int, RowFault]:
    """Say of every sample that lacks vectors why; what is wrong with its picture comes first."""
    unreadable = {failure.sample_id: failure.message for failure in done.unreadable}
    faults: dict[int, RowFault] = {}
    for selection, fingerprint in sorted(wanted, key=lambda pair: pair[0].content != "image"):
        rows = np.flatnonzero(~_present(store, selection))
        messages = {
            bytes.fromhex(failure.key): RowFault(failure.stage, failure.message)
            for failure in (read_failures(store.cache, fingerprint, selection.view) if len(rows) else ())
        }
        for row, fault in _explain(store, selection, rows, messages, unreadable):
            faults.setdefault(row, fault)
    return dict(sorted(faults.items()))


def _present(store: FeatureStore, selection: Selection) -> NDArray[np.bool_]:
    stored = store.shard_set(selection.fingerprint, selection.view).widths
    if not stored.keys() >= set(selection.outputs):
        return np.zeros(len(store), bool)
    return store.rows(selection).present


def _explain(
    store: FeatureStore,
    selection: Selection,
    rows: NDArray[np.int64],
    messages: Mapping[bytes, RowFault],
    unreadable: Mapping[str, str],
) -> Iterator[tuple[int, RowFault]]:
    table, content = store.samples, selection.content
    status = table.text_status if content == "text" else table.image_status
    keys = table.keys(content)
    for row in rows.tolist():
        if status[row] == ABSENT:
            yield row, RowFault("data", "it has no caption" if content == "text" else "it has no picture")
        elif status[row] == UNREADABLE:
            yield row, RowFault("read", unreadable.get(table.sample_id[row], "it could not be read"))
        else:
            assert status[row] == PRESENT
            unknown = RowFault("encode", "it was changed while it was read, or its vector was taken away: scan again")
            yield row, messages.get(keys[row].tobytes(), unknown)
