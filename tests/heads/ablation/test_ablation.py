"""Laws of the ablation: one set of rows, a line a configuration, validation only; interrupted, it goes on."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import heads.ablation.trials
from featcache import FeatureStore
from featcache.files.owner import Owner
from featcache.synthetic import SyntheticData, SyntheticOutput, SyntheticView, write_synthetic
from heads.ablation.ablation import AblationResult, ablate
from heads.ablation.controls import LABELS_SHUFFLED, TEXT_SHUFFLED
from heads.ablation.files import ablation_document, prepare_ablation_out, write_ablation
from heads.ablation.grid import Cell, Grid
from heads.ablation.ledger import LEDGER_FOLDER, PLAN, remove_ledger
from heads.ablation.study_rows import StudyRows
from heads.data.choices import choose_views
from heads.data.division import CLASS_RULE, SIZE_RULE
from heads.errors import HeadsError
from tests.heads.synthetic import load_fit_features

QUICK = {"epochs": 3, "lr": 0.01, "min_steps": 0}
GRID = Grid(fusions=("concat", "image"), dims=(4, 8), seeds=2, settings=QUICK)
OUTPUTS = {
    "text": {"cls": SyntheticOutput(6, content=3.0)},
    "image": {"pooled": SyntheticOutput(12, signal=3.0)},
    "spectral": {"radial": SyntheticOutput(5, signal=1.0)},
}
VIEWS = {"blur:1": SyntheticView(shift=3.0, noise=0.5)}


def rows_of(store: FeatureStore, grid: Grid, *, views: tuple[str, ...] = ("clean",)) -> StudyRows:
    chosen = choose_views(store, grid.fusions, views=views)
    return StudyRows.load(store, chosen, fusions=grid.fusions, needs_valid=grid.folds is None)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SyntheticData:
    captions = {"train": 40, "valid": 20, "test": 4}
    return write_synthetic(tmp_path_factory.mktemp("ablation") / "c", captions=captions, outputs=OUTPUTS, views=VIEWS)


@pytest.fixture(scope="module")
def result(data: SyntheticData) -> AblationResult:
    return ablate(rows_of(data.store, GRID), GRID)


def test_the_grid_is_complete_and_in_order_and_controls_follow(result: AblationResult) -> None:
    cells = [(line.cell.fusion, line.cell.dim, line.cell.control) for line in result.table]
    assert cells[:4] == [(fusion, dim, None) for fusion in ("concat", "image") for dim in (4, 8)]
    assert [(f, c) for f, _, c in cells[4:]] == [
        ("concat", TEXT_SHUFFLED),
        ("concat", LABELS_SHUFFLED),
        ("image", LABELS_SHUFFLED),
    ]
    assert len(result.heads) == 14
    assert result.n_rows["fit"] == 240
    assert result.n_rows["refused"] == 0


def test_controls_are_of_the_best_configuration_of_their_fusion(result: AblationResult) -> None:
    for line in result.table[4:]:
        rivals = [other for other in result.table[:4] if other.cell.fusion == line.cell.fusion]
        assert line.cell.dim == max(rivals, key=lambda other: other.score).cell.dim


def test_the_score_is_the_mean_of_its_parts(result: AblationResult) -> None:
    for head in result.heads:
        assert head.a_balanced_accuracy is not None
        assert head.b_f1_macro is not None
        assert head.score == pytest.approx((head.a_balanced_accuracy + head.b_f1_macro) / 2)


def test_the_table_is_mean_and_sd_over_seeds(result: AblationResult) -> None:
    scores = [head.score for head in result.heads[:2]]
    line = result.table[0]
    assert (line.n_seeds, line.stage) == (2, "full")
    assert line.score == pytest.approx(statistics.fmean(scores))
    assert line.scores["score_sd"] == pytest.approx(statistics.stdev(scores))


def test_parameters_are_those_of_the_network(result: AblationResult) -> None:
    for head in result.heads:
        d = {"concat": 18, "image": 12}[head.cell.fusion]
        assert head.cell.dim is not None
        assert head.n_parameters == (d + 1) * head.cell.dim + (head.cell.dim + 1) * 6


def test_scores_are_those_of_heads_trains_head(data: SyntheticData, result: AblationResult) -> None:
    from heads.data.choices import choose_selections
    from heads.runs.fitting import fit_run, parse_config

    features = load_fit_features(data.store, choose_selections(data.store, ["image"]))
    fitted = fit_run(features, parse_config({**QUICK, "fusion": "image", "dim": 8, "seed": 1}))
    (head,) = [head for head in result.heads if head.cell == Cell("mlp", "image", 8) and head.seed == 1]
    assert head.score == head.calibrating_score == pytest.approx(fitted.validation["calibrating"]["score"])
    assert result.n_rows["scored"] == fitted.validation["calibrating"]["n"]


@pytest.mark.parametrize("head", ["linear", "gbdt"])
def test_heads_without_a_dimension_are_fitted_once_a_fusion(data: SyntheticData, head: str) -> None:
    grid = Grid(heads=(head,), fusions=("image", "spectral"), seeds=1, controls=False)
    found = ablate(rows_of(data.store, grid), grid)
    assert [line.cell for line in found.table] == [Cell(head, "image"), Cell(head, "spectral")]
    assert (found.heads[0].n_parameters is None) == (head == "gbdt")
    assert found.table[0].scores["score_sd"] is None


def test_an_ensemble_takes_the_columns_and_settings_of_its_members(data: SyntheticData) -> None:
    members = {"members": "linear:image,mlp", "linear.strengths": [0.01], "mlp.epochs": 1, "mlp.dim": 4}
    grid = Grid(heads=("ensemble", "linear"), fusions=("concat",), seeds=2, controls=False, settings=members)
    found = ablate(rows_of(data.store, grid), grid)
    assert [(score.cell.head, score.seed) for score in found.heads] == [("ensemble", 0), ("ensemble", 1), ("linear", 0)]
    n_logits = len(data.store.class_names)  # one of A, and one a generator
    assert found.heads[0].n_parameters == n_logits * (12 + 1) + 4 * (18 + 1) + n_logits * (4 + 1)


def test_all_fusions_see_the_same_rows(tmp_path: Path) -> None:
    captions = {"train": 30, "valid": 20}
    data = write_synthetic(tmp_path / "c", captions=captions, outputs=OUTPUTS, missing={"text": 0.2})
    grid = Grid(heads=("linear",), fusions=("image", "concat"), controls=False)
    seen: list[Any] = []
    found = ablate(rows_of(data.store, grid), grid, progress=seen.append)
    n_missing = int((~data.store.arrays().present["text"]).sum())
    assert found.n_rows["refused"] == n_missing > 20
    assert found.n_rows["fit"] < 180
    assert [(r["n_done"], r["n_total"]) for r in seen] == [(0, 2), (1, 2), (1, 2), (2, 2)]
    assert seen[-1]["done"] == pytest.approx(seen[-1]["total"])
    assert seen[-1]["eta"] == pytest.approx(0)


@pytest.mark.slow
def test_with_folds_every_row_is_scored_once(data: SyntheticData) -> None:
    grid = Grid(heads=("linear",), fusions=("image",), folds=3, controls=False)
    (line,) = ablate(rows_of(data.store, grid), grid).table
    assert line.scores["calibrating_score"] is None
    grid = Grid(fusions=("image",), dims=(8,), seeds=1, folds=3, controls=False, settings=QUICK)
    found = ablate(rows_of(data.store, grid), grid)
    assert found.n_rows["scored"] == 360
    counts = found.heads[0].counts
    assert counts.n_groups == 60
    assert counts.by_task["a"].confusion(np.ones((1, 60))).sum() == 360


def test_a_fold_never_sees_the_rows_that_it_scores(data: SyntheticData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels of the scored rows are made garbage while their fold is fitted: nothing changes."""
    grid = Grid(fusions=("image",), dims=(8,), seeds=1, folds=3, controls=False, settings=QUICK)
    honest = ablate(rows_of(data.store, grid), grid)
    fit = heads.ablation.trials.TrialRunner._fit

    def poison(runner: Any, trial: Any, progress: Any) -> Any:
        study = runner.study
        scored = study.parts[trial.part].score_rows
        for y in study.features.targets.y.values():
            y[scored] = y[scored][::-1]
        try:
            return fit(runner, trial, progress)
        finally:
            for y in study.features.targets.y.values():
                y[scored] = y[scored][::-1]

    monkeypatch.setattr(heads.ablation.trials.TrialRunner, "_fit", poison)
    poisoned = ablate(rows_of(data.store, grid), grid)
    assert poisoned.heads[0].score == honest.heads[0].score


@pytest.mark.slow
def test_text_that_tells_of_the_content_is_a_gain_and_shuffled_text_is_none(tmp_path: Path) -> None:
    data = write_synthetic(tmp_path / "c", captions={"train": 150, "valid": 150}, outputs=OUTPUTS)
    grid = Grid(heads=("linear",), fusions=("concat", "image", "text"))
    found = ablate(rows_of(data.store, grid), grid)
    verdicts = {finding.fusion: finding.verdict for finding in found.findings}
    assert verdicts == {"concat": "gain", "text": "worse"}
    lines = {(line.cell.fusion, line.cell.control): line for line in found.table}
    assert lines["concat", TEXT_SHUFFLED].score < lines["concat", None].score - 0.03
    a = lines["text", None].scores["a_balanced_accuracy"]
    assert a == pytest.approx(0.5, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("is_leaky", [False, True])
def test_pictures_of_train_in_valid_are_a_leak(data: SyntheticData, is_leaky: bool) -> None:
    trees = {"rounds": 30, "feature_fraction": 1.0, "min_data_in_leaf": 1}
    grid = Grid(heads=("gbdt",), fusions=("image",), seeds=2, settings=trees)
    rows = rows_of(data.store, grid)
    valid, order = np.flatnonzero(rows.features.split == "valid"), np.arange(len(rows.features))
    order[valid] = np.flatnonzero(rows.features.split == "train")[: len(valid)]
    keys = {modality: key[order] for modality, key in rows.features.keys.items()}
    features = replace(rows.features, keys=keys, targets=rows.features.targets.select(order))
    leaky = replace(rows, features=features, numbers=rows.numbers[order])
    found = ablate(leaky if is_leaky else rows, grid)
    assert [finding.verdict for finding in found.findings] == ["leak"] * is_leaky


def test_heads_are_fitted_on_all_views_that_are_given(data: SyntheticData) -> None:
    grid = Grid(fusions=("image",), dims=(16,), seeds=1, controls=False, settings={**QUICK, "epochs": 15})
    rows = rows_of(data.store, grid, views=("clean", "blur:1"))
    assert rows.source(Cell("mlp", "image")).n_views == 2
    found = ablate(rows, grid)
    assert found.conditions["views"] == ["clean", "blur:1"]
    assert found.heads[0].score != ablate(rows_of(data.store, grid), grid).heads[0].score


def test_a_screened_grid_says_which_lines_were_screened(data: SyntheticData) -> None:
    grid = Grid(
        fusions=("image",),
        dims=(2, 8, 16),
        lrs=(1e-6, 1e-2),
        seeds=2,
        screen=True,
        controls=False,
        settings={"epochs": 4, "min_steps": 0},
    )
    found = ablate(rows_of(data.store, grid), grid)
    stages = [line.stage for line in found.table]
    assert stages[:2] == ["full", "full"]
    assert set(stages[2:]) == {"screen 1"} | ({"screen 2"} & set(stages))
    assert {line.cell for line in found.table} == set(grid.cells)
    assert found.best().cell.lr == 1e-2
    assert all(line.seconds is None and line.difference is None for line in found.table[2:])


@pytest.mark.parametrize(("settings", "message"), [({"rate": 1}, "unknown setting 'rate'"), ({"epochs": 0}, "epochs")])
def test_settings_that_no_head_has_are_refused_before_the_work(
    data: SyntheticData, settings: dict[str, Any], message: str
) -> None:
    grid = Grid(heads=("mlp", "linear"), fusions=("image",), settings=settings)
    with pytest.raises(HeadsError, match=message):
        ablate(rows_of(data.store, grid), grid)


def test_an_interrupted_ablation_goes_on_where_it_stopped(
    data: SyntheticData, result: AblationResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, fitted = heads.ablation.trials.TrialRunner._fit, []

    def count(runner: Any, trial: Any, progress: Any) -> Any:
        fitted.append(trial)
        if len(fitted) == 3:
            raise KeyboardInterrupt
        return fit(runner, trial, progress)

    monkeypatch.setattr(heads.ablation.trials.TrialRunner, "_fit", count)
    with pytest.raises(KeyboardInterrupt):
        ablate(rows_of(data.store, GRID), GRID, out=tmp_path / "out")
    prepare_ablation_out(tmp_path / "out")
    again = ablate(rows_of(data.store, GRID), GRID, out=tmp_path / "out")
    assert len(fitted) == 3 + 2 + 6  # two of the four trials of the grid, then six of controls
    assert [h.score for h in again.heads] == [h.score for h in result.heads]
    assert again.findings == result.findings


def test_an_ablation_goes_on_by_the_rule_that_validation_was_divided_by_when_it_was_begun(tmp_path: Path) -> None:
    store = write_synthetic(tmp_path / "c", captions={"train": 20, "valid": 9}, outputs=OUTPUTS).store
    grid = Grid(heads=("linear",), fusions=("image",), controls=False)
    rows = rows_of(store, grid)
    # One large group of AI rows: by sizes it alone selects.
    large = rows.features.split == "valid", rows.features.targets.y["a"] == 1
    rows = replace(rows, features=replace(rows.features, group=np.where(np.all(large, axis=0), "x", "")))
    out = tmp_path / "out"
    new = ablate(rows, grid, out=out)
    plan = json.loads((out / "plan.json").read_text())
    assert plan["plan"].pop("division") == new.conditions["division"] == CLASS_RULE
    assert plan["plan"].pop("former") is False
    remove_ledger(out)
    (out / "plan.json").write_text(json.dumps(plan))  # as an earlier version left it
    old = ablate(rows, grid, out=out)
    assert old.conditions["division"] == SIZE_RULE
    assert (old.n_rows["select"], new.n_rows["select"]) == (45, 49)
    assert json.loads((out / "plan.json").read_text()) == plan
    plan["plan"]["division"] = "a newer one"
    (out / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(HeadsError, match="unknown rule, 'a newer one'"):
        ablate(rows, grid, out=out)


def test_an_ablation_goes_on_with_the_settings_that_it_was_begun_with(data: SyntheticData, tmp_path: Path) -> None:
    grid = Grid(fusions=("image",), dims=(4,), settings=QUICK, controls=False)
    rows, out = rows_of(data.store, grid), tmp_path / "out"
    new = ablate(rows, grid, out=out)
    plan = json.loads((out / PLAN).read_text())
    del plan["plan"]["former"]
    remove_ledger(out)
    (out / PLAN).write_text(json.dumps(plan))  # as an earlier version left it
    as_they_are = replace(grid, settings={**QUICK, "components": 0})
    assert ablate(rows, grid, out=out).best().score == ablate(rows, as_they_are).best().score != new.best().score


def test_other_rows_or_another_grid_do_not_go_on_in_the_same_folder(data: SyntheticData, tmp_path: Path) -> None:
    grid = Grid(heads=("linear",), fusions=("image",), controls=False)
    ablate(rows_of(data.store, grid), grid, out=tmp_path / "out")
    other = Grid(heads=("linear",), fusions=("text",), controls=False)
    with pytest.raises(HeadsError, match="begun with fusions"):
        ablate(rows_of(data.store, other), other, out=tmp_path / "out")
    fewer = write_synthetic(tmp_path / "c", captions={"train": 30, "valid": 20}, outputs=OUTPUTS)
    with pytest.raises(HeadsError, match="begun with other rows or vectors than there are now"):
        ablate(rows_of(fewer.store, grid), grid, out=tmp_path / "out")


def test_tables_json_and_plots_are_written_and_the_folder_is_whole(result: AblationResult, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / PLAN).write_text("{}")
    (out / LEDGER_FOLDER).mkdir()
    assert write_ablation(result, out) == []
    names = {path.name for path in out.iterdir()}
    assert names == {f"ablation.{kind}" for kind in ("csv", "json", "parquet", "png", "svg")} | {"heads.csv"}
    with (out / "ablation.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 7
    assert float(table[0]["vs_image_low"]) < float(table[0]["vs_image_high"])
    with (out / "heads.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 14
    assert json.loads((out / "ablation.json").read_text()) == json.loads(json.dumps(ablation_document(result)))
    import pyarrow.parquet as pq

    assert pq.read_table(out / "ablation.parquet").column_names == list(table[0])
    from PIL import Image

    with Image.open(out / "ablation.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 1000
    assert (out / "ablation.svg").read_text().startswith("<?xml")


def test_a_finished_ablation_is_kept_unless_it_is_to_be_replaced(result: AblationResult, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_ablation(result, out)
    with pytest.raises(HeadsError, match="--overwrite"):
        prepare_ablation_out(out)
    before = {path.name for path in out.iterdir()}
    prepare_ablation_out(out, overwrite=True)
    assert {path.name for path in out.iterdir()} == before
    shutil.rmtree(out)
    prepare_ablation_out(out)
    out.mkdir()
    prepare_ablation_out(out)
    (out / "thesis.tex").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(HeadsError, match="neither empty nor the folder of an ablation"):
            prepare_ablation_out(out, overwrite=overwrite)


@pytest.mark.slow
@pytest.mark.parametrize(
    "stranger", ["notes.txt", "trials/notes.txt", "trials/mine.safetensors", "pictures/1.png", "ablation.csv/1"]
)
def test_an_ablation_with_a_file_that_none_has_is_not_overwritten(
    result: AblationResult, tmp_path: Path, stranger: str
) -> None:
    out = tmp_path / "out"
    write_ablation(result, out)
    path = out / stranger
    path.parent.unlink(missing_ok=True) if path.parent.is_file() else None
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    before = set(out.rglob("*"))
    first = stranger.rpartition("/")[0] if stranger[:3] in ("pic", "abl") else stranger
    with pytest.raises(HeadsError, match=rf"^{out} holds '{first}', .*not overwritten") as caught:
        prepare_ablation_out(out, overwrite=True)
    assert "\n" not in str(caught.value) and set(out.rglob("*")) == before


def dead_draft(final: Path) -> Path:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return final.with_name(f".{final.name}.{Owner.current().host}-{child.pid}-{'0' * 16}.tmp")


@pytest.mark.slow
@pytest.mark.parametrize("overwrite", [False, True])
def test_where_an_ablation_is_refused_nothing_is_removed(
    result: AblationResult, tmp_path: Path, overwrite: bool
) -> None:
    docs, out = tmp_path / "docs", tmp_path / "out"
    write_ablation(result, out)
    for folder in (docs, out):
        (folder / "thesis").mkdir(parents=True)
        dead_draft(folder / "work").mkdir()
        dead_draft(folder / "ablation.csv").write_text("half")
    before = set(tmp_path.rglob("*"))
    for folder in (docs, out):
        with pytest.raises(HeadsError, match="choose another --out"):
            prepare_ablation_out(folder, overwrite=overwrite)
    assert set(tmp_path.rglob("*")) == before


def test_in_an_ablation_the_unfinished_files_of_its_own_names_go_alone(tmp_path: Path) -> None:
    (tmp_path / LEDGER_FOLDER).mkdir()
    (tmp_path / PLAN).write_text("{}")
    own = [tmp_path / name for name in ("ablation.json", "heads.csv", PLAN, f"{LEDGER_FOLDER}/{'a' * 32}.safetensors")]
    strangers = [tmp_path / name for name in ("work", f"{LEDGER_FOLDER}/work", f"{LEDGER_FOLDER}/x.safetensors")]
    for final in (*own, *strangers):
        dead_draft(final).write_text("half")
    dead_draft(tmp_path / "ablation.csv").mkdir()
    prepare_ablation_out(tmp_path)
    kept = {path.name.split(".")[1] for path in tmp_path.rglob(".*")}
    assert kept == {"work", "x", "ablation"} and len(list(tmp_path.rglob(".*"))) == 4


@pytest.mark.slow
def test_overwriting_an_ablation_follows_no_link(result: AblationResult, tmp_path: Path) -> None:
    out, precious = tmp_path / "out", tmp_path / "precious"
    precious.mkdir()
    (precious / "x.safetensors").write_text("mine")
    write_ablation(result, out)
    (out / LEDGER_FOLDER).symlink_to(precious)
    with pytest.raises(HeadsError, match=f"holds '{LEDGER_FOLDER}'"):
        prepare_ablation_out(out, overwrite=True)
    assert write_ablation(result, out) == []
    (out / LEDGER_FOLDER).unlink()
    (out / "heads.csv").unlink()
    (out / "heads.csv").symlink_to(precious / "x.safetensors")
    prepare_ablation_out(out, overwrite=True)
    write_ablation(result, out)
    assert (precious / "x.safetensors").read_text() == "mine" and not (out / "heads.csv").is_symlink()
    with pytest.raises(HeadsError, match="is no folder"):
        (tmp_path / "link").symlink_to(out)
        prepare_ablation_out(tmp_path / "link", overwrite=True)


@pytest.mark.slow
def test_a_finished_ablation_stays_until_the_one_that_replaces_it_is_whole(
    data: SyntheticData, result: AblationResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write_ablation(result, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    grid = Grid(heads=("linear",), fusions=("image",), controls=False)
    prepare_ablation_out(out, overwrite=True)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(heads.ablation.trials.TrialRunner, "_fit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        ablate(rows_of(data.store, grid), grid, out=out)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.name in before} == before
    prepare_ablation_out(out)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    write_ablation(ablate(rows_of(data.store, grid), grid, out=out), out)
    assert {path.name for path in out.iterdir()} == set(before) - {"ablation.parquet"}
    assert all((out / name).read_bytes() != before[name] for name in set(before) - {"ablation.parquet"})


def test_an_ablation_that_was_killed_while_it_began_goes_on(result: AblationResult, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from heads.ablation.ledger import Ledger\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Ledger.open(Path(sys.argv[1]), {})"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL and len(list(tmp_path.iterdir())) == 1
    prepare_ablation_out(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_head_without_a_dimension_is_drawn_too(data: SyntheticData, tmp_path: Path) -> None:
    grid = Grid(heads=("linear",), fusions=("image", "concat"))
    write_ablation(ablate(rows_of(data.store, grid), grid), tmp_path / "out")
    assert (tmp_path / "out" / "ablation.png").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.parametrize(("module", "missing"), [("matplotlib", ("png", "svg")), ("pyarrow", ("parquet",))])
def test_without_an_extra_there_is_all_but_its_files(
    result: AblationResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, missing: tuple[str, ...]
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    (note,) = write_ablation(result, tmp_path / "out")
    assert "pip install" in note
    assert module in note
    present = {path.suffix[1:] for path in (tmp_path / "out").iterdir()}
    assert present == {"csv", "json", "parquet", "png", "svg"} - set(missing)


@pytest.mark.slow
def test_a_cache_without_validation_needs_folds(tmp_path: Path) -> None:
    data = write_synthetic(tmp_path / "c", captions={"train": 30}, outputs=OUTPUTS)
    grid = Grid(heads=("linear",), fusions=("image",), controls=False)
    with pytest.raises(HeadsError, match="no rows in split 'valid'"):
        rows_of(data.store, grid)
    folded = Grid(heads=("linear",), fusions=("image",), controls=False, folds=3)
    assert ablate(rows_of(data.store, folded), folded).n_rows["scored"] == 180
    assert np.isfinite(ablate(rows_of(data.store, folded), folded).heads[0].score)
