"""``heads predict``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.console import CheckDigests
from heads.commands.folders import check_encoders, open_run_store
from heads.commands.guarantee_lines import other_notes, print_promises
from heads.commands.likeness_lines import print_unlike
from heads.commands.options import (
    Abstain,
    AsJson,
    DatasetName,
    EncoderName,
    OverwriteFile,
    PointName,
    Prior,
    TableFormat,
)
from heads.commands.render import console, next_command, print_json, safe, show_checks
from heads.commands.usage import check_out_table
from heads.commands.view_options import ViewName
from heads.data.tasks import AI
from heads.verdicts.points import BALANCED

if TYPE_CHECKING:
    from heads.runs.run import Run
    from heads.verdicts.points import OperatingPoint

__all__ = ["predict"]


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    out: Annotated[Path, typer.Option(metavar="F", help="File to write: .csv, .jsonl or .parquet.")],
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Cache; default: ./cache, or else the run's.")
    ] = None,
    split: Annotated[str | None, typer.Option(metavar="S", help="Which rows; default: all.")] = None,
    form: Annotated[
        TableFormat, typer.Option("--format", help="ct2: the competition's answer.json.")
    ] = TableFormat.table,
    text_encoder: EncoderName = None,
    image_encoder: EncoderName = None,
    spectral_encoder: EncoderName = None,
    view: ViewName = None,
    dataset: DatasetName = None,
    point: PointName = None,
    prior: Prior = None,
    abstain: Abstain = None,
    overwrite: OverwriteFile = False,
    check: CheckDigests = True,
    as_json: AsJson = False,
) -> None:
    """Write a run's answers: sample_id, p_ai, p_ai_raw, pred_a, pred_b, and each generator's probability."""
    from heads.files.folder import prepare_file
    from heads.runs.predictions import predict as library_predict
    from heads.runs.predictions import write_ct2, write_table
    from heads.runs.run import load_run
    from heads.verdicts.judging import UNSURE

    is_ct2 = form is TableFormat.ct2
    if not is_ct2:
        check_out_table(out, "or --format ct2")
    prepare_file(out, overwrite=overwrite)
    loaded = load_run(run)
    loaded.point(point)
    loaded.check_prior(prior)
    encoders = {"text": text_encoder, "image": image_encoder, "spectral": spectral_encoder}
    with show_checks() as checking:
        store = open_run_store(loaded, directory, dataset=dataset, check=check, progress=checking)
        check_encoders(loaded, store, encoders)
        chosen = loaded.in_view(view) if view else loaded
        abstains = abstain is not None
        found = library_predict(chosen, store, split, point=point, prior=prior, abstain_novel=abstains)
    (write_ct2 if is_ct2 else write_table)(found, out)
    words = found.judgement.words
    n_ai, n_unsure = words.count(AI), words.count(UNSURE)
    n_unlike = None if loaded.likeness is None else int(found.judgement.is_unlike.sum())
    seen = [chosen.point(BALANCED).view]
    counts = {"n": len(found), "n_refused": found.n_refused, "n_ai": n_ai, "n_unsure": n_unsure, "n_unlike": n_unlike}
    if as_json:
        others = other_notes(found.point, seen, dataset=str(store.dataset), split=split)
        told = {"guarantees": found.point.to_json()["guarantees"], "note": "; ".join(others) or None}
        print_json({"out": str(out), "split": split, **_decided(loaded, found.point, prior), **told, **counts})
    else:
        n_answered = len(found) - found.n_refused
        unsure = f", {n_unsure:,} unsure" if found.point.abstains or abstain else ""
        console.print(f"{n_answered:,} rows answered, {n_ai:,} of them AI{unsure}")
        print_unlike(n_unlike, loaded)
        print_promises(found.point, seen, dataset=str(store.dataset), split=split)
        if found.n_refused:
            how = "left out" if is_ct2 else "written without an answer"
            console.print(f"[yellow]{found.n_refused:,}[/] {how}: a modality that this head needs is missing")
        console.print(f"Wrote [bold]{safe(out)}[/]", soft_wrap=True)
        known = next((name for name in (split, "test", "valid", "train") if name in store.splits), None)
        if known:
            where = {"cache": store.path, "split": known, "view": view, "dataset": dataset, "point": point}
            next_command("heads", "evaluate", run, **where)
    if found.n_refused:
        raise typer.Exit(3)


def _decided(run: Run, point: OperatingPoint, prior: float | None) -> dict[str, Any]:
    """Return what decides, on raw P(AI) and on P(AI) at a prior."""
    maps = run.record.verdicts.maps
    return {
        "threshold": point.ai_from,
        "real_below": point.real_below,
        "threshold_p_ai": float(maps.p_ai(point.ai_from, prior=prior)),
        "real_below_p_ai": float(maps.p_ai(point.real_below, prior=prior)),
        "point": point.name,
        "prior": run.check_prior(prior),
    }
