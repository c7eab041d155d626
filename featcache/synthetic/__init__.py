"""A cache of made-up vectors whose best possible scores are known, with the structure of a captioned data set.

Every caption comes with one real picture and one picture of each generator, as in CT2. Vectors are Gaussian: a mean
a class, content that the caption and all its pictures share, and noise of their own. So the text alone carries no
label, but tells a part of what confuses the picture; and what a perfect classifier would say is known in closed form.
For trying heads and settings, and for testing them.

>>> from featcache.synthetic import SyntheticRecipe, write_synthetic
>>> data = write_synthetic("cache", SyntheticRecipe(seed=1))                     # doctest: +SKIP
>>> data.recipe.bayes_scores(data.store.default_selections()).a_auc             # doctest: +SKIP
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.folder import Cache, Defaults, unit_name
from featcache.cache.index import update_index
from featcache.cache.samples import ABSENT, PRESENT, SampleTable, write_samples
from featcache.cache.shard import ShardHeader
from featcache.cache.shard_writing import write_shard
from featcache.files.string_column import StringColumn
from featcache.identity.fingerprint import Fingerprint
from featcache.identity.terms import CLEAN, CONTENTS
from featcache.store.opening import open_store
from featcache.store.store import FeatureStore
from featcache.synthetic.recipe import N_FACTORS, SyntheticOutput, SyntheticRecipe, SyntheticView

__all__ = ["SyntheticData", "SyntheticOutput", "SyntheticRecipe", "SyntheticView", "write_synthetic"]

_DATASET = "synthetic"


@dataclass(frozen=True)
class SyntheticData:
    """A written cache and what only its maker knows.

    Attributes
    ----------
    store : FeatureStore
    recipe : SyntheticRecipe
    truth : int64 array (n,)
        Each row's class in `SyntheticRecipe.classes`, before noise and gaps in the labels.
    """

    store: FeatureStore
    recipe: SyntheticRecipe
    truth: NDArray[np.int64]


def write_synthetic(path: str | Path, recipe: SyntheticRecipe | None = None, **changes: Any) -> SyntheticData:
    """Write a cache into a new or empty folder, and open it.

    Parameters
    ----------
    path : str or Path
    recipe : SyntheticRecipe, optional
    **changes
        Fields of the recipe to be replaced.
    """
    recipe = replace(recipe or SyntheticRecipe(), **changes)
    cache = Cache.open_or_create(path, Defaults("float32", "float32"))
    table, truth = _table(recipe)
    for modality in recipe.outputs:
        _write_vectors(cache, recipe, modality, table, truth)
    write_samples(cache.sample_path(_DATASET), table, root=cache.path)
    update_index(cache)
    return SyntheticData(open_store(path), recipe, truth)


def _table(recipe: SyntheticRecipe) -> tuple[SampleTable, NDArray[np.int64]]:
    """Return the sample table and each row's true class, caption after caption."""
    n_classes = len(recipe.classes)
    split = np.repeat(list(recipe.captions), [n * n_classes for n in recipe.captions.values()])
    captions = [f"{name} caption {i}" for name, n in recipe.captions.items() for i in range(n)]
    truth = np.tile(np.arange(n_classes), len(captions))
    names = [f"{caption.replace(' caption ', '-')}-{maker}" for caption in captions for maker in recipe.classes]
    groups = [caption.replace(" caption ", "-") for caption in captions for _ in recipe.classes]
    n, rng = len(names), recipe.rng("rows")
    label = _noisy_labels(recipe, split, truth)
    is_known = rng.random(n) >= recipe.unlabelled
    has = {content: rng.random(n) >= recipe.missing.get(content, 0.0) for content in CONTENTS}
    keys = {
        "text": _keys([f"caption {recipe.seed} {caption}" for caption in captions]).repeat(n_classes, axis=0),
        "image": _keys([f"picture {recipe.seed} {name}" for name in names]),
    }
    table = SampleTable(
        dataset=_DATASET,
        origin="featcache.synthetic",
        class_names=recipe.classes,
        sample_id=StringColumn.from_strings(names),
        group=StringColumn.from_strings(groups),
        source=StringColumn.from_strings([""] * n),
        split=split,
        label_a=np.where(is_known, label > 0, -1).astype(np.int8),
        label_b=np.where(is_known, label, -1).astype(np.int16),
        image_key=np.where(has["image"][:, None], keys["image"], 0).astype(np.uint8),
        text_key=np.where(has["text"][:, None], keys["text"], 0).astype(np.uint8),
        image_status=np.where(has["image"], PRESENT, ABSENT).astype(np.uint8),
        text_status=np.where(has["text"], PRESENT, ABSENT).astype(np.uint8),
        width=np.zeros(n, np.uint32),
        height=np.zeros(n, np.uint32),
    )
    return table, truth


def _noisy_labels(recipe: SyntheticRecipe, split: NDArray[np.str_], truth: NDArray[np.int64]) -> NDArray[np.int64]:
    rng, n_classes = recipe.rng("label noise"), len(recipe.classes)
    share = np.array([recipe.label_noise.get(name, 0.0) for name in split.tolist()])
    offset = rng.integers(1, n_classes, len(truth))
    return np.where(rng.random(len(truth)) < share, (truth + offset) % n_classes, truth)


def _write_vectors(
    cache: Cache, recipe: SyntheticRecipe, modality: str, table: SampleTable, truth: NDArray[np.int64]
) -> None:
    outputs = recipe.outputs[modality]
    identity = {
        "format": 1,
        "modality": modality,
        "algorithm": {"name": "synthetic", "seed": recipe.seed, "outputs": {k: vars(v) for k, v in outputs.items()}},
        "compute_dtype": "float32",
        "storage_dtype": "float32",
    }
    fingerprint = Fingerprint(identity, {"model": f"synthetic/{modality}", "revision": None, "path": None})
    cache.add_producer(fingerprint)
    content, n_classes = fingerprint.content, len(recipe.classes)
    caption = np.arange(len(truth)) // n_classes
    first = table.first_rows(content)
    row = caption[first] if content == "text" else first  # which draw of the noise is this content's
    n_drawn = len(truth) // n_classes if content == "text" else len(truth)
    factors = recipe.rng("factors").standard_normal((len(truth) // n_classes, N_FACTORS))[caption[first]]
    keys = table.keys(content)[first]
    for view, header in _headers(recipe, fingerprint):
        vectors = {}
        for name in outputs:
            means, variance, loadings = recipe.part(modality, name, view)
            shape = (n_drawn, len(variance))
            noise = recipe.rng("noise", modality, name).standard_normal(shape)[row]
            extra = recipe.rng("noise", modality, name, view).standard_normal(shape)[row]
            noise += np.sqrt(variance - 1.0) * extra
            vectors[name] = (means[truth[first]] + factors @ loadings.T + noise).astype(np.float32)
        path = cache.shard_folder(fingerprint, view) / f"{unit_name(keys, view, tuple(outputs))}.h5"
        write_shard(path, header, keys, vectors, root=cache.path)


def _headers(recipe: SyntheticRecipe, fingerprint: Fingerprint) -> Iterator[tuple[str, ShardHeader]]:
    for view in (CLEAN, *(recipe.views if fingerprint.content == "image" else ())):
        yield view, ShardHeader(fingerprint.digest, view, "float32")


def _keys(contents: Sequence[str]) -> NDArray[np.uint8]:
    joined = b"".join(hashlib.sha256(content.encode()).digest() for content in contents)
    return np.frombuffer(joined, np.uint8).reshape(-1, 32)
