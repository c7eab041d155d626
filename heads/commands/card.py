"""``heads card``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heads.commands.options import AsJson, Overwrite
from heads.commands.render import console, print_json, safe
from heads.errors import HeadsError

__all__ = ["card"]


def card(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write: README.md and run/.")],
    report: Annotated[
        list[Path] | None,
        typer.Option(metavar="F.json", help="What evaluate --out wrote of this run; may be given several times."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write a folder for a model hub: a model card and the run. Nothing is uploaded."""
    from heads.commands.card_text import build_card
    from heads.evaluation.report_file import read_reports
    from heads.runs.hub_folder import CARD, RUN_FOLDER, prepare_run, write_hub_folder
    from heads.runs.run import load_run

    loaded = load_run(run)
    digest = loaded.record.digest
    reports = []
    for path in report or []:
        own = [each for each in read_reports(path) if each.run_digest == digest]
        if not own:
            raise HeadsError(f"report {path} is not of {run}: heads evaluate {run} --out {path} writes one that is")
        reports += own
    given = prepare_run(loaded)
    text = build_card(given, title=out.resolve().name, trained_digest=digest, reports=reports)
    write_hub_folder(given, text, out=out, overwrite=overwrite)
    if as_json:
        print_json(
            {"out": str(out), "card": CARD, "run": RUN_FOLDER, "digest": given.record.digest, "trained_digest": digest}
        )
        return
    console.print(f"Wrote [bold]{safe(out)}[/]: {CARD} and {RUN_FOLDER}/", soft_wrap=True)
    console.print("State a licence in README.md before you publish it: it says that there is none yet")
