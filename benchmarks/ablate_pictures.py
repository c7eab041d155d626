"""What heads learn of real pictures with DeiT-tiny's layers: clean, blurred, and with views to train on."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import Measure
from featcache import FeatureStore, Selection, link_rows, open_store
from featcache.cache.folder import Cache, Defaults
from featcache.dataset.manifest import Manifest
from featcache.encoders.model_folder import resolve_model
from featcache.encoders.vision import ImageSpec
from featcache.extraction.run import ExtractOptions, extract
from heads.ablation.bootstrap import count_groups, decide, resample_scores
from heads.data.features import Features
from heads.data.folds import build_parts
from heads.data.loading import load_features, load_rows
from heads.head.metrics import binary_metrics, multiclass_metrics
from heads.head.protocol import Head, Prediction
from heads.mlp.config import MlpConfig
from heads.mlp.engine import HeadSpec, fit_pack
from heads.mlp.network import FittedNetwork
from heads.mlp.scoring import predict_pack
from heads.runs.fitting import build_head, parse_config
from heads.statistics.intervals import bound
from heads.statistics.resampling import draw_weights

__all__ = ["bench_pictures"]

MATERIAL = Path(os.environ.get("FEATCACHE_TEST_MATERIAL", Path(__file__).resolve().parents[2] / "shared"))
DATA, MODEL = MATERIAL / "data" / "aigen" / "manifest-neutral.csv", MATERIAL / "models" / "deit-tiny"
VIEWS = ("clean", "hflip", "jpeg:75", "blur:1", "rescale:0.75", "brightness:0.75")
UNSEEN = "blur:1.5"
Choice = dict[str, Selection]


def bench_pictures(folder: Path | None, *, is_quick: bool) -> list[Measure]:
    """Fit heads on the layers of real pictures and score them on test, also under a blur that none was fitted on."""
    if not (DATA.exists() and MODEL.exists()):
        print(f"no figures of pictures: needs {DATA} and {MODEL}, or FEATCACHE_TEST_MATERIAL\n")
        return []
    with tempfile.TemporaryDirectory(prefix="bench-ablate-") as scratch:
        views = VIEWS[:2] if is_quick else VIEWS
        store = extract_layers(folder or Path(scratch) / "cache", (*views, UNSEEN))
        choices = {view: choose(store, view) for view in (*views, UNSEEN)}
        linear = fit_linear(store, choices["clean"])
        test = {
            view: load_features(store, choices[view], splits=("test",), tasks=linear.tasks)
            for view in ("clean", UNSEEN)
        }
        clean = fit_best(store, [choices["clean"]], is_quick=is_quick)
        viewed = fit_best(store, [choices[view] for view in views], is_quick=is_quick)
    predictions = {
        ("linear", "clean"): linear.predict_proba(test["clean"].matrix("image")),
        **{("mlp", view): predict(clean, test[view]) for view in test},
        **{("mlp, views", view): predict(viewed, test[view]) for view in test},
    }
    tasks = test["clean"].tasks
    measures = score_lines(predictions[("linear", "clean")], test["clean"], "linear, clean", goals=(0.955, 0.58))
    for name, view in (("mlp", "clean"), ("mlp", UNSEEN), ("mlp, views", "clean"), ("mlp, views", UNSEEN)):
        how = f"fitted on {', '.join(views)}" if name == "mlp, views" else "fitted on clean"
        measures += score_lines(predictions[name, view], test[view], f"best mlp or layers head, {view}", note=how)
    groups = link_rows(test["clean"])
    counts = [
        count_groups(decide(predictions[key], tasks), test["clean"].targets, tasks=tasks, groups=groups)
        for key in (("mlp", "clean"), ("linear", "clean"))
    ]
    weights = draw_weights(int(groups.max()) + 1)
    scores = [resample_scores([head], weights) for head in counts]
    difference = bound(scores[0] - scores[1], counts[0].n_independent)
    note = (
        f"{difference.estimate:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}], {len(groups)} rows, test, clean"
    )
    name = "best mlp or layers head - linear, upper end of the paired, clustered interval"
    return [*measures, Measure(name, "", (difference.high,), at_least=0.0, note=note)]


def extract_layers(folder: Path, views: Sequence[str], *, dtype: str = "float32") -> FeatureStore:
    """Encode what the cache lacks: every layer's class token of the pictures, under each view."""
    cache = Cache.open_or_create(folder, Defaults(dtype, "float16"))
    model = resolve_model(str(MODEL))
    spec = ImageSpec(model, tuple(f"layers:{k}" for k in range(1, 13)), compute_dtype=dtype)
    extract(Manifest.from_source(DATA), cache, [spec], views=views, options=ExtractOptions(device="cpu"))
    return open_store(folder)


def choose(store: FeatureStore, view: str) -> Choice:
    """Return all layers under a view."""
    return {"image": store.select("image", outputs=("layers:all",), view=view)}


def fit_linear(store: FeatureStore, choice: Choice) -> Head:
    """Fit the linear head; its strength is chosen on validation."""
    features = load_features(store, choice, splits=("train", "valid"))
    train, valid = (features.select(features.split == split) for split in ("train", "valid"))
    config = parse_config({"head": "linear", "fusion": "image"})
    head = build_head(features.tasks, config)
    return head.fit(train.matrix("image"), train.targets, select=(valid.matrix("image"), valid.targets))


def fit_best(store: FeatureStore, choices: Sequence[Choice], *, is_quick: bool) -> FittedNetwork:
    """Fit a grid of networks and return the one that is best on validation, which chose its epoch too."""
    features, rows = load_rows(store, choices, splits=("train", "valid"))
    (part,) = build_parts(features, None)
    best: tuple[float, FittedNetwork] | None = None
    epochs: dict[str, Any] = {"epochs": 2} if is_quick else {}
    for fusion in ("image", "layers"):
        specs = [
            HeadSpec(
                MlpConfig(dim=dim, lr=lr, weight_decay=decay, fusion=fusion, **epochs),
                seed,
                part.fit_rows,
                part.score_rows,
            )
            for dim in (64, 256)
            for lr in (3e-4, 1e-3)
            for decay in (0.01, 1.0)
            for seed in range(1 if is_quick else 3)
        ]
        columns = features.columns("image")
        for found in fit_pack(rows, features.targets, specs, tasks=features.tasks, columns=columns):
            score = max((record["score"] for record in found.history), default=0.0)
            if best is None or score > best[0]:
                best = score, found
    assert best is not None
    return best[1]


def predict(fitted: FittedNetwork, features: Features) -> Prediction:
    """Return a network's prediction of rows."""
    return predict_pack([fitted], features.matrix("image"))[0]


def score_lines(
    prediction: Prediction, features: Features, name: str, *, goals: tuple[float, float] | None = None, note: str = ""
) -> list[Measure]:
    """Return A's AUC and balanced accuracy and B's macro F1 on test."""
    a, b = features.tasks
    rows = features.targets.applies[a.name]
    found = binary_metrics(features.targets.y[a.name][rows], prediction.proba[a.name][rows], 0.5)
    of_ai = features.targets.applies[b.name]
    pred = prediction.proba[b.name][of_ai].argmax(axis=1).astype(np.int64)
    b_scores = multiclass_metrics(features.targets.y[b.name][of_ai], pred, len(b.classes))
    lines = (
        ("A AUC", found["auc"], goals and goals[0]),
        ("A balanced accuracy at 0.5", found["balanced_accuracy"], None),
        ("B macro F1", b_scores["f1_macro"], goals and goals[1]),
    )
    return [
        Measure(f"test, {name}: {what}", "", (value,), at_least=goal, note=note)
        for what, value, goal in lines
        if value is not None
    ]
