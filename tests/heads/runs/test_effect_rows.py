"""Laws of the rows of an effect size: calibrating rows of the run against any rows of any store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import heads.runs.effect_rows
from featcache import FeatureStore
from heads.errors import HeadsError
from heads.runs.effect_rows import measure_set
from heads.runs.run import Run
from heads.verdicts.effect_size import EffectSize
from tests.heads.synthetic import Row, train_run, write_cache


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return write_cache(tmp_path_factory.mktemp("effect") / "cache")


@pytest.fixture(scope="module")
def run(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_run(store, tmp_path_factory.mktemp("effect") / "run", head="linear")


def shifted(rows: list[Row]) -> None:
    for row in rows:
        row.image = row.image + 3.0
        row.picture = b"shifted " + (row.picture or b"")
    rows[0].image = np.full(12, np.nan)  # has no vector


def effect(run: Run, store: FeatureStore, training: FeatureStore) -> EffectSize:
    found = measure_set(run, store, store.row_numbers("test"), training=training, share=5 / 6)
    assert found is not None
    return found


def test_test_rows_are_like_the_calibrating_ones_and_moved_ones_are_not(
    run: Run, store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alike = effect(run, store, store)
    assert alike.auc.low < 0.5 < alike.auc.high and (alike.n, alike.n_known) == (96, 48)
    others = write_cache(tmp_path / "others", edit=shifted, captions={"test": 16})
    moved = effect(run, others, store)
    assert moved.auc.low > 0.55 and moved.auc.estimate > 0.99 and moved.n == 95
    monkeypatch.setattr(heads.runs.effect_rows, "_MOST_ROWS", 30)
    monkeypatch.setattr(heads.runs.effect_rows, "_LEAST_ROWS", 1)
    few = effect(run, others, store)
    assert few.n == 30 and few.n_known <= 30 and few.auc.estimate > 0.9


def test_another_validation_is_no_calibrating_part(run: Run, store: FeatureStore, tmp_path: Path) -> None:
    other = write_cache(tmp_path / "other", seed=1)
    with pytest.raises(HeadsError, match=r"are not those that .* was selected on"):
        effect(run, store, other)
    gone = replace(run, record=replace(run.record, source={**run.record.source, "cache": str(tmp_path / "gone")}))
    with pytest.raises(HeadsError, match=r"are not those that .* was"):
        effect(gone, store, other)
    assert effect(gone, store, store).n == 96
