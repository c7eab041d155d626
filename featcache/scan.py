"""From a manifest to content keys: every picture's bytes and every caption are hashed, and the sample table is made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from featcache.decode import probe_image
from featcache.errors import ManifestError
from featcache.failures import Failure
from featcache.manifest import UNKNOWN, Manifest, Sample
from featcache.samples import ABSENT, PRESENT, UNREADABLE, SampleTable, StringColumn
from featcache.shard import KEY_BYTES
from featcache.splits import assign_splits

__all__ = ["Scan", "content_bytes", "scan"]

_NO_KEY = bytes(KEY_BYTES)
_CHUNK = 1024


@dataclass(frozen=True)
class _Picture:
    key: bytes
    status: int
    width: int = 0
    height: int = 0
    error: OSError | None = None


@dataclass(frozen=True)
class Scan:
    """What a manifest's contents are now.

    Attributes
    ----------
    table : SampleTable
        One row a sample.
    unreadable : tuple of Failure
        Pictures that exist but could not be read.
    """

    table: SampleTable
    unreadable: tuple[Failure, ...]


def content_bytes(sample: Sample, modality: str) -> bytes:
    """Return the content of one side of a sample: the file's bytes, or the caption's UTF-8."""
    if modality == "image":
        assert sample.image is not None
        return sample.image.read_bytes()
    assert sample.caption is not None
    return sample.caption.encode("utf-8")


def _hash_picture(sample: Sample) -> _Picture:
    if sample.image is None:
        return _Picture(_NO_KEY, ABSENT)
    try:
        data = sample.image.read_bytes()
    except OSError as error:
        return _Picture(_NO_KEY, UNREADABLE, error=error)
    info = probe_image(data)
    width, height = (info.width, info.height) if info else (0, 0)
    return _Picture(hashlib.sha256(data).digest(), PRESENT, width, height)


def scan(
    manifest: Manifest, *, workers: int = 4, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Scan:
    """Hash every content of a manifest and build its sample table.

    Parameters
    ----------
    manifest : Manifest
        The samples. Where none has a split, they are split here (seeded; whole groups, captions and duplicate
        pictures together).
    workers : int
        Threads that read and hash.
    seed : int
        Of the split.
    progress : callable
        Called with (pictures read, samples).
    """
    pictures: list[_Picture] = []
    samples = manifest.samples
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(samples), _CHUNK):
            pictures += pool.map(_hash_picture, samples[start : start + _CHUNK])
            if progress:
                progress(len(pictures), len(samples))
    try:
        texts = [hashlib.sha256(s.caption.encode("utf-8")).digest() if s.caption else _NO_KEY for s in samples]
    except UnicodeEncodeError as error:
        raise ManifestError(f"{manifest.name}: a caption is no valid Unicode text: {error}") from None
    image_key, text_key = _keys([p.key for p in pictures]), _keys(texts)
    table = SampleTable(
        dataset=manifest.name,
        origin=manifest.origin,
        class_names=("real", *manifest.generators),
        sample_id=StringColumn.from_strings([s.sample_id for s in samples]),
        group=StringColumn.from_strings([s.group or "" for s in samples]),
        source=StringColumn.from_strings([s.image.name if s.image else "" for s in samples]),
        split=_splits(manifest, image_key, text_key, seed),
        label_a=np.array([s.label_a for s in samples], np.int8),
        label_b=_label_b(manifest),
        image_key=image_key,
        text_key=text_key,
        image_status=np.array([p.status for p in pictures], np.uint8),
        text_status=np.array([PRESENT if s.caption else ABSENT for s in samples], np.uint8),
        width=np.array([p.width for p in pictures], np.uint32),
        height=np.array([p.height for p in pictures], np.uint32),
    )
    now = datetime.now(UTC).isoformat(timespec="seconds")
    unreadable = tuple(
        Failure(_NO_KEY.hex(), s.sample_id, "read", type(p.error).__name__, str(p.error), 1, now)
        for s, p in zip(samples, pictures, strict=True)
        if p.error is not None
    )
    return Scan(table, unreadable)


def _keys(digests: list[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, KEY_BYTES)


def _label_b(manifest: Manifest) -> NDArray[np.int16]:
    codes = {name: code for code, name in enumerate(("real", *manifest.generators))}
    return np.array([UNKNOWN if s.label_b is None else codes[s.label_b] for s in manifest.samples], np.int16)


def _splits(
    manifest: Manifest, image_key: NDArray[np.uint8], text_key: NDArray[np.uint8], seed: int
) -> NDArray[np.str_]:
    samples = manifest.samples
    if any(s.split for s in samples):
        return np.array([s.split or "" for s in samples], dtype="U5")
    links = [[s.group for s in samples], _key_links(image_key), _key_links(text_key)]
    split = assign_splits(links, sample_id=[s.sample_id for s in samples], seed=seed)
    return np.asarray(split, dtype="U5")


def _key_links(keys: NDArray[np.uint8]) -> list[str | None]:
    return [raw.hex() if raw != _NO_KEY else None for raw in (bytes(k) for k in keys)]
