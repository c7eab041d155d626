"""What commands look up in the cache that a run was fitted on: ``--neighbours`` and ``--train-cache``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heads.commands.options import PRINTED
from heads.commands.render import notes, safe

if TYPE_CHECKING:
    from heads.runs.judge_options import JudgeOptions
    from heads.runs.run import Run

__all__ = ["NeighbourCount", "TrainCache", "judge_options"]

_MOST = 20

NeighbourCount = Annotated[
    int | None,
    typer.Option(
        "--neighbours",
        metavar="K",
        min=1,
        max=_MOST,
        help="Name the K training samples that are nearest to each picture.",
        rich_help_panel=PRINTED,
    ),
]
TrainCache = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where the cache that the run was fitted on is, if it was moved."),
]


def judge_options(
    run: Run,
    *,
    point: str | None,
    prior: float | None,
    abstains: bool,
    neighbours: int | None,
    train_cache: Path | None,
) -> JudgeOptions:
    """Put together how pictures are judged; where neighbours are asked for, their vectors are read."""
    from heads.runs.judge_options import JudgeOptions

    if neighbours is None:
        return JudgeOptions(point, prior, abstains)
    from heads.runs.neighbours import find_training_rows
    from heads.runs.training_cache import open_training

    store = open_training(run, train_cache)
    rows = find_training_rows(run, store)
    where = f"{len(rows):,} train rows of {safe(store.dataset)} in {safe(store.path)}"
    notes.print(f"{'nearest':8} {neighbours} of {where}", soft_wrap=True)
    if rows.note:
        notes.print(f"[yellow]note[/] {safe(rows.note)}", soft_wrap=True)
    return JudgeOptions(point, prior, abstains, rows, neighbours)
