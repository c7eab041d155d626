"""``heads calibrate``."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.console import CheckDigests, cache_folder
from heads.commands.detectors import open_scores
from heads.commands.folders import has_test, new_run_folder, open_run_store
from heads.commands.guarantee_lines import print_point, print_sets, told_point
from heads.commands.options import (
    VERDICTS,
    AsJson,
    Confidence,
    DatasetName,
    MaxFnr,
    MaxFpr,
    Overwrite,
    ScoreFiles,
)
from heads.commands.render import console, next_command, notes, print_json, safe, show_checks
from heads.commands.usage import within
from heads.commands.view_options import ViewName
from heads.errors import HeadsError
from heads.verdicts.points import BALANCED, OperatingPoint
from heads.verdicts.sets import COVERAGES

if TYPE_CHECKING:
    from featcache import FeatureStore
    from heads.evaluation.detectors import ScoreFile
    from heads.runs.calibration import Calibration, Request
    from heads.runs.run import Run

__all__ = ["calibrate"]


class PartName(StrEnum):
    """Which parts of the rows keep a budget each."""

    origin = "origin"


def calibrate(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="Folder of a run; it stays as it is. With --scores: a cache.")
    ] = None,
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Cache; default: ./cache, or else the run's.")
    ] = None,
    max_fpr: MaxFpr = None,
    max_fnr: MaxFnr = None,
    confidence: Confidence = 0.95,
    by: Annotated[
        PartName | None,
        typer.Option(help="Each origin of rows keeps the budget, not only all together.", rich_help_panel=VERDICTS),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            callback=within(COVERAGES),
            help="Sets of generators that hold the true one so often, e.g. 0.9.",
            rich_help_panel=VERDICTS,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="P", help="Of the operating point; default: such as fpr-0.05.", rich_help_panel=VERDICTS),
    ] = None,
    scores: ScoreFiles = None,
    view: ViewName = None,
    dataset: DatasetName = None,
    out: Annotated[Path | None, typer.Option(metavar="RUN2", help="New folder; default: ./runs/<time>.")] = None,
    overwrite: Overwrite = False,
    check: CheckDigests = True,
    as_json: AsJson = False,
) -> None:
    """Write a run again with an operating point that keeps a budget of errors: with a guarantee, or not at all.

    It is found on the calibrating part of the run's own validation, or on all valid rows of another --dataset; test is
    never looked at. Of --scores operating points are printed, and nothing is written: heads calibrate [DIR] --scores …
    """
    from heads.runs.calibration import Request, calibrate_run, save_calibrated
    from heads.runs.run import load_run, prepare_run_out
    from heads.verdicts.guarantees import Demand

    demand = Demand(max_fpr, max_fnr, confidence, by is not None)
    request = Request(demand, coverage, name, view)
    if run is None or scores:
        if directory is not None or out or view or coverage is not None:
            raise HeadsError("--scores are calibrated by themselves: without RUN, --out, --view and --coverage")
        _calibrate_scores(open_scores(scores or [], has_run=False), run, dataset, request, as_json=as_json)
        return
    loaded, folder = load_run(run), new_run_folder(out)
    prepare_run_out(folder, overwrite=overwrite)
    with show_checks() as checking:
        store = open_run_store(loaded, directory, dataset=dataset, check=check, progress=checking)
        found = calibrate_run(loaded, store, request)
    new = save_calibrated(loaded, found, out=folder, overwrite=overwrite)
    for note in filter(None, (found.note, _other_view(new, found.point))):
        notes.print(f"[yellow]Note:[/] {safe(note)}")
    if as_json:
        print_json(_document(new, run, found))
        return
    _print_counts(found)
    if found.point:
        print_point(found.point, n_points=len(found.record.verdicts.points))
    if found.sets and found.mean_size:
        print_sets(found.sets, new.tasks, mean_size=found.mean_size)
    console.print(f"Saved [bold]{safe(new.path)}[/]", soft_wrap=True)
    _propose(new, found, store, cache=directory, dataset=dataset, view=view)


def _propose(
    new: Run, found: Calibration, store: FeatureStore, *, cache: Path | None, dataset: str | None, view: str | None
) -> None:
    """Propose rows to evaluate a run on: not those of other data that it was just calibrated on."""
    words, source = ("heads", "evaluate", new.path), new.record.source
    rows = [each.rows for each in (*(found.point.guarantees if found.point else ()), found.sets) if each]
    if "test" in store.splits or "valid" not in rows:
        named = dataset or (None if store.dataset == source["dataset"] else store.dataset)
        split = "test" if "test" in store.splits else "valid"
        next_command(*words, cache=cache, split=split, view=view, dataset=named)
    elif view is None and has_test(source["cache"], source["dataset"]):
        next_command(*words, cache=source["cache"], split="test")


def _calibrate_scores(
    files: Sequence[ScoreFile], directory: Path | None, dataset: str | None, request: Request, *, as_json: bool
) -> None:
    """Print operating points of other programs' scores."""
    from featcache import open_store
    from heads.evaluation.calibrating import calibrate_scores

    store = open_store(cache_folder(directory), dataset=dataset, check=False)
    found = {each.name: calibrate_scores(each, store, request.demand, name=request.name) for each in files}
    if as_json:
        print_json({"scores": {name: told_point(point) for name, point in found.items()}})
        return
    for each in files:
        console.print(f"[bold]{safe(each.name)}[/], if it was not made with the valid rows of {safe(store.dataset)}:")
        column = "p_ai" if (each.raw == each.p_ai).all() else "p_ai_raw"
        print_point(found[each.name], n_points=1, column=column)


def _other_view(run: Run, point: OperatingPoint | None) -> str | None:
    """Say where verdicts are not those that a point promises something of."""
    own = run.point(BALANCED).view
    if point is None or point.view == own:
        return None
    return (
        f"scan and detect look at view {own}, of which this point promises nothing, and use it unless they are told "
        f"--point {BALANCED}"
    )


def _document(new: Run, of: Path, found: Calibration) -> dict[str, Any]:
    return {
        "run": str(new.path),
        "of": str(of),
        "n": found.n,
        "n_refused": found.n_refused,
        "n_shared": found.n_shared,
        "note": found.note,
        "point": None if found.point is None else told_point(found.point),
        "sets": found.sets
        and {**found.sets.to_json(), "classes": list(new.tasks[1].classes), "mean_size": found.mean_size},
    }


def _print_counts(found: Calibration) -> None:
    reasons = {
        "rows left out: no vector in this view": found.n_refused,
        "rows left out: the head knows their picture, caption or group": found.n_shared,
    }
    for reason, n in reasons.items():
        if n:
            console.print(f"[yellow]{n:,}[/] {reason}")
