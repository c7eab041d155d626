"""Laws of trials: what is shared between heads changes none of them, and what was found is not fitted again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from heads.ablation.grid import Cell
from heads.ablation.ledger import Ledger
from heads.ablation.study import Study, Trial
from heads.ablation.study_rows import StudyRows
from heads.ablation.trials import TrialRunner
from heads.data.choices import choose_views
from heads.data.folds import build_parts
from heads.head.kinds import HEADS
from heads.linear.head import LinearHead
from tests.heads.synthetic import write_cache

RIDGE = Cell("linear", "image")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> StudyRows:
    store = write_cache(tmp_path_factory.mktemp("trials") / "cache", captions={"train": 12, "valid": 6}, signal=0.7)
    return StudyRows.load(store, choose_views(store, ["image"]), fusions=["image"])


def build_study(rows: StudyRows, solver: str) -> Study:
    return Study(rows, build_parts(rows.features, 3), {"solver": solver})


@pytest.mark.parametrize("solver", ["ridge", "lda"])
def test_heads_that_share_the_sums_of_their_parts_are_those_fitted_alone(
    rows: StudyRows, solver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, trials = build_study(rows, solver), [Trial((RIDGE,), 0, part) for part in range(3)]
    shared = TrialRunner(study)
    together = [shared.run(trial) for trial in trials]
    monkeypatch.setitem(HEADS, "linear", replace(HEADS["linear"], shares_parts=False))
    alone = [TrialRunner(study).run(trial) for trial in trials]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one.decisions, other.decisions)
        assert one.n_parameters.tolist() == other.n_parameters.tolist() == [(12 + 1) * 6]


@pytest.mark.parametrize(("solver", "n_fits"), [("ridge", 1), ("logistic", 0)])
def test_parts_are_fitted_together_once_where_the_solver_takes_moments(
    rows: StudyRows, solver: str, n_fits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, fits = LinearHead.fit_parts, []

    def count(*args: object, **options: object) -> list[LinearHead]:
        fits.append(args)
        return fit(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(LinearHead, "fit_parts", count)
    runner = TrialRunner(build_study(rows, solver))
    for part in range(3):
        runner.run(Trial((RIDGE,), 0, part))
    assert len(fits) == n_fits


def test_a_trial_in_the_ledger_is_not_fitted_again(
    rows: StudyRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, trial = build_study(rows, "ridge"), Trial((RIDGE,), 0, 1)
    found = TrialRunner(study, Ledger.open(tmp_path, {})).run(trial)
    monkeypatch.setattr(TrialRunner, "_fit", None)
    again = TrialRunner(study, Ledger.open(tmp_path, {})).run(trial)
    np.testing.assert_array_equal(again.decisions, found.decisions)
    assert again.best_epoch.tolist() == [-1]
