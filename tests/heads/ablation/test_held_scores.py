"""Laws of judging what was held out: alone or in a pack it is the same, and figures are of those rows alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import heads.ablation.trials
from heads.ablation.ablation import AblationResult, ablate
from heads.ablation.files import ablation_document
from heads.ablation.fitting import fit_cells
from heads.ablation.grid import Cell, Grid
from heads.ablation.held_scores import HeldLine
from heads.ablation.progress import Clock
from heads.ablation.study import Study, Trial
from heads.ablation.study_rows import StudyRows
from heads.ablation.trials import TrialRunner
from heads.data.choices import choose_views
from heads.data.held_out import build_held_out
from heads.errors import HeadsError
from heads.statistics.intervals import Interval
from heads.statistics.ranking import auc
from tests.heads.synthetic import GENERATORS, write_cache

QUICK = {"epochs": 3, "lr": 0.01, "min_steps": 0}
GRID = Grid(fusions=("image",), dims=(4, 8), seeds=2, controls=False, settings=QUICK, hold_out="generator")
LINEAR = Grid(heads=("linear",), fusions=("image",), controls=False, hold_out="origin")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> StudyRows:
    store = write_cache(tmp_path_factory.mktemp("held") / "cache", captions={"train": 12, "valid": 12}, signal=0.7)
    return StudyRows.load(store, choose_views(store, ["image"]), fusions=["image"])


@pytest.fixture(scope="module")
def result(rows: StudyRows) -> AblationResult:
    return ablate(rows, GRID)


def with_origins(rows: StudyRows, origin: list[str]) -> StudyRows:
    """Return the rows with origins, in turn over those of a caption: the real one first."""
    column = np.array(origin)[np.arange(len(rows.features)) % len(origin)]
    return replace(rows, features=replace(rows.features, origin=column))


def test_a_head_is_the_same_alone_and_in_a_pack(rows: StudyRows) -> None:
    held = build_held_out(rows.features, "generator")
    study = Study(rows, tuple(division.part for division in held.divisions), QUICK, holds_out=True)
    cells = GRID.cells
    together = TrialRunner(study).run(Trial(cells, 1, 2))
    for place, cell in enumerate(cells):
        alone = TrialRunner(study).run(Trial((cell,), 1, 2))
        assert alone.p_ai is not None and together.p_ai is not None
        np.testing.assert_allclose(alone.p_ai[0], together.p_ai[place], rtol=0, atol=1e-6)
        np.testing.assert_array_equal(alone.decisions[0], together.decisions[place])


def test_figures_are_those_of_the_rows_that_were_held_out(rows: StudyRows, result: AblationResult) -> None:
    assert result.held_out is not None
    held = result.held_out.held
    study = Study(rows, tuple(division.part for division in held.divisions), QUICK, holds_out=True)
    fitted = fit_cells(TrialRunner(study), GRID, GRID.cells, Clock(None))
    line, cell, y = result.held_out.lines[1], GRID.cells[1], rows.features.targets.y["a"]
    assert line.cell == cell and [score.value for score in line.scores] == list(GENERATORS)
    for place, division in enumerate(held.divisions):
        found: dict[str, list[float]] = {"tpr": [], "fpr": [], "auc": []}
        for seed, threshold in enumerate(line.scores[place].thresholds):
            trial, k = fitted[cell, seed][place]
            assert trial.p_ai is not None
            p = trial.p_ai[k][np.searchsorted(division.part.score_rows, division.tested)]
            truth = y[division.tested]
            found["tpr"].append(float((p[truth == 1].astype(float) >= threshold).mean()))
            found["fpr"].append(float((p[truth == 0].astype(float) >= threshold).mean()))
            found["auc"].append(auc(truth, p))
        for name, values in found.items():
            figure = line.scores[place].figures[name]
            assert figure.estimate == pytest.approx(np.mean(values)) and figure.n_groups == 12
            assert figure.low <= figure.estimate <= figure.high


@pytest.mark.parametrize(("name", "choose"), [("tpr", min), ("fpr", max), ("auc", min)])
def test_the_mean_is_over_the_values_and_the_worst_is_one_of_them(
    result: AblationResult, name: str, choose: Any
) -> None:
    assert result.held_out is not None
    for line in result.held_out.lines:
        estimates = [score.figures[name].estimate for score in line.scores]
        assert line.mean[name].estimate == pytest.approx(np.mean(estimates))
        assert line.worst[name].figures[name].estimate == choose(estimates)


def test_labels_of_what_is_held_out_change_no_head(
    rows: StudyRows, result: AblationResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generator's rows are called real while heads without it are fitted."""
    assert result.held_out is not None
    own = rows.features.targets.y["b"] == 0
    fit, calls = heads.ablation.trials.TrialRunner._fit, []

    def poison(runner: Any, trial: Any, progress: Any) -> Any:
        targets, is_first = runner.study.features.targets, runner.study.holds_out and trial.part == 0
        calls.append(is_first)
        targets.y["a"][own & is_first] = 0
        try:
            return fit(runner, trial, progress)
        finally:
            targets.y["a"][own] = 1

    monkeypatch.setattr(heads.ablation.trials.TrialRunner, "_fit", poison)
    poisoned = ablate(rows, GRID)
    assert poisoned.held_out is not None and sum(calls) == 2
    assert poisoned.held_out.lines == result.held_out.lines


@pytest.mark.slow
def test_where_classes_share_no_origin_there_are_rates_alone(rows: StudyRows) -> None:
    shared = with_origins(
        rows, ["phone", "web", "web", "net", "net", "net", "camera", "web", "web", "net", "net", "net"]
    )
    # Captions are groups: without them the rows of training are judged too.
    loose = replace(
        shared.features, group=np.full(len(shared.features), ""), keys={"image": shared.features.keys["image"]}
    )
    found = ablate(replace(shared, features=loose), LINEAR).held_out
    assert found is not None and set(found.lines[0].mean) == {"tpr", "fpr"}
    figures = {score.value: set(score.figures) for score in found.lines[0].scores}
    assert figures == {"camera": {"fpr"}, "phone": {"fpr"}, "net": {"tpr"}, "web": {"tpr"}}
    record = found.to_dict()
    assert record["table"][0]["values"][0]["auc"] is record["table"][0]["mean"]["auc"] is None
    assert [each["n"] for each in record["values"]] == [12, 72, 12, 48]


def test_an_interrupted_ablation_goes_on_in_what_it_holds_out(
    rows: StudyRows, result: AblationResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, fitted = heads.ablation.trials.TrialRunner._fit, []

    def count(runner: Any, trial: Any, progress: Any) -> Any:
        fitted.append(trial)
        if len(fitted) == 6:
            raise KeyboardInterrupt
        return fit(runner, trial, progress)

    monkeypatch.setattr(heads.ablation.trials.TrialRunner, "_fit", count)
    with pytest.raises(KeyboardInterrupt):
        ablate(rows, GRID, out=tmp_path)
    assert json.loads((tmp_path / "plan.json").read_text())["plan"]["hold_out"] == "generator"
    again = ablate(rows, GRID, out=tmp_path)
    assert len(fitted) == 6 + 2 + 10 - 5  # two trials of the grid and two a generator, of which five were done
    assert again.held_out is not None and result.held_out is not None
    assert again.held_out.lines == result.held_out.lines
    with pytest.raises(HeadsError, match="begun with hold_out 'generator', now it is None"):
        ablate(rows, replace(GRID, hold_out=None), out=tmp_path)


def test_the_document_has_a_key_more_and_is_else_what_it_was(rows: StudyRows, result: AblationResult) -> None:
    held, plain = ablation_document(result), ablation_document(ablate(rows, replace(GRID, hold_out=None)))
    assert (held["format"], plain["format"]) == (4, 2)
    assert held.keys() - plain.keys() == {"held_out"} and held["grid"].keys() - plain["grid"].keys() == {"hold_out"}
    assert json.dumps(held["held_out"], allow_nan=False)
    for one, other in zip(held["heads"], plain["heads"], strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


@pytest.mark.slow
@pytest.mark.parametrize(("head", "settings"), [("linear", {"solver": "ridge"}), ("linear", {}), ("mlp", QUICK)])
def test_of_two_generators_each_is_judged_by_heads_that_know_the_other(
    tmp_path: Path, head: str, settings: dict[str, Any]
) -> None:
    store = write_cache(tmp_path / "cache", captions={"train": 12, "valid": 12}, generators=("sd21", "sdxl"))
    rows = StudyRows.load(store, choose_views(store, ["image"]), fusions=["image"])
    grid = replace(GRID, heads=(head,), dims=(4,), seeds=1, settings=settings)
    found = ablate(rows, grid).held_out
    assert found is not None and [line.cell.head for line in found.lines] == [head]
    assert [score.value for score in found.lines[0].scores] == ["sd21", "sdxl"]
    assert found.lines[0].mean["auc"].estimate > 0.5


def test_what_is_held_out_chooses_where_it_is_asked_to(result: AblationResult) -> None:
    assert result.held_out is not None
    aucs = {line.cell: line.mean["auc"].estimate for line in result.held_out.lines}
    first, second = sorted(aucs, key=lambda cell: aucs[cell])
    assert aucs[first] < aucs[second]
    # Scores are made to say the opposite.
    table = [replace(line, scores={"score": float(line.cell == first)}) for line in result.table]
    opposed = replace(result, table=tuple(table))
    assert opposed.best().cell == first
    asked = replace(opposed, grid=replace(GRID, select="held-out"))
    assert asked.best().cell == second and [line.cell for line in asked.ranked()] == [second, first]
    assert asked.grid.to_dict()["select"] == "held-out" and "select" not in GRID.to_dict()


def test_without_an_auc_it_chooses_by_rates() -> None:
    def line(**figures: float) -> HeldLine:
        return HeldLine(Cell("mlp", "image"), (), {name: Interval(x, x, x, 0.95, 9) for name, x in figures.items()})

    assert line(tpr=0.2, fpr=0.9, auc=0.7).merit == 0.7
    assert line(tpr=0.6, fpr=0.1).merit == pytest.approx(0.75)
    assert line(fpr=0.1).merit == pytest.approx(0.9) and line(tpr=0.6).merit == pytest.approx(0.6)


def test_folds_and_holding_out_are_not_asked_for_together() -> None:
    with pytest.raises(HeadsError, match="--hold-out divides train and valid by itself"):
        Grid(folds=3, hold_out="origin")
    with pytest.raises(HeadsError, match="--select held-out needs --hold-out"):
        Grid(select="held-out")
    with pytest.raises(HeadsError, match="unknown figure 'auc' to select by"):
        Grid(select="auc", hold_out="origin")
