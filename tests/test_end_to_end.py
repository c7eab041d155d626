"""Real weights on real pictures: skipped where they are not at hand.

The pictures (3,155, real and AI-generated in 2022-23, from several public repositories without a common licence) are
for local tests only. Their captions leak task A, so everything here uses images alone, or captions that were
permuted within each split; but for the audit, which has to find the leak.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from featcache.cache.folder import Cache, Defaults
from featcache.dataset.manifest import Manifest
from featcache.encoders.model_folder import resolve_model
from featcache.encoders.text import TextSpec
from featcache.encoders.vision import ImageSpec
from featcache.extraction.run import ExtractOptions, extract
from featcache.store.opening import open_store
from featcache.store.store import FeatureStore
from heads.audit.audit import audit
from heads.commands.audit_report import headline
from heads.data.choices import choose_selections
from heads.data.features import Features
from heads.data.loading import load_features
from heads.head.metrics import score_prediction
from heads.runs.fitting import fit_run, parse_config

from factories import FakeSpec, make_cache

MATERIAL = Path(os.environ.get("FEATCACHE_TEST_MATERIAL", Path(__file__).resolve().parents[2] / "shared"))
DATA = MATERIAL / "data" / "aigen" / "manifest-neutral.csv"
VISION, TEXT = MATERIAL / "models" / "deit-tiny", MATERIAL / "models" / "minilm-l6"

pytestmark = [
    pytest.mark.xdist_group("aigen"),
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(
        not (DATA.exists() and VISION.exists() and TEXT.exists()),
        reason=f"needs real weights and pictures in {MATERIAL} (or where FEATCACHE_TEST_MATERIAL points)",
    ),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    folder = tmp_path_factory.mktemp("aigen")
    head, *rows = DATA.read_text(encoding="utf-8").splitlines()
    table = folder / "every-third.csv"
    table.write_text("\n".join([head, *rows[::3]]), encoding="utf-8")
    cache = Cache.open_or_create(folder / "cache", Defaults("float32", "float16"))
    specs = [TextSpec(resolve_model(str(TEXT))), ImageSpec(resolve_model(str(VISION)), ("cls",))]
    options = ExtractOptions(device="cpu", unit_rows=512)
    result = extract(Manifest.from_source(table, root=DATA.parent), cache, specs, options=options)
    assert result.n_failed == 0 and result.n_missing["image"] == 0 < result.n_missing["text"]
    assert 0 < result.sides[0].n_encoded < result.sides[1].n_encoded == len(rows[::3])
    return open_store(cache.path)


def auc_of_test(train: Features, test: Features) -> float:
    """Fit an mlp on image vectors of train and valid, and score task A on test."""
    fitted = fit_run(train, parse_config({"head": "mlp", "fusion": "image", "dim": 128, "seed": 0}))
    prediction = fitted.head.predict_proba(test.matrix("image"))
    scores = score_prediction(prediction, test.targets, tasks=test.tasks, threshold=fitted.threshold)
    return float(scores["tasks"]["a"]["auc"])


def zeroed(features: Features) -> Features:
    vectors = {name: np.zeros_like(found) for name, found in features.vectors.items()}
    return replace(features, vectors=vectors)


def test_image_vectors_tell_real_from_ai_and_zeroed_ones_do_not(store: FeatureStore) -> None:
    selections = choose_selections(store, ("image",))
    train = load_features(store, selections, splits=("train", "valid"))
    test = load_features(store, selections, splits=("test",), tasks=train.tasks)
    assert auc_of_test(train, test) >= 0.82
    assert auc_of_test(train, zeroed(test)) == pytest.approx(0.5, abs=1e-6)
    assert auc_of_test(zeroed(train), zeroed(test)) == pytest.approx(0.5, abs=1e-6)


def test_captions_that_carry_nothing_leave_a_text_head_at_chance(store: FeatureStore) -> None:
    features = load_features(store, choose_selections(store, ("text",)), splits=("train", "valid", "test"))
    features = features.select(features.usable("text"))
    test = features.select(features.split == "test")
    fit = features.select(features.split != "test")
    fitted = fit_run(fit, parse_config({"head": "linear", "fusion": "text", "seed": 0}))
    prediction = fitted.head.predict_proba(test.matrix("text"))
    scores = score_prediction(prediction, test.targets, tasks=features.tasks, threshold=fitted.threshold)
    assert 0.4 < scores["tasks"]["a"]["auc"] < 0.6


def test_an_audit_says_first_that_captions_as_found_tell_real_from_ai(tmp_path: Path) -> None:
    data = DATA.with_name("manifest.csv")
    cache = make_cache(tmp_path / "cache")
    extract(Manifest.from_source(data), cache, [FakeSpec("text")], options=ExtractOptions(device="cpu"))
    assert headline(audit(open_store(cache.path), data=data)).startswith("captions alone tell real from AI: AUC 0.9")
