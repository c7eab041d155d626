"""Canaries: a few pictures encoded again, to see that the cached vectors are still those that would be computed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.folder import Cache
from featcache.cache.samples import SampleTable, read_samples
from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.reading import Reading
from featcache.dataset.sample import ImageFile, ImageSource
from featcache.encoders.base import decode_rules, decode_size
from featcache.encoders.build import build_spec
from featcache.errors import FeatcacheError
from featcache.identity.fingerprint import Fingerprint, check_same
from featcache.identity.terms import CLEAN, Modality
from featcache.pictures.decode import decode_rgb
from featcache.store.shard_set import ShardSet

if TYPE_CHECKING:
    from featcache.encoders.base import EncoderSpec

__all__ = ["TOLERANCES", "CanaryResult", "check_canaries"]

TOLERANCES = {"float32": 2e-3, "float16": 1e-2, "bfloat16": 3e-2}
"""Largest relative error ‖again - cached‖ / ‖cached‖ by compute dtype: other batches and devices move the last bits."""


@dataclass(frozen=True)
class CanaryResult:
    """What encoding a few contents of one producer again has shown.

    Attributes
    ----------
    producer, modality, model : str
        The encoder; ``producer`` is a short fingerprint.
    tolerance : float
        Largest relative error that passes.
    errors : mapping of output name to float
        Largest relative error of the contents that were checked.
    worst : str
        Picture with the largest error, ``""`` if none was checked.
    n_checked : int
        How many contents were encoded again.
    reason : str
        Why nothing was checked, ``""`` if something was.
    """

    producer: str
    modality: Modality
    model: str
    tolerance: float
    errors: Mapping[str, float]
    worst: str
    n_checked: int
    reason: str

    @property
    def is_sound(self) -> bool:
        """Whether nothing differs by more than the tolerance; also if nothing was checked."""
        return all(error <= self.tolerance for error in self.errors.values())


def check_canaries(
    cache: Cache,
    *,
    n_contents: int = 4,
    seed: int = 0,
    load_spec: Callable[[Fingerprint, tuple[str, ...]], EncoderSpec] | None = None,
) -> tuple[CanaryResult, ...]:
    """Encode a few pictures of each image producer again and compare with what is stored.

    Captions are not stored in a cache, so nothing of a text producer can be checked.

    Parameters
    ----------
    cache : Cache
        The cache whose producers are tried.
    n_contents : int
        How many contents each producer encodes again.
    seed : int
        What the choice of contents is drawn from.
    load_spec : callable
        Makes an encoder of a producer's document and outputs; by default from the place that the document names.

    Raises
    ------
    ShardError
        If a sample table or an encoder document is damaged: see `verify`.
    """
    tables = [read_samples(cache.sample_path(name)) for name in cache.datasets]
    found = []
    for producer in cache.producers.values():
        try:
            found.append(_check(cache, producer, tables, n_contents, seed, load_spec or build_spec))
        except (FeatcacheError, OSError) as error:
            found.append(_not_checked(producer, " ".join(str(error).split())))
    return tuple(found)


def _not_checked(producer: Fingerprint, reason: str) -> CanaryResult:
    return CanaryResult(producer.short, producer.modality, producer.model_name, _tolerance(producer), {}, "", 0, reason)


def _tolerance(producer: Fingerprint) -> float:
    return TOLERANCES.get(str(producer.identity.get("compute_dtype")), min(TOLERANCES.values()))


def _check(
    cache: Cache,
    producer: Fingerprint,
    tables: Sequence[SampleTable],
    n_contents: int,
    seed: int,
    load_spec: Callable[[Fingerprint, tuple[str, ...]], EncoderSpec],
) -> CanaryResult:
    if producer.modality == "text":
        return _not_checked(producer, "captions are not in the cache")
    shards = ShardSet.open(cache, producer, CLEAN)
    outputs = tuple(shards.widths)
    if not outputs:
        return _not_checked(producer, "it has no vectors of the clean view, which is the one that is checked")
    sources = [_Source(table) for table in tables]
    contents, names, keys = _choose(sources, shards, outputs, n_contents, seed)
    if not contents:
        reasons = [source.reason for source in sources if source.reason]
        return _not_checked(
            producer, "; ".join(reasons) or "none of its pictures is where it was, with the bytes that it had"
        )
    spec = load_spec(producer, outputs)
    check_same(producer, spec.fingerprint, f"features of model {producer.model_name!r}")
    how: dict[str, Any] = {"at_least": decode_size(spec), "rules": decode_rules(spec)}
    prepared = [spec.prepare(decode_rgb(content, **how)) for content in contents]
    encoded = spec.load("auto").encode(prepared)
    errors, worst = {}, ("", -1.0)
    for output in outputs:
        stored, _ = shards.gather([output], keys)
        again = encoded[output].astype(str(producer.identity["storage_dtype"])).astype(np.float32)
        scale = np.maximum(np.linalg.norm(stored, axis=1), np.finfo(np.float32).tiny)
        error = np.nan_to_num(np.linalg.norm(again - stored, axis=1) / scale, nan=np.inf)
        errors[output] = float(error.max())
        worst = max(worst, (names[int(error.argmax())], errors[output]), key=lambda pair: pair[1])
    return CanaryResult(
        producer.short,
        producer.modality,
        producer.model_name,
        _tolerance(producer),
        errors,
        worst[0],
        len(contents),
        "",
    )


class _Source:
    """Where the pictures of a data set are: files that its table names, or what its source holds when read again."""

    def __init__(self, table: SampleTable) -> None:
        self.table = table
        self.reason = ""

    def picture(self, row: int) -> ImageSource | None:
        """Return the picture of a row, None if it is nowhere."""
        # A name that is not absolute belongs to a folder, or is that of a part of a file, that only the source knows.
        path = Path(self.table.source[row])
        if path.is_absolute() and path.is_file():
            return ImageFile(str(path))
        return self._images.get(self.table.sample_id[row])

    @cached_property
    def _images(self) -> Mapping[str, ImageSource]:
        origin, name = self.table.origin, self.table.dataset
        if origin.startswith("hf:") and not Path(origin.removeprefix("hf:")).is_dir():
            self.reason = f"the pictures of {name} are in {origin}, which is not fetched for a check"
            return {}
        try:
            table = self.table
            as_before = Reading(table.rules, table.labels, table.columns, table.root, table.splits)
            samples = Manifest.from_source(origin, on_orphan="skip", name=name, earlier=lambda _: as_before).samples
        except FeatcacheError as error:
            self.reason = f"{name} cannot be read again: {error}"
            return {}
        return {sample.sample_id: sample.image for sample in samples if sample.image is not None}


def _choose(
    sources: Sequence[_Source], shards: ShardSet, outputs: Sequence[str], n_contents: int, seed: int
) -> tuple[list[bytes], list[str], NDArray[np.uint8]]:
    """Find pictures that are stored, and on disk as they were: their bytes, names and keys."""
    candidates = []
    for number, table in enumerate(source.table for source in sources):
        rows = table.first_rows("image")
        stored = np.ones(len(rows), bool)
        for output in outputs:
            stored &= shards.contains(output, table.image_key[rows])
        candidates += [(number, int(row)) for row in rows[stored]]
    contents: list[bytes] = []
    names: list[str] = []
    keys: list[NDArray[np.uint8]] = []
    for position in np.random.default_rng(seed).permutation(len(candidates)):
        if len(contents) == n_contents:
            break
        number, row = candidates[position]
        key, picture = sources[number].table.image_key[row], sources[number].picture(row)
        try:
            content = picture.read_bytes() if picture is not None else b""
        except OSError:
            continue
        if picture is not None and hashlib.sha256(content).digest() == key.tobytes():
            contents.append(content)
            names.append(picture.name)
            keys.append(key)
    return contents, names, np.array(keys, np.uint8).reshape(-1, 32)
