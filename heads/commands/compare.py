"""``heads compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.console import CheckDigests, cache_folder
from heads.commands.detectors import ALL_VIEWS, open_detector, open_scores, parse_views, seen_rows
from heads.commands.options import PRINTED, AsJson, DatasetName, PointName, ReportFormat, ScoreFiles
from heads.commands.render import console, print_json, safe, show_checks
from heads.commands.report import comparison_tables, markdown, print_tables
from heads.commands.view_options import StoredViews, ViewName

if TYPE_CHECKING:
    from heads.evaluation.comparison import Comparison

__all__ = ["compare"]


def compare(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="RUN…", help="Folders of runs; others are compared with the first.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Cache; default: ./cache, or else the run's.")
    ] = None,
    split: Annotated[str, typer.Option(metavar="S", help="Which rows: train, valid or test.")] = "test",
    view: ViewName = None,
    views: StoredViews = None,
    dataset: DatasetName = None,
    scores: ScoreFiles = None,
    point: PointName = None,
    shared: Annotated[
        bool, typer.Option("--shared", help="Leave out rows that only some of them can answer.", rich_help_panel="Data")
    ] = False,
    form: Annotated[
        ReportFormat, typer.Option("--format", help="Tables for a terminal or a paper.", rich_help_panel=PRINTED)
    ] = ReportFormat.text,
    check: CheckDigests = True,
    as_json: AsJson = False,
) -> None:
    """Say whether runs are better than the first: differences on the same rows, with intervals."""
    names = parse_views(view, views)
    others = open_scores(scores or [], has_run=bool(runs))

    from featcache import open_store
    from heads.evaluation.comparison import compare as library_compare
    from heads.evaluation.detectors import Detector
    from heads.evaluation.truth import read_truth
    from heads.runs.stored_views import stored_views

    with show_checks() as checking:
        own = [open_detector(run, cache, dataset=dataset, check=check, progress=checking) for run in runs or []]
        store = own[0].store if own else open_store(cache_folder(cache), dataset=dataset, check=check)
        truth = read_truth(store, split)
        detectors: list[Detector] = [*own, *others]
        names = stored_views(own[0].run, own[0].store) if names == [ALL_VIEWS] and own else names
        chosen = names or ([own[0].own_view] if own else ["clean"])
        found = library_compare(detectors, truth, views=chosen, shared=shared, point=point)
    if as_json:
        print_json({"cache": str(store.path), "dataset": str(store.dataset), **found.to_dict()})
    elif form is ReportFormat.markdown:
        typer.echo(markdown(comparison_tables(found)))
    else:
        _print(found, str(store.path))


def _weights(found: Comparison) -> str:
    """Say at which share of AI log losses are."""
    if found.prior is None:
        return "Log loss is over the rows as they are: scores of others stand for no known share of AI."
    return f"Log loss is at a share of AI of {found.prior:.2g}, that of the first run: rows are weighted to it."


def _print(found: Comparison, cache: str) -> None:
    where = f"split {safe(found.split)} of {safe(cache)}"
    rows = f"the {found.n:,} rows of {where} that all answer, in {found.n_groups:,} groups"
    console.print(f"{len(found.names)} detectors on {rows}", soft_wrap=True)
    for name, point in zip(found.names, found.points, strict=True):
        left_out = found.answered[name] - found.n
        more = f"; {left_out:,} rows more that others do not answer" if left_out else ""
        console.print(f"  [bold]{safe(name)}[/], operating point {safe(point)}{more}", soft_wrap=True)
    if found.split in ("train", "valid"):
        console.print(seen_rows(found.split))
    print_tables(comparison_tables(found))
    console.print(
        "\n[dim]Differences are paired by row and clustered by group, each with its own 95 % interval; p is adjusted "
        "for all of the table (Holm), and decides what is said. Of false positives and log loss less is better. "
        f"{_weights(found)}[/]"
    )
