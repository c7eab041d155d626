"""``heads scan``."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache import ShardError
from featcache.commands.extract.progress import ExtractDisplay
from featcache.commands.interrupt import interruptible
from featcache.console import cache_folder
from featcache.extraction.heap import keep_heap
from heads.commands.guarantee_lines import called_words, other_views, print_promises
from heads.commands.likeness_lines import print_set, print_unlike
from heads.commands.logs import open_log
from heads.commands.options import (
    Abstain,
    AsJson,
    DeviceName,
    EncodingDevice,
    ImageModel,
    LogFile,
    OverwriteFile,
    PointName,
    Prior,
    TextModel,
)
from heads.commands.render import console, next_command, notes, print_json, probability, safe, vectors_of
from heads.commands.training import NeighbourCount, TrainCache, Training
from heads.commands.usage import check_out_table
from heads.errors import HeadsError
from heads.files.folder import reserve_file
from heads.verdicts.points import BALANCED

if TYPE_CHECKING:
    from heads.runs.run import Run
    from heads.runs.scanning import Scan
    from heads.verdicts.points import OperatingPoint

__all__ = ["scan"]

_MOST_KINDS = 8
_REPAIR = re.compile(r"^cache .{1,999}, run `featcache repair .{1,999}`: |; `featcache repair` moves it aside$")
_SEVERAL = {
    "unused table": "unused tables",
    "linked folder": "linked folders",
    "link to nothing": "links to nothing",
    "no regular file": "no regular files",
}


def scan(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Folder, picture, manifest, tars or hf:NAME; needs no labels.")
    ],
    out: Annotated[Path, typer.Option(metavar="F", help="File to write: .csv, .jsonl or .parquet.")],
    tables: Annotated[
        bool, typer.Option("--tables", help="Read the tables in a folder too, for names and captions of its pictures.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where vectors are kept between scans; default: beside --out.")
    ] = None,
    image_model: ImageModel = None,
    text_model: TextModel = None,
    device: EncodingDevice = DeviceName.auto,
    point: PointName = None,
    prior: Prior = None,
    abstain: Abstain = None,
    neighbours: NeighbourCount = None,
    train_cache: TrainCache = None,
    log: LogFile = None,
    overwrite: OverwriteFile = False,
    as_json: AsJson = False,
) -> None:
    """Judge all pictures of a folder, or of other data: one line each, also of those that cannot be judged.

    They are encoded under the view that the head was fitted on: of several views the clean one.
    """
    check_out_table(out)
    if out.exists() and Path(data).exists() and out.samefile(data):
        raise HeadsError(f"--out {out} is the data themselves: name another file for the verdicts")
    keep_heap()
    with interruptible("heads"), reserve_file(out, overwrite=overwrite):
        from featcache import read_pictures
        from heads.runs.detection import check_places
        from heads.runs.entries import Recorder, log_lines
        from heads.runs.judge_options import JudgeOptions
        from heads.runs.run import load_run
        from heads.runs.run_files import read_record
        from heads.runs.scanning import encode_pictures, write_verdicts
        from heads.runs.set_statement import set_state, tell_set

        # What is wrong with the data is told before a head, which may need torch, is loaded.
        contents = {producer.selection.content for producer in read_record(run).producers.values()}
        manifest = read_pictures(data, contents=contents, tables=tables)
        loaded = load_run(run)
        recorder = Recorder.of(loaded, "scan", point=point, prior=prior)
        folder = cache or out.with_suffix(".featcache")
        _check_cache(loaded, folder)
        models = _models(loaded, {"image": image_model, "text": text_model})
        check_places(loaded, models)
        kept = None if log is None else open_log(log, out=out)
        places = _tell(loaded, folder, models)
        _tell_rule(loaded, point, prior)
        training = Training.find(loaded, train_cache, is_needed=neighbours is not None)
        options = training.with_neighbours(JudgeOptions(point, prior, abstain is not None), neighbours)
        for note in manifest.notes:
            notes.print(f"[yellow]note[/] {safe(note)}", soft_wrap=True)
        with _own_cache(folder, is_named=cache is not None):
            with ExtractDisplay(notes) as display:
                pictures = encode_pictures(
                    loaded, manifest, cache=folder, models=models, device=device.value, progress=display.update
                )
            record = None if kept is None else log_lines(recorder, pictures, kept)
            done = write_verdicts(loaded, pictures, out, options=options, overwrite=overwrite, log=record)
        of_data = {"passed_over": dict(manifest.passed_over), "notes": list(manifest.notes)}
        n_judged = len(done) - done.n_failed
        document = _document(done, out, folder) | of_data | tell_set(loaded, done.statement, n_judged, point=point)
        effect = training.effect_size(pictures.store, pictures.complete, document["statement"])
        document |= {"effect_size": effect, "set_state": set_state(document["statement"], effect)}
    if as_json:
        made = {"n_encoded": pictures.n_encoded, "models": places, "conditions": recorder.conditions}
        print_json(document | _rule(loaded, point, prior) | made)
    else:
        _print(document, done, loaded, loaded.point(point))
    if done.n_failed:
        raise typer.Exit(3)


def _check_cache(run: Run, folder: Path) -> None:
    """Raise if the cache of a scan would be one that heads are fitted on."""
    for other, whose in (
        (cache_folder(None), "the project's"),
        (Path(run.record.source["cache"]), f"that of {run.path}"),
    ):
        if folder.resolve() == other.resolve():
            raise HeadsError(
                f"cache {folder} is {whose}, and heads are fitted on it: a scan keeps pictures without labels in one "
                "of its own; name another --cache"
            )


@contextmanager
def _own_cache(folder: Path, *, is_named: bool) -> Iterator[None]:
    """Say of the cache that scans to one file make by themselves, if it is damaged, what is the shortest way out."""
    try:
        yield
    except ShardError as error:
        if is_named:
            raise
        cause = str(error.__cause__ if isinstance(error.__cause__, ShardError) else error)
        path = shlex.quote(str(folder))
        raise HeadsError(
            f"{folder}, where scans keep vectors, cannot be used: delete it (rm -r {path}), which costs encoding them "
            f"again, or repair it (featcache repair {path}); {_REPAIR.sub('', cause)}"
        ) from error


def _models(run: Run, given: Mapping[str, str | None]) -> dict[str, str]:
    models = {modality: model for modality, model in given.items() if model is not None}
    for modality, model in models.items():
        if modality not in run.selections:
            raise HeadsError(f"--{modality}-model {model!r}: the head of {run.path} takes no {modality} vectors")
    return models


def _tell(run: Run, folder: Path, models: Mapping[str, str]) -> dict[str, str]:
    """Say on standard error what is going to be done; returns where the weights of each encoder are expected."""
    from heads.runs.detection import model_place

    places = {}
    for modality, producer in run.record.producers.items():
        vectors = safe(vectors_of(producer.selection))
        if modality == "spectral":
            notes.print(f"{modality:8} {vectors}; no weights needed")
            continue
        places[modality] = models.get(modality) or model_place(producer)
        notes.print(f"{modality:8} {vectors}")
        notes.print(f"{'':8} weights expected in {safe(places[modality])}", soft_wrap=True)
    notes.print(f"{'cache':8} {safe(folder)}", soft_wrap=True)
    return places


def _tell_rule(run: Run, point: str | None, prior: float | None) -> None:
    """Say on standard error what decides and at which share of AI, and what was promised of that."""
    decides, prior = run.point(point), run.check_prior(prior)
    unsure = f", real if < {probability(decides.real_below, 4)}, else unsure" if decides.abstains else ""
    share = "" if prior is None else f"; P(AI) at a share of AI of {prior:.3g}"
    notes.print(
        f"{'decides':8} point {safe(decides.name)}: AI if raw P(AI) ≥ {probability(decides.ai_from, 4)}{unsure}{share}"
    )
    print_promises(decides, [run.point(BALANCED).view], on=notes)


def _rule(run: Run, point: str | None, prior: float | None) -> dict[str, Any]:
    decides = run.point(point)
    return {
        "point": decides.name,
        "threshold": decides.ai_from,
        "real_below": decides.real_below,
        "prior": run.check_prior(prior),
        "note": other_views(decides, [run.point(BALANCED).view]),
    }


def _document(done: Scan, out: Path, folder: Path) -> dict[str, Any]:
    counts = {
        "n": len(done),
        "n_real": done.n_real,
        "n_ai": done.n_ai,
        "n_unsure": done.n_unsure,
        "n_unlike": done.n_unlike,
        "n_failed": done.n_failed,
    }
    return {"out": str(out), "cache": str(folder), **counts, "failed": dict(done.failed)}


def _print(document: Mapping[str, Any], done: Scan, run: Run, point: OperatingPoint) -> None:
    if done.n_failed < len(done):
        print_set(document)
    files = "file" if len(done) == 1 else "files"
    unsure = f"[bold]{done.n_unsure:,}[/] unsure, " if done.n_unsure else ""
    ai, real = called_words(point)
    found = f"[bold]{done.n_ai:,}[/] {ai}, [bold]{done.n_real:,}[/] {real}, {unsure}{_failed(done)}"
    console.print(f"{len(done):,} {files}: {found}")
    if passed_over := document["passed_over"]:
        console.print(f"  no pictures, and passed over: {safe(_counts(passed_over))}", soft_wrap=True)
    if done.first is not None:
        path, error = done.first
        console.print(f"  the first: {safe(path or error)}", soft_wrap=bool(path))
        if path:
            console.print(f"  {safe(error)}")
    print_unlike(done.n_unlike, run)
    console.print(f"Wrote [bold]{safe(document['out'])}[/]", soft_wrap=True)
    if done.failed.keys() - {"data"}:
        next_command("featcache", "failures", document["cache"])


def _counts(passed_over: Mapping[str, int]) -> str:
    """Name the kinds of files of which there are most, and count the rest."""
    shown = dict(Counter(passed_over).most_common(_MOST_KINDS))
    parts = [f"{n:,} {_SEVERAL.get(kind, kind) if n > 1 else kind}" for kind, n in shown.items()]
    rest = sum(passed_over.values()) - sum(shown.values())
    return ", ".join([*parts, f"{rest:,} others"] if rest else parts)


def _failed(done: Scan) -> str:
    if not done.n_failed:
        return "0 failed"
    stages = ", ".join(f"{stage} {n:,}" for stage, n in done.failed.items())
    return f"[red]{done.n_failed:,} failed[/] ({stages})"
