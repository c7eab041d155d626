"""Laws of the request: every configuration once, and nothing that nobody understands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from heads.ablation.controls import LABELS_SHUFFLED, TEXT_SHUFFLED
from heads.ablation.grid import Cell, Grid
from heads.ablation.grid_file import load_grid_file
from heads.ablation.request import AblationRequest
from heads.data.fusion import FUSIONS
from heads.errors import HeadsError


def test_the_grid_is_the_product_of_its_lists() -> None:
    grid = Grid(fusions=("concat", "image"), dims=(4, 8), lrs=(0.1, 0.2), weight_decays=(0.0,), seeds=3)
    assert len(grid.cells) == len(set(grid.cells)) == 8
    assert grid.cells[0] == Cell("mlp", "concat", 4, 0.1, 0.0)
    assert grid.n_heads == 24
    assert Grid(folds=5).n_heads == 5 * Grid().n_heads


def test_heads_without_a_dimension_have_one_cell_a_fusion_and_pass_networks_by() -> None:
    grid = Grid(heads=("mlp", "linear", "gbdt"), fusions=("image", "gated"), dims=(4,), seeds=2)
    expected = [("mlp", "image", 4), ("mlp", "gated", 4), ("linear", "image", None), ("gbdt", "image", None)]
    assert [(cell.head, cell.fusion, cell.dim) for cell in grid.cells] == expected
    assert [len(grid.seeds_of(head)) for head in grid.heads] == [2, 1, 2]


@pytest.mark.parametrize(("members", "n_seeds"), [("linear,linear:image", 1), ("linear,gbdt", 3)])
def test_an_ensemble_has_one_seed_if_nothing_in_its_members_is_random(members: str, n_seeds: int) -> None:
    assert len(Grid(heads=("ensemble",), settings={"members": members}).seeds_of("ensemble")) == n_seeds


@pytest.mark.parametrize(("fusion", "has_text"), [("image", False), ("text", False), ("concat", True), ("mlb", True)])
def test_text_is_shuffled_where_it_stands_beside_something(fusion: str, has_text: bool) -> None:
    expected = (TEXT_SHUFFLED, LABELS_SHUFFLED) if has_text else (LABELS_SHUFFLED,)
    assert Grid().controls_of(fusion) == expected
    assert Grid(controls=False).controls_of(fusion) == ()


def test_outputs_are_compared_where_a_fusion_takes_them() -> None:
    outputs = {"image": ("cls", "layers:all", "cls,mean"), "text": ("cls", "mean")}
    grid = Grid(fusions=("concat", "layers", "text"), dims=(4, 8), seeds=1, outputs=outputs)
    found = [(cell.fusion, dict(cell.outputs)) for cell in grid.cells if cell.dim == 4]
    assert found == [
        *(("concat", {"image": i, "text": t}) for i in outputs["image"] for t in outputs["text"]),
        *(("layers", {"image": image, "text": None}) for image in ("layers:all", "cls,mean")),
        *(("text", {"image": None, "text": text}) for text in outputs["text"]),
    ]
    last = grid.cells[-1]
    assert last.to_dict() == {
        "head": "mlp",
        "fusion": "text",
        "image_outputs": None,
        "text_outputs": "mean",
        "dim": 8,
        "lr": None,
        "weight_decay": None,
        "control": None,
    }
    assert grid.first_of(last) == Cell("mlp", "text", 8, outputs=(("image", None), ("text", "cls")))
    assert grid.counterpart(last, "image") == Cell("mlp", "image", 8, outputs=(("image", "cls"), ("text", None)))
    assert [cell.name for cell in (last, grid.cells[0])] == ["text mean", "concat image cls + text cls"]


def test_a_grid_without_compared_outputs_says_nothing_of_them() -> None:
    assert "outputs" not in Grid().to_dict()
    assert [*Cell("mlp", "image").to_dict()] == ["head", "fusion", "dim", "lr", "weight_decay", "control"]
    assert Grid(fusions=("image",), outputs={"image": ("cls", "mean")}).to_dict()["outputs"]["image"] == ("cls", "mean")


def test_every_fusion_can_be_asked_for() -> None:
    grid = Grid(fusions=tuple(FUSIONS))
    assert set(grid.modalities) == {"text", "image", "spectral"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusions": ()}, "fusions or more, each once"),
        ({"dims": (4, 4)}, "dims or more, each once"),
        ({"fusions": ("film",)}, "unknown fusion 'film'"),
        ({"heads": ("svm",)}, "unknown head 'svm'"),
        ({"seeds": 0}, "seeds is 0"),
        ({"seeds": 10**30}, "seeds is 1000.*expected a whole number from 1 to 1000000"),
        ({"seeds": True}, "seeds is True"),
        ({"folds": 2}, "folds is 2"),
        ({"folds": 10**30}, "folds is 1000"),
        ({"heads": ("linear",), "fusions": ("gated",)}, "head linear cannot take fusion gated"),
        ({"dims": tuple(range(1, 2000)), "seeds": 1000}, "at most 1,000,000"),
        ({"outputs": {"image": ("cls",)}}, r"expected two image outputs or more .*, found \['cls'\]"),
        ({"outputs": {"image": ("cls", "cls")}}, "each once"),
        ({"fusions": ("image",), "outputs": {"text": ("cls", "mean")}}, "text outputs are compared, but only image"),
        ({"fusions": ("layers",), "outputs": {"image": ("cls", "layers:4")}}, "neither cls nor layers:4 has"),
    ],
)
def test_grids_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(HeadsError, match=message):
        Grid(**changes)


def test_a_file_says_the_same_as_the_options(tmp_path: Path) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(
        'fusion = "concat, image"\ndim = [32, 64]\nlr = "1e-3,3e-3"\nweight_decay = 0\nseeds = 4\nfolds = 5\n'
        'screen = true\nviews = ["train"]\n[set]\nepochs = 20\n[image]\noutputs = "layers:all"\n'
    )
    assert load_grid_file(path) == AblationRequest(
        fusion=("concat", "image"),
        dim=(32, 64),
        lr=(0.001, 0.003),
        weight_decay=(0.0,),
        seeds=4,
        folds=5,
        screen=True,
        views=("train",),
        set={"epochs": 20},
        image={"outputs": "layers:all"},
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fussion = 1", "unknown key 'fussion'"),
        ("dim = 'x'", "expected whole numbers"),
        ("dim = [1.5]", "expected whole numbers"),
        ("dim = [true]", "expected whole numbers"),
        ("dim = [0]", "expected whole numbers"),
        ("lr = [nan]", "expected numbers"),
        ("lr = [-1.0]", "expected numbers"),
        ("lr = [" + "9" * 400 + "]", "expected numbers"),
        ("lr = '1e999'", "expected numbers"),
        ("dim = [" + "9" * 400 + "]", "expected whole numbers"),
        ("seeds = " + "9" * 400, "a whole number of 1329 bits, expected a whole number from 1"),
        ("seeds = " + "9" * 5000, "not a TOML file"),
        ("fusion = [1]", "expected names"),
        ("fusion = 'a,,b'", "expected names"),
        ("seeds = true", "expected a whole number"),
        ("screen = 1", "expected true or false"),
        ("set = 1", "expected a table"),
        ("[set]\nx = [1]", "expected a table of plain values"),
        ("[image]\nlayer = 1", "expected a table of encoder, outputs, view"),
        ("[image]\nview = 1", "expected a text"),
        ("a =", "not a TOML file"),
    ],
)
def test_a_file_with_anything_else_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(text)
    with pytest.raises(HeadsError, match=message):
        load_grid_file(path)


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(HeadsError, match="not a TOML file"):
        load_grid_file(tmp_path / "grid.toml")
    with pytest.raises(HeadsError, match="not a file"):
        load_grid_file(tmp_path / "none.toml")
