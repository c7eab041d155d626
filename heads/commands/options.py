"""Options that several commands share, and what they mean."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from heads.commands.usage import check_memory, within
from heads.data.fusion import FUSIONS
from heads.errors import HeadsError
from heads.head.kinds import HEADS
from heads.verdicts.guarantees import BUDGETS, CONFIDENCES
from heads.verdicts.maps import PRIOR

__all__ = [
    "GRID",
    "HEAD",
    "PRINTED",
    "TRIALS",
    "VECTORS",
    "VERDICTS",
    "Abstain",
    "AsJson",
    "Confidence",
    "DatasetName",
    "DeviceChoice",
    "DeviceName",
    "EncoderName",
    "EncodingDevice",
    "FusionName",
    "HeadName",
    "HoldOutAxis",
    "ImageModel",
    "LogFile",
    "LossChoice",
    "LossName",
    "MaxFnr",
    "MaxFpr",
    "MemorySize",
    "Outputs",
    "OutputsList",
    "Overwrite",
    "OverwriteFile",
    "PointName",
    "PresetName",
    "Prior",
    "ReportFormat",
    "ScoreFiles",
    "SelectBy",
    "TableFormat",
    "TextModel",
    "TrainDevice",
    "check_device",
]

HEAD, GRID, TRIALS, PRINTED = "Head", "Grid", "Trials", "What is printed"
VECTORS, VERDICTS, _DATA, _PACE = "Vectors", "Verdicts", "Data", "Pace"

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=PRINTED)]
DatasetName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Which data set of the cache, if it has several.", rich_help_panel=_DATA),
]
EncoderName = Annotated[
    str | None,
    typer.Option(
        metavar="E", help="Fingerprint (its beginning) or model, if the cache has several.", rich_help_panel=VECTORS
    ),
]
Outputs = Annotated[
    str | None,
    typer.Option(
        metavar="O,…", help="Which of the stored outputs, e.g. cls or layers:4-8 or layers:all.",
        rich_help_panel=VECTORS,
    ),
]  # fmt: skip
ImageModel = Annotated[
    str | None,
    typer.Option(metavar="M", help="Where the image encoder is now: hub id or folder.", rich_help_panel="Encoders"),
]
TextModel = Annotated[
    str | None,
    typer.Option(metavar="M", help="Where the text encoder is now: hub id or folder.", rich_help_panel="Encoders"),
]
LogFile = Annotated[
    Path | None,
    typer.Option(
        metavar="F.jsonl", help="Append a line for each picture: what was said of which bytes, by what, and when."
    ),
]
OutputsList = Annotated[
    str | None,
    typer.Option(
        metavar="O,…[;…]",
        help="Which of the stored outputs; with 'A;B;C' they are compared with the first.",
        rich_help_panel=VECTORS,
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the result at --out; refused if other files are there.")
]
OverwriteFile = Annotated[bool, typer.Option("--overwrite", help="Replace the file at --out.")]


# Of the registries: there is no second list that could lack one.
HeadName = StrEnum("HeadName", {name: name for name in HEADS})  # type: ignore[misc]
FusionName = StrEnum("FusionName", {name: name for name in FUSIONS})  # type: ignore[misc]


PointName = Annotated[
    str | None,
    typer.Option(metavar="P", help="Operating point that decides; default: the run's own.", rich_help_panel=VERDICTS),
]
ScoreFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--scores",
        metavar="NAME=F.csv",
        help="Scores of another detector: sample_id, p_ai, p_GENERATOR …; may be given several times.",
        rich_help_panel=VERDICTS,
    ),
]
Prior = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        callback=within(PRIOR),
        help="Share of AI where verdicts are used, e.g. 0.05: moves probabilities, never verdicts.",
        rich_help_panel=VERDICTS,
    ),
]
MaxFpr = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE", help="At most this share of real pictures is called AI, e.g. 0.05.",
        callback=within(BUDGETS), rich_help_panel=VERDICTS,
    ),
]  # fmt: skip
MaxFnr = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE", help="At most this share of AI pictures is called real; with both, unsure between.",
        callback=within(BUDGETS), rich_help_panel=VERDICTS,
    ),
]  # fmt: skip
Confidence = Annotated[
    float,
    typer.Option(
        metavar="SHARE", callback=within(CONFIDENCES), help="How surely each budget is kept.", rich_help_panel=VERDICTS
    ),
]


class Abstention(StrEnum):
    """What verdicts are withheld from."""

    novel = "novel"


Abstain = Annotated[
    Abstention | None,
    typer.Option(
        metavar="novel", help="novel: pictures unlike those of training are unsure.", rich_help_panel=VERDICTS
    ),
]


class LossName(StrEnum):
    """What the mlp head minimises."""

    multitask = "multitask"
    paper = "paper"
    joint = "joint"


LossChoice = Annotated[
    LossName | None,
    typer.Option(metavar="LOSS", help="Of head mlp: multitask (default), paper or joint.", rich_help_panel=HEAD),
]


class HoldOutAxis(StrEnum):
    """What an ablation leaves out, one value at a time."""

    generator = "generator"
    origin = "origin"


class SelectBy(StrEnum):
    """What the best configuration of an ablation is best at."""

    score = "score"
    held_out = "held-out"


class PresetName(StrEnum):
    """Named sets of settings."""

    paper = "paper"


class DeviceName(StrEnum):
    """Where to compute."""

    auto = "auto"
    cuda = "cuda"
    cpu = "cpu"


EncodingDevice = Annotated[DeviceName, typer.Option(help="Where to compute.", rich_help_panel=_PACE)]


class TrainDevice(StrEnum):
    """Where heads are trained."""

    cpu = "cpu"
    cuda = "cuda"


DeviceChoice = Annotated[
    TrainDevice | None, typer.Option(help="Where mlp heads are trained; default: cpu.", rich_help_panel=_PACE)
]
MemorySize = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        callback=check_memory,
        rich_help_panel=_PACE,
        help="What training may take, e.g. 2GB; default: what it needs.",
    ),
]


class ReportFormat(StrEnum):
    """How evaluations are printed."""

    text = "text"
    markdown = "markdown"


class TableFormat(StrEnum):
    """What predict writes."""

    table = "table"
    ct2 = "ct2"


def check_device(name: str) -> Literal["cpu", "cuda"]:
    """Return the device that heads are to be trained on; CUDA must be there."""
    if name == "cpu":
        return "cpu"
    if name != "cuda":
        raise HeadsError(f"device is {name!r}, expected cpu or cuda")
    import torch

    if not torch.cuda.is_available():
        raise HeadsError(f"--device cuda: no CUDA device is available to torch {torch.__version__}; use --device cpu")
    return "cuda"
