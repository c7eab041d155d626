"""The same rows, seed and versions give the same run, however many threads there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from heads.data.choices import choose_selections
from heads.data.features import Features
from heads.runs.fitting import FittedRun, fit_run, parse_config
from tests.heads.synthetic import load_fit_features, write_cache

HEADS: Mapping[str, Mapping[str, Any]] = {
    "default": {"head": "ensemble", "members": "lda,mlp", "mlp.epochs": 3},
    "mlp": {"head": "mlp", "epochs": 3},
    "tiny mlp": {"head": "mlp", "epochs": 3, "dim": 4, "components": 8},
    "linear": {"head": "linear", "strengths": [0.01, 0.1]},
    "ridge": {"head": "linear", "solver": "ridge"},
    "linear lda": {"head": "linear", "solver": "lda"},
    "lda": {"head": "lda"},
    "gbdt": {"head": "gbdt", "rounds": 5, "components": 64},
}


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Features:
    """Rows enough, and columns, for BLAS and LightGBM to divide them among threads."""
    store = write_cache(
        tmp_path_factory.mktemp("threads") / "cache",
        captions={"train": 180, "valid": 60},
        modalities=("image",),
        image_dim=400,
        signal=0.1,
    )
    return load_fit_features(store, choose_selections(store, ["image"]))


def say(fitted: FittedRun, X: np.ndarray) -> tuple[Any, ...]:
    """Return all that a run says and keeps, in every bit."""
    proba = [values.tobytes() for values in fitted.head.predict_proba(X).proba.values()]
    history = [{k: v for k, v in record.items() if k != "seconds"} for record in fitted.head.history_]
    return proba, history, fitted.threshold, fitted.verdicts.to_json(), fitted.likeness.to_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
def test_a_run_does_not_depend_on_threads(features: Features, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heads.gbdt.boosting._SMALL", 2**12)
    monkeypatch.setattr("heads.gbdt.boosting.os.cpu_count", lambda: 2)
    config = parse_config({"fusion": "image", **HEADS[name]})
    X = features.matrix("image")
    torch_threads, seen = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2, 4):
            torch.set_num_threads(n_threads)
            threads = {"num_threads": n_threads} if name == "gbdt" else {}
            own = replace(config, settings={**config.settings, **threads})
            with threadpool_limits(n_threads, user_api="blas"):
                seen.append(say(fit_run(features, own), X[:200]))
    finally:
        torch.set_num_threads(torch_threads)
    assert seen[1] == seen[0]
    assert seen[2] == seen[0]
