"""A store of any number of rows that takes hardly any disk: all vectors are zero, in sparse files.

To see how much memory something takes on a store that is much larger than it; it says nothing about speed, because
zeros come from no disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from featcache.cache.folder import Cache, Defaults
from featcache.cache.samples import ABSENT, PRESENT, SampleTable, write_samples
from featcache.files.publish import publish_new, temporary_beside
from featcache.files.string_column import StringColumn
from featcache.identity.fingerprint import Fingerprint
from featcache.identity.terms import CLEAN
from featcache.store.opening import open_store
from featcache.store.store import FeatureStore

__all__ = ["write_sparse_store"]

_ALIGNMENT = 64
_ROWS_OF_A_DIGIT_BLOCK = 1 << 20


def write_sparse_store(
    path: str | Path, n_rows: int, *, widths: Mapping[str, int], shard_rows: int = 1 << 18, seed: int = 0
) -> FeatureStore:
    """Write a store of pictures whose vectors are all zero, and open it.

    Rows take turns as real and of two generators; every 50th is of split ``valid``, the others of ``train``. Only the
    keys and the sample table take disk, about 120 bytes a row. The shards are laid out like any others but carry no
    true checksums, so that `verify` finds them damaged.

    Parameters
    ----------
    path : str or Path
        A new or empty folder on a file system that has sparse files.
    n_rows : int
        Samples, each with a picture of its own and no caption.
    widths : mapping of output name to int
        Columns of each output, float16.
    shard_rows : int
        Rows of a shard.
    seed : int
        What the keys are drawn from.
    """
    cache = Cache.open_or_create(path, Defaults("float32", "float16"))
    identity = {
        "format": 1,
        "modality": "image",
        "algorithm": {"name": "sparse", "widths": dict(widths)},
        "compute_dtype": "float32",
        "storage_dtype": "float16",
    }
    fingerprint = Fingerprint(identity, {"model": "synthetic/sparse", "revision": None, "path": None})
    cache.add_producer(fingerprint)
    keys = np.random.default_rng(seed).integers(0, 256, (n_rows, 32), dtype=np.uint8)
    for number, start in enumerate(range(0, n_rows, shard_rows)):
        target = cache.shard_folder(fingerprint, CLEAN) / f"{number:032x}.h5"
        _write_sparse_shard(target, fingerprint.digest, keys[start : start + shard_rows], widths)
    write_samples(cache.sample_path("sparse"), _table(keys), root=cache.path)
    return open_store(path)


def _write_sparse_shard(path: Path, fingerprint: str, keys: NDArray[np.uint8], widths: Mapping[str, int]) -> None:
    attributes = {"format_version": np.int64(1), "rows": np.int64(len(keys))}
    texts = {"fingerprint": fingerprint, "view": CLEAN, "storage_dtype": "float16", "versions": "{}", "checksum": "0"}
    options: dict[str, Any] = {"alignment_threshold": 1, "alignment_interval": _ALIGNMENT}
    with temporary_beside(path, root=path.parent) as temp:
        with h5py.File(temp, "w", **options) as file:
            file.attrs.update(attributes | {name: np.bytes_(text) for name, text in texts.items()})
            file.create_dataset("key", data=keys)
            for name, width in widths.items():
                for dataset, shape, dtype in (("features", (len(keys), width), "<f2"), ("norm", (len(keys),), "<f4")):
                    _allocate(file, f"{dataset}/{name}", shape, dtype)
            file.visititems(_stamp)
        publish_new(temp, path)


def _allocate(file: Any, name: str, shape: tuple[int, ...], dtype: str) -> None:
    # Never filled: the file system makes up zeros for what was not written.
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(np.dtype(dtype)), space, plist, links)


def _stamp(name: str, item: Any) -> None:
    if isinstance(item, h5py.Dataset):
        item.attrs["sha256"] = np.bytes_("0")


def _table(keys: NDArray[np.uint8]) -> SampleTable:
    n = len(keys)
    label = np.arange(n) % 3
    empty = StringColumn(np.empty(0, np.uint8), np.zeros(n + 1, np.int64))
    return SampleTable(
        dataset="sparse",
        origin="featcache.synthetic.sparse",
        class_names=("real", "one", "two"),
        sample_id=_numbers(n),
        group=empty,
        source=empty,
        split=np.where(np.arange(n) % 50 == 0, "valid", "train"),
        label_a=(label > 0).astype(np.int8),
        label_b=label.astype(np.int16),
        image_key=keys,
        text_key=np.zeros((n, 32), np.uint8),
        image_status=np.full(n, PRESENT, np.uint8),
        text_status=np.full(n, ABSENT, np.uint8),
        width=np.zeros(n, np.uint32),
        height=np.zeros(n, np.uint32),
    )


def _numbers(n: int) -> StringColumn:
    """Return the numbers from 0 as texts of one length, without making n Python strings."""
    n_digits = len(str(max(n - 1, 0)))
    blob = np.empty((n, n_digits), np.uint8)
    for start in range(0, n, _ROWS_OF_A_DIGIT_BLOCK):
        rows = np.arange(start, min(start + _ROWS_OF_A_DIGIT_BLOCK, n))
        for place in range(n_digits):
            blob[rows[0] : rows[-1] + 1, place] = rows // 10 ** (n_digits - 1 - place) % 10 + ord("0")
    return StringColumn(blob.reshape(-1), np.arange(n + 1, dtype=np.int64) * n_digits)
