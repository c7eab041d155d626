"""Laws of a request: the command line goes before a file, and what is not given is as a grid has it."""

from __future__ import annotations

from heads.ablation.grid import Grid
from heads.ablation.request import AblationRequest, parse_numbers, parse_texts, split_outputs


def test_the_options_of_the_command_line_go_over_those_of_a_file() -> None:
    file = AblationRequest(dim=(4, 8), seeds=1, controls=True, set={"lr": 0.1})
    joined = AblationRequest(dim="16", controls=False, loss="paper").over(file)
    assert joined == AblationRequest(dim="16", seeds=1, controls=False, loss="paper", set={"lr": 0.1})
    assert joined.settings == {"loss": "paper", "lr": 0.1}
    grid = joined.grid({"lr": 0.1})
    assert grid == Grid(dims=(16,), seeds=1, controls=False, folds=5, settings={"lr": 0.1})
    assert AblationRequest().grid({}) == Grid(folds=5)


def test_rows_are_scored_in_folds_unless_something_else_is_asked_for() -> None:
    asked = [AblationRequest(folds=folds).grid({}).folds for folds in (None, 0, 3)]
    assert asked == [5, None, 3]
    assert AblationRequest(hold_out="generator").grid({}).folds is None


def test_lists_are_read_from_texts() -> None:
    assert parse_texts("a, b", "--x") == ("a", "b")
    assert parse_numbers("32,64", "--dim", number=int) == (32, 64)
    assert parse_numbers((), "--lr", number=float) == ()


def test_outputs_with_semicolons_are_compared_and_the_first_stands_for_all() -> None:
    choices = {"image": {"outputs": "cls; layers:all", "view": "blur:1"}, "text": {"outputs": "cls,mean"}}
    chosen, compared = split_outputs(choices)
    assert chosen == {"image": {"outputs": "cls", "view": "blur:1"}, "text": {"outputs": "cls,mean"}}
    assert compared == {"image": ("cls", "layers:all")}
    assert AblationRequest().grid({}, outputs=compared) == Grid(folds=5, outputs=compared)
