"""Laws of the rows where outputs are compared: each cell has its own vectors, all have the same rows."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

import heads.ablation.trials
from featcache import FeatureStore
from featcache.synthetic import SyntheticData, SyntheticOutput, SyntheticView, write_synthetic
from heads.ablation.ablation import AblationResult, ablate
from heads.ablation.controls import LABELS_SHUFFLED, TEXT_SHUFFLED
from heads.ablation.files import ablation_document, prepare_ablation_out, write_ablation
from heads.ablation.grid import Cell, Grid
from heads.ablation.study_rows import StudyRows
from heads.data.choices import choose_outputs, choose_views
from heads.errors import HeadsError

OUTPUTS = {
    "text": {"cls": SyntheticOutput(6, content=3.0)},
    "image": {
        "cls": SyntheticOutput(7, signal=0.5),
        "mean": SyntheticOutput(10, signal=3.0),
        **{f"{family}:{k}": SyntheticOutput(8, signal=1.0 * k) for family in ("layers", "layers_mean") for k in (1, 2)},
    },
}
COMPARED = {"image": ("cls", "mean", "layers:all", "layers_mean:all")}
QUICK = {"epochs": 3, "lr": 0.01, "min_steps": 0}
GRID = Grid(heads=("mlp", "linear"), fusions=("concat", "layers"), dims=(4,), seeds=2, settings=QUICK, outputs=COMPARED)


def rows_of(store: FeatureStore, grid: Grid, *, views: tuple[str, ...] = ("clean",), first: str = "cls") -> StudyRows:
    choices = {"image": {"outputs": first}}
    chosen = choose_views(store, grid.fusions, views=views, choices=choices)
    outputs = choose_outputs(store, grid.outputs, views=views, choices=choices)
    return StudyRows.load(store, chosen, fusions=grid.fusions, outputs=outputs, needs_valid=grid.folds is None)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SyntheticData:
    captions, views = {"train": 30, "valid": 20}, {"blur:1": SyntheticView(shift=3.0)}
    return write_synthetic(tmp_path_factory.mktemp("rows") / "c", captions=captions, outputs=OUTPUTS, views=views)


@pytest.fixture(scope="module")
def result(data: SyntheticData) -> AblationResult:
    return ablate(rows_of(data.store, GRID), GRID)


@pytest.mark.slow
@pytest.mark.parametrize("folds", [None, 3])
def test_a_cell_scores_as_in_an_ablation_of_its_outputs_alone(data: SyntheticData, folds: int | None) -> None:
    plan: dict[str, Any] = {"fusions": ("image", "layers"), "dims": (4,), "seeds": 1, "folds": folds}
    grid = Grid(heads=("mlp", "linear"), controls=False, settings=QUICK, outputs=COMPARED, **plan)
    found = {line.cell: line.scores for line in ablate(rows_of(data.store, grid), grid).table}
    assert len(found) == 4 + 2 + 4
    for outputs in COMPARED["image"]:
        fusions = ("image", "layers") if ":" in outputs else ("image",)
        alone = Grid(heads=("mlp", "linear"), controls=False, settings=QUICK, **{**plan, "fusions": fusions})
        for line in ablate(rows_of(data.store, alone, first=outputs), alone).table:
            assert found.pop(Cell(*line.cell.group[:2], line.cell.dim, outputs=(("image", outputs),))) == line.scores
    assert not found


@pytest.mark.slow
def test_controls_are_fitted_for_each_choice_of_outputs(result: AblationResult) -> None:
    lines = [line.cell for line in result.table if line.cell.head == "linear" and line.cell.control]
    assert [(dict(cell.outputs)["image"], cell.control) for cell in lines] == [
        (outputs, control) for outputs in COMPARED["image"] for control in (TEXT_SHUFFLED, LABELS_SHUFFLED)
    ]
    assert {dict(line.cell.outputs)["image"] for line in result.table if line.cell.fusion == "layers"} == {
        *COMPARED["image"][2:]
    }


@pytest.mark.slow
def test_files_tell_the_outputs_apart(result: AblationResult, tmp_path: Path) -> None:
    write_ablation(result, tmp_path)
    document = ablation_document(result)
    assert document["format"] == 3 and document["grid"]["outputs"] == COMPARED
    for name, records in (("ablation.csv", document["table"]), ("heads.csv", document["heads"])):
        with (tmp_path / name).open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        assert [line["image_outputs"] for line in lines] == [record["image_outputs"] for record in records]
    told = [(f.head, f.fusion, f.outputs) for f in result.findings if f.verdict != "leak"]
    assert len(set(told)) == len(told) == 2 * 3 + 1  # `layers` is compared with the first that it takes
    import pyarrow.parquet as pq

    table = pq.read_table(tmp_path / "ablation.parquet")
    assert table.column_names == [*document["table"][0]] and "vs_first_high" in table.column_names
    assert set(table["image_outputs"].to_pylist()) == set(COMPARED["image"])
    svg = (tmp_path / "ablation.svg").read_text(encoding="utf-8")
    assert all(f"mlp concat {outputs}" in svg for outputs in COMPARED["image"])


@pytest.mark.slow
def test_an_interrupted_comparison_goes_on_and_another_does_not(
    data: SyntheticData, result: AblationResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, fitted = heads.ablation.trials.TrialRunner._fit, []

    def count(runner: Any, trial: Any, progress: Any) -> Any:
        fitted.append(trial)
        if len(fitted) == 4:
            raise KeyboardInterrupt
        return fit(runner, trial, progress)

    monkeypatch.setattr(heads.ablation.trials.TrialRunner, "_fit", count)
    with pytest.raises(KeyboardInterrupt):
        ablate(rows_of(data.store, GRID), GRID, out=tmp_path)
    fewer = Grid(**{**vars(GRID), "outputs": {"image": COMPARED["image"][:3]}})
    with pytest.raises(HeadsError, match="begun with outputs"):
        ablate(rows_of(data.store, fewer), fewer, out=tmp_path)
    prepare_ablation_out(tmp_path)
    again = ablate(rows_of(data.store, GRID), GRID, out=tmp_path)
    assert [head.score for head in again.heads] == [head.score for head in result.heads]
    assert len({(trial.cells, trial.seed) for trial in fitted}) == len(fitted) - 1


def test_every_choice_is_screened_by_itself(data: SyntheticData) -> None:
    quick = {"epochs": 2, "min_steps": 0}
    plan: dict[str, Any] = {"dims": (2, 4), "lrs": (1e-3, 1e-2), "seeds": 1, "screen": True, "controls": False}
    grid = Grid(fusions=("image", "layers"), outputs=COMPARED, settings=quick, **plan)
    found = ablate(rows_of(data.store, grid), grid)
    assert {line.cell for line in found.table} == set(grid.cells)
    full = [line.cell.group for line in found.table if line.stage == "full"]
    assert set(full) == {cell.group for cell in grid.cells}
    assert all(full.count(group) >= 2 for group in full)


def test_every_choice_has_all_views(data: SyntheticData) -> None:
    views = ("clean", "blur:1")
    rows = rows_of(data.store, GRID, views=views)
    for cell in GRID.cells:
        source = rows.source(cell)
        assert source.n_views == 2 and source.columns == rows.columns(cell)
    assert rows.digest() != rows_of(data.store, GRID).digest()


def test_the_digest_is_of_all_vectors_that_are_compared(data: SyntheticData) -> None:
    fewer = Grid(fusions=GRID.fusions, outputs={"image": COMPARED["image"][:3]})
    assert rows_of(data.store, GRID).digest() != rows_of(data.store, fewer).digest()


@pytest.mark.slow
def test_two_modalities_are_compared_at_once(tmp_path: Path) -> None:
    outputs = {**OUTPUTS, "text": {"cls": SyntheticOutput(6, content=3.0), "mean": SyntheticOutput(9)}}
    store = write_synthetic(tmp_path / "c", captions={"train": 30, "valid": 20}, outputs=outputs).store
    compared = {"text": ("cls", "mean"), "image": ("cls", "mean")}
    grid = Grid(heads=("linear",), fusions=("concat", "image"), outputs=compared, controls=False)
    choices = {modality: {"outputs": "cls"} for modality in compared}
    rows = StudyRows.load(
        store,
        choose_views(store, grid.fusions, choices=choices),
        fusions=grid.fusions,
        outputs=choose_outputs(store, compared, choices=choices),
    )
    found = ablate(rows, grid)
    widths = {"cls": 6, "mean": 9}, {"cls": 7, "mean": 10}
    for line, head in zip(found.table, found.heads, strict=True):
        chosen = dict(line.cell.outputs)
        text = widths[0][chosen["text"]] if chosen["text"] else 0
        assert chosen["image"] and head.n_parameters == (text + widths[1][chosen["image"]] + 1) * 6
    assert [line.cell.name for line in found.table][:2] == [
        "concat text cls + image cls",
        "concat text cls + image mean",
    ]
    assert [line.from_first is None for line in found.table] == [True, False, False, False, True, False]


def test_outputs_that_a_network_cannot_take_are_refused_before_the_work(data: SyntheticData, tmp_path: Path) -> None:
    grid = Grid(fusions=("image", "layers"), outputs={"image": ("layers:all", "cls,mean")}, settings=QUICK)
    with pytest.raises(HeadsError, match="two outputs or more of one width"):
        ablate(rows_of(data.store, grid, first="layers:all"), grid, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_rows_of_other_outputs_are_refused(data: SyntheticData) -> None:
    alone = Grid(fusions=("image",))
    with pytest.raises(HeadsError, match="other outputs to compare"):
        ablate(rows_of(data.store, GRID), alone)
