"""``heads evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.console import CheckDigests
from heads.commands.folders import check_encoders, free_name, open_run_store
from heads.commands.options import AsJson, DatasetName, EncoderName, ViewName
from heads.commands.render import console, next_command, print_json, safe, score_table, show_checks

if TYPE_CHECKING:
    from heads.runs.evaluation import EvalResult

__all__ = ["evaluate"]


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    cache: Annotated[Path | None, typer.Option(metavar="DIR", help="Cache; default: ./cache.")] = None,
    split: Annotated[str, typer.Option(metavar="S", help="Which rows: train, valid or test.")] = "test",
    text_encoder: EncoderName = None,
    image_encoder: EncoderName = None,
    spectral_encoder: EncoderName = None,
    view: ViewName = None,
    dataset: DatasetName = None,
    check: CheckDigests = True,
    as_json: AsJson = False,
) -> None:
    """Score a run on one split, beside the reference that calls everything AI."""
    from heads.runs.evaluation import evaluate as library_evaluate
    from heads.runs.run import load_run

    loaded = load_run(run)
    encoders = {"text": text_encoder, "image": image_encoder, "spectral": spectral_encoder}
    with show_checks() as checking:
        store = open_run_store(loaded, cache, dataset=dataset, check=check, progress=checking)
        check_encoders(loaded, store, encoders)
        result = library_evaluate(loaded.in_view(view) if view else loaded, store, split)
    if as_json:
        print_json({**result.to_dict(), **({"view": view} if view else {})})
        return
    seen = f", view {safe(view)}" if view else ""
    console.print(
        f"[bold]{safe(run)}[/] on split {safe(split)} of {safe(store.path)}{seen}: {result.n:,} rows", soft_wrap=True
    )
    _print_counts(result)
    console.print(
        score_table(
            {"this head": {"tasks": result.tasks, "joint": result.joint}, "always AI": result.reference["always_ai"]}
        )
    )
    console.print(f"A says AI if P(AI) ≥ {result.threshold:.3f}; B is scored over the AI rows only")
    out = free_name("predictions.csv")
    next_command("heads", "predict", run, store.path, split=split, out=out, view=view, dataset=dataset)


def _print_counts(result: EvalResult) -> None:
    if result.transductive:
        console.print(
            "[yellow]Transductive:[/] this head was trained on pseudo-labels of this split; "
            "these are not scores on unseen data"
        )
    reasons = {
        "not scored: a modality that this head needs is missing": result.n_refused,
        "not scored: no label": result.n_unlabelled,
        "scored for A only: of a generator that this head does not know": result.n_unseen,
    }
    for reason, n in reasons.items():
        if n:
            console.print(f"[yellow]{n:,}[/] {reason}")
