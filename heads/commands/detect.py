"""``heads detect``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from heads.commands.guarantee_lines import called_words, other_views, print_promises
from heads.commands.likeness_lines import print_neighbours, print_too_few
from heads.commands.logs import open_log
from heads.commands.options import (
    Abstain,
    DeviceName,
    EncodingDevice,
    ImageModel,
    LogFile,
    PointName,
    Prior,
    TextModel,
)
from heads.commands.render import console, notes, print_json, probability, safe
from heads.commands.training import NeighbourCount, TrainCache, Training
from heads.errors import HeadsError
from heads.verdicts.points import BALANCED

if TYPE_CHECKING:
    from heads.runs.detection import PictureJudge, Verdict
    from heads.runs.run import Run
    from heads.verdicts.points import OperatingPoint

__all__ = ["detect", "draw_bar"]

_BAR = 24


@dataclass(frozen=True)
class _Judged:
    """A picture with its caption, and its verdict or why and at which stage there is none."""

    path: Path | None
    content: bytes | None
    caption: str | None
    verdict: Verdict | None = None
    fault: HeadsError | None = None
    stage: str | None = None

    @property
    def said(self) -> Mapping[str, Any]:
        """What the JSON form says of it, and entries of logs."""
        return {"error": str(self.fault), "stage": self.stage} if self.verdict is None else self.verdict.to_dict()


def detect(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    image: Annotated[
        list[Path] | None, typer.Option(metavar="F", help="A picture; may be given several times.")
    ] = None,
    caption: Annotated[
        list[str] | None,
        typer.Option(metavar="T", help="Its caption, if the head looks at text: of all pictures, or one of each."),
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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; of several pictures a list.")] = False,
) -> None:
    """Run the encoders on single pictures and print the verdicts; `heads scan` takes a folder.

    They are encoded under the view that the head was fitted on: of several views the clean one.
    """
    if train_cache is not None and neighbours is None:
        raise HeadsError("--train-cache is where neighbours are looked for: name --neighbours K as well")
    images: list[Path | None] = [*image] if image else [None]
    captions = _captions(caption or [], len(images))
    from heads.runs.detection import PictureJudge
    from heads.runs.entries import Recorder
    from heads.runs.judge_options import JudgeOptions
    from heads.runs.run import load_run

    models = {name: model for name, model in (("image", image_model), ("text", text_model)) if model}
    loaded = load_run(run)
    options = JudgeOptions(point, prior, abstain is not None)
    if neighbours is not None:
        options = Training.find(loaded, train_cache, is_needed=True).with_neighbours(options, neighbours)
    judge = PictureJudge(loaded, models=models, device=device.value, options=options)
    kept = None if log is None else open_log(log)
    found = _judge_all(judge, images, captions)
    recorder = Recorder.of(loaded, "detect", point=point, prior=prior)
    entries = [recorder.of_content(each.path, each.content, each.caption, each.said) for each in found]
    if kept is not None:
        kept.append(entries)
    if len(found) == 1 and found[0].fault:
        raise found[0].fault
    decides, seen = loaded.point(point), [loaded.point(BALANCED).view]
    if as_json:
        note = other_views(decides, seen)
        documents = [dict(each.said) | {"entry": e, "note": note} for each, e in zip(found, entries, strict=True)]
        named = [{"image": str(each.path)} | document for each, document in zip(found, documents, strict=True)]
        print_json(documents[0] if len(found) == 1 else named)
    else:
        _print_all(found, decides)
        if models_used := next((each.verdict.models for each in found if each.verdict), None):
            _print_rule(loaded, decides, prior)
            print_promises(decides, seen)
            print_too_few(loaded)
            for modality, place in models_used.items():
                console.print(f"[dim]{safe(modality)} encoder: {safe(place)}[/]", soft_wrap=True)
    if any(each.verdict is None for each in found):
        raise typer.Exit(3)


def _captions(given: Sequence[str], n_images: int) -> Sequence[str | None]:
    if len(given) > 1 and len(given) != n_images:
        message = f"there are {len(given)} for {n_images} pictures, expected one for all or one for each"
        raise typer.BadParameter(message, param_hint="--caption")
    return given if len(given) > 1 else [given[0] if given else None] * n_images


def _judge_all(judge: PictureJudge, images: Sequence[Path | None], captions: Sequence[str | None]) -> list[_Judged]:
    """Judge pictures in their order; whether all can be judged is known before any encoder is loaded.

    Those that cannot be read or decoded have the reason in the place of a verdict.
    """
    from featcache import ImageError
    from heads.runs.detection import read_picture

    found: list[_Judged] = []
    for path, caption in zip(images, captions, strict=True):
        try:
            content = None if path is None else read_picture(path)
        except HeadsError as error:
            found.append(_Judged(path, None, caption, fault=error, stage="read"))
        else:
            judge.check(content, caption)
            found.append(_Judged(path, content, caption))
    for place, each in enumerate(found):
        if each.fault is None:
            try:
                found[place] = replace(each, verdict=judge.judge(each.content, each.caption))
            except ImageError as error:
                found[place] = replace(each, fault=HeadsError(f"{each.path}: {error}"), stage="decode")
    return found


def _print_all(found: Sequence[_Judged], point: OperatingPoint) -> None:
    verdicts = [(each.path, each.verdict) for each in found if each.verdict]
    for number, (path, verdict) in enumerate(verdicts):
        if number:
            console.print()
        _print_verdict(path, verdict, point)
    for each in found:
        if each.fault:
            notes.print(f"[yellow]Not judged:[/] {safe(each.fault)}", soft_wrap=True)


def _print_verdict(path: Path | None, found: Verdict, point: OperatingPoint) -> None:
    """Say what was decided and by what; the bars are of P(AI), with the threshold in it, and of its parts."""
    name = "the caption" if path is None else safe(path)
    if found.verdict == "real":
        means = called_words(point)[1]
        console.print(f"{name}: [bold green]real[/]{'' if means == 'real' else f', {means}'}", soft_wrap=True)
    elif found.verdict != "ai":
        console.print(f"{name}: [bold yellow]{found.verdict}[/], {found.reason}", soft_wrap=True)
    else:
        maker = f", most likely by [bold]{safe(found.generator)}[/]" if found.generator else ""
        console.print(f"{name}: [bold red]AI-generated[/]{maker}", soft_wrap=True)
    if found.is_unlike:
        console.print(
            f"[yellow]Unlike the training pictures[/] (novelty {found.novelty:.3f}): what is promised of verdicts\n"
            "does not hold for it"
        )
    console.print(f"P(AI) is {probability(found.p_ai, 4)}, {_decision(found)}\n")
    table = Table("", "probability", "", box=None, header_style="dim", pad_edge=False)
    table.add_row("AI", probability(found.p_ai), draw_bar(found.p_ai, found.threshold))
    for generator, p in found.probabilities.items():
        if generator != "real" and len(found.probabilities) > 2:
            table.add_row(f"  {safe(generator)}", probability(p), "█" * round(p * _BAR))
    console.print(table)
    if found.set_b is not None and found.verdict != "real":
        console.print(f"If AI, it may be by {safe(', '.join(found.set_b))}: the generators that calibration leaves")
    if found.neighbours is not None:
        print_neighbours(found.neighbours)


def _print_rule(run: Run, point: OperatingPoint, prior: float | None) -> None:
    """Name the operating point and the prior where they are not those of the run."""
    own = run.point()
    told = [f"operating point {safe(point.name)}, not {safe(own.name)}"] if point != own else []
    told += [f"a share of AI of {prior:g}, not {run.check_prior(None):.2g}"] if prior is not None else []
    if told:
        console.print(f"[dim]Asked for: {'; '.join(told)}[/]", soft_wrap=True)


def _decision(found: Verdict) -> str:
    """Say where P(AI) lies beside the threshold, or beside the two between which nothing is decided."""
    threshold, real_below = probability(found.threshold, 4), probability(found.real_below, 4)
    if found.real_below == found.threshold:
        is_above = found.verdict == "ai" or (found.verdict != "real" and found.p_ai >= found.threshold)
        return f"{'at or above' if is_above else 'below'} the threshold of {threshold} (│)"
    both = f"{real_below} and {threshold}"
    where = {"ai": f"at or above {threshold}", "real": f"below {real_below}"}
    return f"{where[found.verdict]}; unsure between {both}" if found.verdict in where else f"between {both}"


def draw_bar(p: float, threshold: float) -> str:
    """Draw a probability from 0 to 1, and where in it the threshold is."""
    cells = ("█" * round(p * _BAR)).ljust(_BAR, "·")
    mark = round(threshold * _BAR)
    return f"{cells[:mark]}│{cells[mark:]}"
