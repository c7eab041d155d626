"""Caches with facts about their samples, for tests of audits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from featcache import FeatureStore
from featcache.cache.file_facts import FileFacts
from featcache.files.string_column import StringColumn
from tests.heads.synthetic import Row, write_cache

JPEG, PNG = 1, 2


def write_store(path: Path, *, edit: Callable[[list[Row]], Any] | None = None, **changes: Any) -> FeatureStore:
    """Write a cache of 30 and 20 captions of six pictures each, and 5 of test."""
    return write_cache(path, captions={"train": 30, "valid": 20, "test": 5}, edit=edit, **changes)


def with_facts(store: FeatureStore, **columns: Any) -> FeatureStore:
    """Return the store with other columns of its sample table, in memory."""
    return FeatureStore(store.cache, replace(store.samples, **columns))


def with_files(store: FeatureStore, tells: str, *, seed: int = 0) -> FeatureStore:
    """Give pictures files: one fact says real or AI but for some, the others are drawn."""
    rng = np.random.default_rng(seed)
    is_ai = store.samples.label_a == 1
    n = len(is_ai)
    drawn = {name: rng.integers(0, 2, n) for name in ("size", "format", "bytes", "exif", "origin")}
    drawn[tells] = np.where(rng.random(n) < 0.1, drawn[tells], is_ai)
    side = (500 + drawn["size"] * 12).astype(np.uint32)
    n_bytes = side.astype(np.int64) ** 2 // np.where(drawn["bytes"] == 1, 3, 2) + rng.integers(0, 100, n)
    files = FileFacts(
        np.where(drawn["format"] == 1, PNG, JPEG).astype(np.uint8),
        n_bytes.astype(np.uint32),
        (drawn["exif"] == 0).astype(np.int8),
    )
    origins = StringColumn.from_strings([f"web {value}" for value in drawn["origin"]])
    return with_facts(store, width=side, height=side, files=files, row_origin=origins)
