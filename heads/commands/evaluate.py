"""``heads evaluate``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.console import CheckDigests, cache_folder, notes
from heads.commands.detectors import (
    ALL_VIEWS,
    open_detector,
    open_scores,
    parse_slices,
    parse_views,
    seen_rows,
)
from heads.commands.folders import free_name
from heads.commands.guarantee_lines import kept, print_kept, print_promises
from heads.commands.likeness_lines import describe_set, describe_statement, print_set
from heads.commands.options import (
    PRINTED,
    AsJson,
    DatasetName,
    EncoderName,
    OverwriteFile,
    PointName,
    Prior,
    ReportFormat,
    ScoreFiles,
)
from heads.commands.render import console, next_command, print_json, probability, safe, show_checks
from heads.commands.report import escape, markdown, print_tables, report_tables
from heads.commands.training import TrainCache, Training
from heads.commands.view_options import StoredViews, ViewName
from heads.errors import HeadsError
from heads.files.folder import prepare_file, write_file

if TYPE_CHECKING:
    from heads.evaluation.detectors import RunDetector
    from heads.evaluation.report import Report
    from heads.evaluation.scores import EvalResult
    from heads.evaluation.truth import Truth

__all__ = ["evaluate"]


def evaluate(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="Folder of a run; may be left out with --scores.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Cache; default: ./cache, or else the run's.")
    ] = None,
    split: Annotated[str, typer.Option(metavar="S", help="Which rows: train, valid or test.")] = "test",
    text_encoder: EncoderName = None,
    image_encoder: EncoderName = None,
    spectral_encoder: EncoderName = None,
    view: ViewName = None,
    views: StoredViews = None,
    dataset: DatasetName = None,
    scores: ScoreFiles = None,
    point: PointName = None,
    prior: Prior = None,
    by: Annotated[
        str | None,
        typer.Option(metavar="B,…", help="Rates by generator, origin, format or size.", rich_help_panel=PRINTED),
    ] = None,
    form: Annotated[
        ReportFormat, typer.Option("--format", help="Tables for a terminal or a paper.", rich_help_panel=PRINTED)
    ] = ReportFormat.text,
    out: Annotated[
        Path | None,
        typer.Option(metavar="F.json", help="Write it, with counts at every threshold.", rich_help_panel=PRINTED),
    ] = None,
    overwrite: OverwriteFile = False,
    train_cache: TrainCache = None,
    check: CheckDigests = True,
    as_json: AsJson = False,
) -> None:
    """Score a run on one split: decisions, ranking and probabilities, each figure with its interval."""
    slices, names = parse_slices(by), parse_views(view, views)
    others = open_scores(scores or [], has_run=run is not None)
    if run is None and (point is not None or prior is not None or names):
        raise HeadsError("--point, --prior, --view and --views are of a run: scores of others are taken as they are")
    if out is not None:
        prepare_file(out, overwrite=overwrite)

    from featcache import open_store
    from heads.evaluation.report import build_report
    from heads.evaluation.truth import read_truth
    from heads.runs.stored_views import stored_views

    result, reports = None, []
    with show_checks() as checking:
        if run is None:
            store = open_store(cache_folder(cache), dataset=dataset, check=check, progress=checking)
        else:
            encoders = {"text": text_encoder, "image": image_encoder, "spectral": spectral_encoder}
            own = open_detector(run, cache, dataset=dataset, encoders=encoders, check=check, progress=checking)
            own.run.point(point)
            own.run.check_prior(prior)
            names = stored_views(own.run, own.store) if names == [ALL_VIEWS] else names
            store = own.store
        truth = read_truth(store, split)
        if run is not None:
            result, report = _score_run(own, truth, names, by=slices, point=point, prior=prior)
            reports.append(_with_effect(own, report, train_cache))
    reports += [build_report(each, truth, store, views=["clean"], by=slices) for each in others]
    if out is not None:
        documents = [report.to_file() for report in reports]
        write_file(out, json.dumps(documents[0] if len(documents) == 1 else documents, allow_nan=False).encode())
    if as_json:
        print_json(_document(result, reports, names))
        return
    for report in reports:
        _print_report(report, result if report is reports[0] else None, form)
    if out is not None:
        notes.print(f"Wrote [bold]{safe(out)}[/]", soft_wrap=True)
    if run is not None and form is ReportFormat.text:
        words = ("heads", "predict", run, store.path)
        next_command(*words, split=split, out=free_name("predictions.csv"), view=view, dataset=dataset, point=point)


def _score_run(
    own: RunDetector,
    truth: Truth,
    names: Sequence[str],
    *,
    by: Sequence[str],
    point: str | None,
    prior: float | None,
) -> tuple[EvalResult, Report]:
    """Score a run in its first view as ever, and in all views with intervals."""
    from heads.evaluation.report import build_report
    from heads.evaluation.scores import evaluate as library_evaluate

    views = names or [own.own_view]
    seen = own.run if views[0] == own.own_view else own.run.in_view(views[0])
    result = library_evaluate(seen, own.store, truth.split, point=point)
    report = build_report(own, truth, own.store, views=views, by=by, point=point, prior=prior)
    return result, replace(report, about={**report.about, "n_unseen": result.n_unseen})


def _with_effect(own: RunDetector, report: Report, train_cache: Path | None) -> Report:
    """Say of the set that is stated something of how far it is from the calibrating rows too."""
    from heads.runs.set_statement import set_state

    training = Training.find(own.run, train_cache, at_hand=own.store)
    numbers = own.store.row_numbers(report.about["split"])
    numbers = numbers[own.store.read(numbers, selections={}).label_a >= 0]
    found = training.effect_size(own.store, numbers, report.about["statement"])
    state = set_state(report.about["statement"], found)
    return replace(report, about={**report.about, "effect_size": found, "set_state": state})


def _document(result: EvalResult | None, reports: Sequence[Report], names: Sequence[str]) -> dict[str, Any]:
    """Return the JSON form: of a run what it has ever been, and what is new beside it."""
    if result is None:
        return {"scores": {report.about["detector"]: report.to_dict() for report in reports}}
    own = {**result.to_dict(), **({"view": names[0]} if names else {}), **reports[0].to_dict()}
    others = {report.about["detector"]: report.to_dict() for report in reports[1:]}
    return {**own, **({"scores": others} if others else {})}


def _print_report(report: Report, result: EvalResult | None, form: ReportFormat) -> None:
    reference = None if result is None else _reference(result)
    tables = report_tables(report, reference)
    if form is ReportFormat.markdown:
        typer.echo(_paragraphs(report.about) + markdown(tables))
        return
    about, first = report.about, report.views[0]
    if "set_state" in about:
        print_set(about)
    seen = f", view {safe(first.view)}" if len(report.views) == 1 and first.view != "clean" else ""
    where = f"[bold]{safe(about['detector'])}[/] on split {safe(about['split'])} of {safe(about['cache'])}{seen}"
    console.print(f"{where}: {first.n:,} rows in {first.n_groups:,} groups", soft_wrap=True)
    if result is not None:
        _print_counts(result)
    elif first.n_missing:
        console.print(f"[yellow]{first.n_missing:,}[/] labelled rows have no score and are left out")
    if about["split"] in ("train", "valid"):
        console.print(seen_rows(about["split"]))
    console.print(_rule(report))
    views = [view.view for view in report.views]
    print_promises(report.point, views, dataset=about["dataset"], split=about["split"])
    print_kept(about["promises"])
    print_tables(tables)


def _paragraphs(about: Mapping[str, Any]) -> str:
    """Return the statement on the set and what was found of promises as paragraphs of Markdown."""
    told = [said for each in about["promises"] if (said := kept(each))]
    if about["statement"] is not None:
        headline, rest = map(escape, describe_set(about))
        said = f"**{headline}**: {rest}" if rest else headline
        told = [f"{said}. {describe_statement(about['statement'])}", *told]
    return "".join(f"{each}.\n\n" for each in told)


def _reference(result: EvalResult) -> dict[str, float]:
    """Return the figures of calling everything AI by the names of a report's."""
    of_a = next(iter(result.reference["always_ai"]["tasks"].values()))
    return {"fpr": 1.0, "tpr": 1.0, **{name: value for name, value in of_a.items() if value is not None}}


def _rule(report: Report) -> str:
    """Say what decides, and at which share of AI probabilities are judged."""
    point, prior = report.point, report.about["prior"]
    if point.abstains:
        real_below = probability(point.real_below, 4)
        rule = f"AI if raw P(AI) ≥ {probability(point.ai_from, 4)}, real if < {real_below}, else unsure"
    else:
        rule = f"AI if raw P(AI) ≥ {probability(point.ai_from, 4)}"
    share = "" if prior is None else f"; probabilities at a share of AI of {prior:.2g}"
    return f"{rule} (operating point {safe(point.name)}){share}"


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
