"""Laws of cross-fitting: each train row is scored by a head that saw neither it nor its group."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from featcache import FeatureStore
from heads.data.choices import choose_views
from heads.data.features import Features
from heads.data.loading import load_fit_rows
from heads.data.row_source import StoredRows
from heads.errors import HeadsError
from heads.runs.calibration import save_fitted
from heads.runs.crossfit import CrossFit, cross_fit
from heads.runs.fitting import FittedRun, fit_run, parse_config
from heads.runs.recording import build_record
from heads.runs.run import Run, load_run
from heads.verdicts.guarantees import Demand
from tests.heads.synthetic import write_cache

CONFIG = parse_config({"head": "linear", "fusion": "image"})
Loaded = tuple[FeatureStore, Features, StoredRows]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    changes: dict[str, Any] = {"generators": ("sdxl", "dalle3"), "signal": 0.7, "modalities": ("image",)}
    store = write_cache(tmp_path_factory.mktemp("folds") / "cache", **changes)
    return store, *load_fit_rows(store, choose_views(store, ["image"]))


@pytest.fixture(scope="module")
def crossed(loaded: Loaded) -> CrossFit:
    return cross_fit(loaded[1], loaded[2], folds=3, fusion="image", fit=partial(fit_run, config=CONFIG))


@pytest.mark.slow
def test_no_head_scores_what_it_or_its_group_was_fitted_on(loaded: Loaded) -> None:
    fitted_on: list[Features] = []

    def fit(features: Features, *, stored: StoredRows) -> FittedRun:
        assert stored.n_rows == len(features)
        fitted_on.append(features)
        return fit_run(features, CONFIG, stored=stored)

    found = cross_fit(loaded[1], loaded[2], folds=3, fusion="image", fit=fit)
    train = loaded[1].select(loaded[1].split == "train")
    for number, features in enumerate(fitted_on):
        held = train.select(found.fold == number)
        assert not {*held.group.tolist()} & {*features.group.tolist()}
        assert (features.split == "valid").sum() == (loaded[1].split == "valid").sum()
    assert sum(len(features) for features in fitted_on) == 2 * len(train) + 3 * (loaded[1].split == "valid").sum()
    assert all(len(np.unique(found.fold[found.group == number])) == 1 for number in np.unique(found.group))


@pytest.mark.slow
def test_figures_are_of_the_scores_and_have_intervals(crossed: CrossFit) -> None:
    from sklearn.metrics import roc_auc_score

    a, b = crossed.metrics["a"], crossed.metrics["b"]
    assert a["auc"]["estimate"] == pytest.approx(roc_auc_score(crossed.y, crossed.p_ai))
    assert a["balanced_accuracy"]["estimate"] == pytest.approx((a["tpr"]["estimate"] + 1 - a["fpr"]["estimate"]) / 2)
    for figure in (*a.values(), *b.values()):
        assert figure["low"] <= figure["estimate"] <= figure["high"] > figure["low"] and figure["n_groups"] == 30
    assert (crossed.to_json()["k"], crossed.to_json()["n"], crossed.to_json()["groups"]) == (3, 90, 30)


def test_a_run_keeps_the_scores_and_its_own_head(loaded: Loaded, crossed: CrossFit, tmp_path: Path) -> None:
    store, features, stored = loaded
    fitted = fit_run(features, CONFIG, stored=stored)
    record = build_record(fitted, store, selections=choose_views(store, ["image"])[0])
    runs = [
        save_fitted(Run(tmp_path / name, record, fitted.head), store, demand=Demand(), crossed=each)
        for name, each in (("with", crossed), ("without", None))
    ]
    weights = [(run.path / "head" / "weights.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1]
    assert json.loads(json.dumps(load_run(runs[0].path).record.folds)) == crossed.to_json()
    assert load_run(runs[1].path).record.folds is None
    arrays = load_file(runs[0].path / "folds.safetensors")
    for name in ("p_ai", "y", "group", "fold"):
        np.testing.assert_array_equal(arrays[name], getattr(crossed, name))
    again = save_fitted(Run(runs[0].path, record, fitted.head), store, demand=Demand(), crossed=None, overwrite=True)
    assert not (again.path / "folds.safetensors").exists()


def test_what_cannot_be_promised_or_divided_is_refused(loaded: Loaded, crossed: CrossFit, tmp_path: Path) -> None:
    store, features, stored = loaded
    fitted = fit_run(features, CONFIG, stored=stored)
    run = Run(tmp_path / "run", build_record(fitted, store, selections=choose_views(store, ["image"])[0]), fitted.head)
    with pytest.raises(HeadsError, match="--folds and a budget exclude each other"):
        save_fitted(run, store, demand=Demand(max_fpr=0.05), crossed=crossed)
    for folds, told in ((1, "--folds is 1, expected 2 or more"), (31, "make 30 sets .* expected 31 or more")):
        with pytest.raises(HeadsError, match=told):
            cross_fit(features, stored, folds=folds, fusion="image", fit=partial(fit_run, config=CONFIG))
