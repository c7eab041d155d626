"""Laws of the ablation: one set of rows, a line a head, validation only."""

from __future__ import annotations

import csv
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest

from heads.ablation import AblationResult, ablate, check_ablation_out, write_ablation
from heads.errors import HeadsError
from heads.features import Features, choose_selections, load_fit_features
from tests.heads.synthetic import Row, write_cache

QUICK = {"epochs": 3, "lr": 0.01}


def features_of(path: Path, **options: Any) -> Features:
    store = write_cache(path, captions={"train": 12, "valid": 8, "test": 4}, **options)
    return load_fit_features(store, choose_selections(store, store.modalities))


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Features:
    return features_of(tmp_path_factory.mktemp("ablation") / "cache")


@pytest.fixture(scope="module")
def result(features: Features) -> AblationResult:
    return ablate(features, QUICK, fusions=["concat", "image"], dims=[4, 8], seeds=range(2))


def test_the_grid_is_complete_and_in_order(result: AblationResult) -> None:
    cells = [(row.fusion, row.dim, row.seed) for row in result.rows]
    assert cells == [(f, d, s) for f in ("concat", "image") for d in (4, 8) for s in (0, 1)]
    assert result.n_rows == {"train": 72, "valid": 48, "refused": 0}


def test_the_score_is_the_mean_of_its_parts(result: AblationResult) -> None:
    for row in result.rows:
        assert row.a_balanced_accuracy is not None
        assert row.b_f1_macro is not None
        assert row.score == pytest.approx((row.a_balanced_accuracy + row.b_f1_macro) / 2)


def test_the_summary_is_mean_and_sd_over_seeds(result: AblationResult) -> None:
    summary = result.summary()
    assert len(summary) == 4
    scores = [row.score for row in result.rows[:2]]
    assert summary[0]["score"] == pytest.approx(statistics.fmean(scores))
    assert summary[0]["score_sd"] == pytest.approx(statistics.stdev(scores))


def test_parameters_are_those_of_the_network(result: AblationResult) -> None:
    n_logits = 6
    for row in result.rows:
        d = {"concat": 18, "image": 12}[row.fusion]
        assert row.dim is not None
        assert row.n_parameters == (d + 1) * row.dim + (row.dim + 1) * n_logits


@pytest.mark.parametrize("head", ["linear", "gbdt"])
def test_heads_without_a_dimension_are_fitted_once_a_fusion(features: Features, head: str) -> None:
    result = ablate(features, {"head": head}, fusions=["image", "text"], dims=[4, 8], seeds=[0])
    assert [(row.fusion, row.dim) for row in result.rows] == [("image", None), ("text", None)]
    assert (result.rows[0].n_parameters is None) == (head == "gbdt")
    assert result.summary()[0]["score_sd"] is None


def test_all_fusions_see_the_same_rows(tmp_path: Path) -> None:
    def drop(rows: list[Row]) -> None:
        rows[0].caption = None
        rows[-30].caption = None  # of valid

    features = features_of(tmp_path / "cache", edit=drop)
    seen: list[Any] = []
    result = ablate(
        features, {"head": "linear"}, fusions=["image", "concat"], dims=[4], seeds=[0], progress=seen.append
    )
    assert result.n_rows == {"train": 71, "valid": 47, "refused": 2}
    assert [(record["done"], record["total"]) for record in seen] == [(1, 2), (2, 2)]


@pytest.mark.parametrize("grid", [{"fusions": []}, {"dims": []}, {"seeds": [1, 1]}])
def test_an_empty_or_repeated_grid_is_refused(features: Features, grid: dict[str, Any]) -> None:
    with pytest.raises(HeadsError, match="or more, each once"):
        ablate(features, QUICK, **{"fusions": ["image"], "dims": [4], "seeds": [0], **grid})


def test_tables_json_and_plot_are_written(result: AblationResult, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert write_ablation(result, out) is None
    assert sorted(path.name for path in out.iterdir()) == [
        "ablation.csv",
        "ablation.json",
        "ablation.png",
        "summary.csv",
    ]
    with (out / "ablation.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 8
    document = json.loads((out / "ablation.json").read_text())
    assert document == json.loads(json.dumps(result.to_dict()))
    assert {"machine", "versions", "config", "rows", "summary"} <= set(document)
    from PIL import Image

    with Image.open(out / "ablation.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 600
    with pytest.raises(HeadsError, match="--overwrite"):
        write_ablation(result, out)
    check_ablation_out(out, overwrite=True)


def test_a_head_without_a_dimension_is_drawn_too(features: Features, tmp_path: Path) -> None:
    result = ablate(features, {"head": "linear"}, fusions=["image", "text"], dims=[4], seeds=[0])
    write_ablation(result, tmp_path / "out")
    assert (tmp_path / "out" / "ablation.png").stat().st_size > 1000


def test_without_matplotlib_there_is_all_but_the_plot(
    result: AblationResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    note = write_ablation(result, tmp_path / "out")
    assert note is not None
    assert "featcache[plot]" in note
    assert not (tmp_path / "out" / "ablation.png").exists()
