"""Laws of evaluation: the shape of the result, names not positions, nothing silently dropped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from featcache import FeatcacheError, FeatureStore, FingerprintMismatch
from heads.errors import HeadsError
from heads.evaluation.scores import evaluate
from heads.runs.run import Run
from tests.heads.synthetic import GENERATORS, Row, train_run, write_cache

A_KEYS = {"accuracy", "balanced_accuracy", "f1_binary", "f1_macro", "f1_weighted", "auc", "average_precision"}
B_KEYS = {"accuracy", "f1_macro", "f1_weighted"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return write_cache(tmp_path_factory.mktemp("evaluate") / "cache")


@pytest.fixture(scope="module")
def run(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_run(store, tmp_path_factory.mktemp("evaluate") / "run", head="linear")


def test_the_result_has_the_keys_that_were_promised(run: Run, store: FeatureStore) -> None:
    result = json.loads(json.dumps(evaluate(run, store, "test").to_dict(), allow_nan=False))
    assert (result["n"], result["n_refused"], result["split"]) == (96, 0, "test")
    assert result["transductive"] is False
    assert result["threshold"] == run.threshold
    assert result["tasks"]["a"].keys() == A_KEYS == result["reference"]["always_ai"]["tasks"]["a"].keys()
    assert result["tasks"]["b"].keys() == B_KEYS == result["joint"].keys()


def test_always_ai_scores_what_the_prior_gives(run: Run, store: FeatureStore) -> None:
    reference = evaluate(run, store, "test").reference["always_ai"]["tasks"]["a"]
    assert reference["accuracy"] == pytest.approx(5 / 6)
    assert reference["f1_binary"] == pytest.approx(0.909, abs=1e-3)
    assert reference["f1_weighted"] == pytest.approx(0.757, abs=1e-3)
    assert reference["f1_macro"] == pytest.approx(0.455, abs=1e-3)


def test_scores_do_not_depend_on_the_order_of_the_stores_classes(run: Run, tmp_path: Path) -> None:
    plain = write_cache(tmp_path / "plain", seed=1)
    shuffled = write_cache(
        tmp_path / "shuffled", seed=1, classes=("real", "midjourney", "sd3", "new", "sdxl", "dalle3", "sd21")
    )
    first, second = (evaluate(run, store, "test").to_dict() for store in (plain, shuffled))
    assert first == second
    assert first["tasks"]["b"]["accuracy"] > 0.8


def test_unseen_generators_count_for_a_and_not_for_b(run: Run, tmp_path: Path) -> None:
    other = write_cache(tmp_path / "cache", generators=("sdxl", "firefly"))
    result = evaluate(run, other, "test")
    assert (result.n, result.n_unseen) == (48, 16)


def test_a_store_with_real_pictures_alone_has_no_scores_of_b(run: Run, tmp_path: Path) -> None:
    result = evaluate(run, write_cache(tmp_path / "cache", generators=()), "test")
    assert set(result.tasks["b"].values()) == {None}
    assert result.tasks["a"]["auc"] is None


def test_refused_and_unlabelled_rows_are_counted(run: Run, tmp_path: Path) -> None:
    def edit(rows: list[Row]) -> None:
        test = [row for row in rows if row.split == "test"]
        test[0].picture = None
        test[1].label = test[2].label = None

    result = evaluate(run, write_cache(tmp_path / "cache", edit=edit), "test")
    assert (result.n, result.n_refused, result.n_unlabelled) == (93, 1, 2)


def test_without_labels_there_is_nothing_to_score(run: Run, tmp_path: Path) -> None:
    def unlabel(rows: list[Row]) -> None:
        for row in rows:
            row.label = None

    with pytest.raises(HeadsError, match=r"none of the 96 rows .* no label"):
        evaluate(run, write_cache(tmp_path / "cache", edit=unlabel), "test")


def test_an_unknown_split_is_refused(run: Run, store: FeatureStore) -> None:
    with pytest.raises(FeatcacheError, match="dev"):
        evaluate(run, store, "dev")


def test_features_of_another_producer_are_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(FingerprintMismatch, match="weights"):
        evaluate(run, write_cache(tmp_path / "cache", image_model="other"), "test")


def test_more_than_is_needed_in_the_store_does_not_matter(run: Run, tmp_path: Path) -> None:
    lean = write_cache(tmp_path / "lean", modalities=("image",))
    full = write_cache(tmp_path / "full")
    assert evaluate(run, lean, "test") == evaluate(run, full, "test")


def test_without_the_image_signal_a_is_at_chance(tmp_path: Path) -> None:
    store = write_cache(tmp_path / "cache", signal=0.0, captions={"train": 40, "valid": 20, "test": 150})
    run = train_run(store, tmp_path / "run", head="linear")
    auc = evaluate(run, store, "test").tasks["a"]["auc"]
    assert auc is not None
    assert abs(auc - 0.5) < 3.5 * np.sqrt(1 / 12 * (1 / 150 + 1 / 750))  # the AUC's standard error, no signal
    assert run.tasks[1].classes == GENERATORS
