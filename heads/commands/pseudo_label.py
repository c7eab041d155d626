"""``heads pseudo-label``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from featcache.console import CheckDigests
from heads.commands.fitted import fitted_summary, print_fitted
from heads.commands.folders import check_encoders, new_run_folder, open_run_store
from heads.commands.options import AsJson, DatasetName, EncoderName, Overwrite
from heads.commands.render import console, next_command, notes, print_json, safe, score, show_checks, show_steps
from heads.commands.usage import within
from heads.files.ranges import Range

__all__ = ["pseudo_label"]


def pseudo_label(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Cache; default: ./cache, or else the run's.")
    ] = None,
    split: Annotated[str, typer.Option(metavar="S", help="Which rows to label; not train or valid.")] = "test",
    threshold: Annotated[
        float,
        typer.Option(
            callback=within(Range(float, 0.5, 1, is_open=True)), help="Least confidence of a label that is kept."
        ),
    ] = 0.8,
    out: Annotated[Path | None, typer.Option(metavar="RUN2", help="New folder; default: ./runs/<time>.")] = None,
    text_encoder: EncoderName = None,
    image_encoder: EncoderName = None,
    spectral_encoder: EncoderName = None,
    dataset: DatasetName = None,
    overwrite: Overwrite = False,
    check: CheckDigests = True,
    as_json: AsJson = False,
) -> None:
    """Label the rows of a split with a run, and refit its head with the confident ones as training rows."""
    from heads.runs.pseudo_labels import PSEUDO_FILE
    from heads.runs.pseudo_labels import pseudo_label as library_pseudo_label
    from heads.runs.recording import build_record
    from heads.runs.run import load_run, prepare_run_out, save_run

    loaded = load_run(run)
    folder = new_run_folder(out)
    prepare_run_out(folder, overwrite=overwrite)
    encoders = {"text": text_encoder, "image": image_encoder, "spectral": spectral_encoder}
    with show_checks() as checking, show_steps() as progress:
        store = open_run_store(loaded, directory, dataset=dataset, check=check, progress=checking)
        check_encoders(loaded, store, encoders)
        found = library_pseudo_label(loaded, store, split, threshold=threshold, progress=progress)
    report = {**found.report, "teacher": str(run)}
    splits = tuple(dict.fromkeys((*loaded.record.transductive, split)))
    record = build_record(found.fitted, store, selections=loaded.selections, transductive=splits, pseudo=report)
    fitted, files = found.fitted, {PSEUDO_FILE: found.table()}
    new = save_run(record, fitted.head, out=folder, likeness=fitted.likeness, attachments=files, overwrite=overwrite)
    if as_json:
        print_json({**fitted_summary(new), "pseudo": report, "transductive": list(splits)})
        return
    _print_report(found.report)
    print_fitted(new)
    if loaded.record.verdicts.points:
        notes.print(
            f"[yellow]Note:[/] operating points of {safe(run)} are of its head alone: heads calibrate the new run"
        )
    console.print(f"Scores on split {safe(split)} are [yellow]transductive[/] from now on")
    next_command("heads", "evaluate", new.path, cache=store.path, split=split, dataset=dataset)


def _print_report(report: Mapping[str, Any]) -> None:
    console.print(
        f"Took {report['n_taken']:,} of {report['n']:,} rows of split {safe(report['split'])} at confidence "
        f"≥ {report['threshold']:g}"
    )
    for name, reason in (
        ("n_refused", "refused: a modality that the head needs is missing"),
        ("n_overlap", "dropped: group or content occurs in validation"),
    ):
        if report[name]:
            console.print(f"[yellow]{report[name]:,}[/] {reason}")
    table = Table("task", "class", box=None, header_style="dim", pad_edge=False)
    for title in ("taken", "truth known", "precision"):
        table.add_column(title, justify="right")
    for task, classes in report["tasks"].items():
        for index, (name, row) in enumerate(classes.items()):
            values = (f"{row['taken']:,}", f"{row['known']:,}", score(row["precision"]))
            table.add_row("" if index else task.upper(), safe(name), *values)
    console.print(table)
