"""A real cache of made-up vectors with CT2's structure: each caption once real and once from each generator."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from featcache import FeatureStore, Selection, open_store
from featcache.cache.folder import Cache, Defaults, unit_name
from featcache.cache.samples import ABSENT, PRESENT, SampleTable, write_samples
from featcache.cache.shard import ShardHeader
from featcache.cache.shard_writing import write_shard
from featcache.files.string_column import StringColumn
from featcache.identity.fingerprint import Fingerprint
from heads.data.features import Features
from heads.data.loading import load_features
from heads.runs.fitting import fit_run, parse_config
from heads.runs.recording import build_record
from heads.runs.run import Run, save_run

torch.set_num_threads(1)  # the fits are tiny: on busy cores a second thread makes them five times slower

GENERATORS = ("sd21", "sdxl", "sd3", "dalle3", "midjourney")
QUICK = {"dim": 32, "epochs": 12, "patience": 4, "batch_size": 64, "lr": 0.01}


@dataclass
class Row:
    """One sample; a test may edit anything before it is written."""

    sample_id: str
    split: str
    group: str
    caption: str | None
    picture: bytes | None
    label: str | None
    """``"real"``, a generator, ``"ai"`` (generator unknown) or None."""
    image: np.ndarray = field(repr=False)
    text: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Recipe:
    """What a synthetic cache is made of."""

    captions: Mapping[str, int] = field(default_factory=lambda: {"train": 30, "valid": 16, "test": 16})
    generators: tuple[str, ...] = GENERATORS
    classes: tuple[str, ...] | None = None
    signal: float = 3.0
    seed: int = 0
    modalities: tuple[str, ...] = ("text", "image")
    image_model: str = "synthetic/image"
    resize: str = "bicubic"
    image_dim: int = 12
    text_dim: int = 6
    storage: str = "float32"


def make_rows(recipe: Recipe) -> list[Row]:
    """Draw the samples: pictures show their maker, captions say nothing of it."""
    rng = np.random.default_rng(recipe.seed)
    makers = ("real", *recipe.generators)
    # The means depend on the name alone: two caches agree about them.
    means = {name: np.random.default_rng(_seed(name)).normal(size=recipe.image_dim) for name in makers}
    rows = []
    for split, n_captions in recipe.captions.items():
        for number in range(n_captions):
            caption = f"{split} caption {number}"
            text = rng.normal(size=recipe.text_dim)
            for name in makers:
                sample_id = f"{split}-{number:03d}-{name}"
                image = means[name] * recipe.signal + rng.normal(size=recipe.image_dim)
                picture = f"{recipe.seed} {sample_id}".encode()
                rows.append(Row(sample_id, split, f"{split}-{number}", caption, picture, name, image, text))
    return rows


def write_cache(
    path: Path, recipe: Recipe | None = None, *, edit: Callable[[list[Row]], Any] | None = None, **changes: Any
) -> FeatureStore:
    """Write a cache and open it; ``edit`` may change the rows in place first."""
    recipe = replace(recipe or Recipe(), **changes)
    rows = make_rows(recipe)
    if edit is not None:
        edit(rows)
    cache = Cache.open_or_create(path, Defaults("float32", recipe.storage))
    for modality in recipe.modalities:
        _write_vectors(cache, rows, modality, recipe)
    write_samples(cache.sample_path("synthetic"), _table(rows, recipe), root=cache.path)
    return open_store(path)


def load_fit_features(store: FeatureStore, selections: Mapping[str, Selection]) -> Features:
    """Read the rows that a head is fitted with, and their vectors."""
    return load_features(store, selections, splits=("train", "valid"))


def train_run(store: FeatureStore, out: Path, **settings: Any) -> Run:
    """Do what ``heads train`` does, quickly."""
    from heads.data.choices import choose_selections
    from heads.data.fusion import fusion_modalities

    head = settings.get("head", "mlp")
    config = parse_config({"fusion": "image", **(QUICK if head == "mlp" else {}), **settings})
    selections = choose_selections(store, fusion_modalities(config.fusion))
    fitted = fit_run(load_fit_features(store, selections), config)
    record = build_record(fitted, store, selections=selections)
    return save_run(record, fitted.head, out=out, likeness=fitted.likeness)


def _write_vectors(cache: Cache, rows: Sequence[Row], modality: str, recipe: Recipe) -> None:
    model = recipe.image_model if modality == "image" else "synthetic/text"
    dtypes = {"compute_dtype": "float32", "storage_dtype": recipe.storage}
    identity = {"modality": modality, "weights": _key(model.encode()).hex(), "resize": recipe.resize, **dtypes}
    fingerprint = Fingerprint(identity, {"model": model})
    cache.add_producer(fingerprint)
    contents = {}
    for row in rows:
        content = row.picture if modality == "image" else row.caption and row.caption.encode()
        vector = row.image if modality == "image" else row.text
        if content and np.isfinite(vector).all():
            contents.setdefault(_key(content), vector)
    keys = np.array([np.frombuffer(key, dtype=np.uint8) for key in contents])
    output = {"image": "pooled", "text": "cls"}[modality]
    vectors = np.array(list(contents.values()), dtype=np.float32)
    header = ShardHeader(fingerprint.digest, "clean", recipe.storage)
    name = unit_name(keys, "clean", (output,))
    write_shard(
        cache.shard_folder(fingerprint, "clean") / f"{name}.h5", header, keys, {output: vectors}, root=cache.path
    )


def _table(rows: Sequence[Row], recipe: Recipe) -> SampleTable:
    classes = recipe.classes or ("real", *recipe.generators)
    n = len(rows)
    pictures = [row.picture for row in rows]
    captions = [row.caption.encode() if row.caption else None for row in rows]
    a = {None: -1, "real": 0}
    return SampleTable(
        dataset="synthetic",
        origin="tests",
        class_names=classes,
        sample_id=StringColumn.from_strings([row.sample_id for row in rows]),
        group=StringColumn.from_strings([row.group for row in rows]),
        source=StringColumn.from_strings([""] * n),
        split=np.array([row.split for row in rows], dtype=np.str_),
        label_a=np.array([a.get(row.label, 1) for row in rows], dtype=np.int8),
        label_b=np.array([classes.index(r.label) if r.label in classes else -1 for r in rows], dtype=np.int16),
        image_key=_keys(pictures),
        text_key=_keys(captions),
        image_status=np.array([PRESENT if p else ABSENT for p in pictures], dtype=np.uint8),
        text_status=np.array([PRESENT if c else ABSENT for c in captions], dtype=np.uint8),
        width=np.zeros(n, dtype=np.uint32),
        height=np.zeros(n, dtype=np.uint32),
    )


def _keys(contents: Sequence[bytes | None]) -> np.ndarray:
    empty = bytes(32)
    keys = [np.frombuffer(_key(content) if content else empty, dtype=np.uint8) for content in contents]
    return np.array(keys).reshape(-1, 32)


def _key(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _seed(name: str) -> int:
    return int.from_bytes(_key(name.encode())[:4], "big")
