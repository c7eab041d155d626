"""The options of ``featcache extract``, some of which ``featcache bench`` has too: their types and help."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

__all__ = ["ExtractCommand"]


class DeviceName(StrEnum):
    """Where to compute."""

    auto = "auto"
    cuda = "cuda"
    cpu = "cpu"


class DtypeName(StrEnum):
    """Precision of the forward."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class StorageName(StrEnum):
    """Precision on disk."""

    auto = "auto"
    float16 = "float16"
    float32 = "float32"


class ResizeName(StrEnum):
    """Who resizes pictures."""

    pillow = "pillow"
    torch = "torch"


class DecodeName(StrEnum):
    """How JPEGs are decoded."""

    exact = "exact"
    fast = "fast"


class DecoderName(StrEnum):
    """Who decodes and resizes pictures."""

    auto = "auto"
    pillow = "pillow"
    card = "card"


class FitName(StrEnum):
    """How pictures of another aspect come to a square."""

    crop = "crop"
    squash = "squash"
    pad = "pad"


class OnOrphan(StrEnum):
    """What to do about named files that are not there, or are no regular files."""

    error = "error"
    skip = "skip"


class ExtractCommand(TyperCommand):
    """Reads ``--dry-run=timed``: typer has no options whose value may be left out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Turn the option with a value into two without."""
        at = args.index("--") if "--" in args else len(args)
        for arg in args[:at]:
            if arg.startswith("--dry-run=") and arg != _TIMED:
                why = f"{arg.partition('=')[2]!r} is not 'timed'; --dry-run alone estimates no time"
                raise typer.BadParameter(why, ctx=ctx, param_hint="--dry-run")
        before = [word for arg in args[:at] for word in (("--dry-run", "--timed") if arg == _TIMED else (arg,))]
        return super().parse_args(ctx, [*before, *args[at:]])


_TIMED = "--dry-run=timed"
_DATA, _ENCODERS, _FURTHER, _PICTURES = "Data", "Encoders", "Further encoders", "Pictures"
_PACE, _PARTS, _FAILURES, _PRINTED = "Pace", "Parts", "Failures", "What is printed"


def _check_count(text: str, least: int) -> str:
    if text == "auto":
        return text
    try:
        is_count = text.isascii() and text.isdecimal() and int(text) >= least
    except ValueError as error:  # more digits than Python reads
        raise typer.BadParameter(f"Value error, {error}") from None
    if not is_count:
        raise typer.BadParameter(f"{text!r} is neither a number from {least} on nor auto")
    return text


def _check_size(text: str) -> str:
    return _check_count(text, 1)


def _check_workers(text: str) -> str:
    return _check_count(text, 0)


Data = Annotated[
    str | None,
    typer.Argument(
        metavar="DATA",
        help="Table (csv, tsv, json, jsonl, parquet, xlsx), folder, tars, or hf:NAME; default: featcache.toml.",
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        metavar="V=real|ai,…", rich_help_panel=_DATA,
        help="What values or folders mean: 1=real,0=ai, midjourney=ai, '*=ai' (all others), none, auto.",
    ),
]  # fmt: skip
Column = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIELD=NAME,…", rich_help_panel=_DATA,
        help="Which columns (keys of .json beside pictures) mean what: image=file,caption=text.",
    ),
]  # fmt: skip
Splits = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=SPLIT,…", rich_help_panel=_DATA,
        help="What other names of splits mean: holdout=test,dev2=valid, or auto.",
    ),
]  # fmt: skip
Root = Annotated[
    Path | None,
    typer.Option(metavar="DIR", rich_help_panel=_DATA,
                 help="Where the pictures are here, whose paths are of another machine."),
]  # fmt: skip
CacheFolder = Annotated[Path | None, typer.Option(metavar="DIR", help="Cache folder; default: ./cache.")]
TextModel = Annotated[
    str | None, typer.Option(metavar="M", help="Hub id, id@revision, folder, or none.", rich_help_panel=_ENCODERS)
]
ImageModel = Annotated[
    str | None, typer.Option(metavar="M", help="Hub id, id@revision, folder, or none.", rich_help_panel=_ENCODERS)
]
TextOutputs = Annotated[
    str | None,
    typer.Option(metavar="O,…", help="Some of cls, mean, last, sentence, pooler, layers:4-8-12, layers:all.",
                 rich_help_panel=_ENCODERS),
]  # fmt: skip
ImageOutputs = Annotated[
    str | None,
    typer.Option(metavar="O,…", help="Some of pooled, cls, projected, mean, layers:4-8-12, layers_mean:all.",
                 rich_help_panel=_ENCODERS),
]  # fmt: skip
TextTemplate = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Text to encode, with {caption}.", rich_help_panel=_ENCODERS)
]
Dtype = Annotated[
    DtypeName,
    typer.Option(metavar="TYPE", rich_help_panel=_ENCODERS,
                 help="Of the forward: float32, bfloat16, float16, or auto: the cache's."),
]  # fmt: skip
StorageDtype = Annotated[
    StorageName,
    typer.Option(metavar="TYPE", help="On disk: float16, float32, or auto: the cache's.", rich_help_panel=_ENCODERS),
]
Spectral = Annotated[
    bool | None,
    typer.Option("--spectral/--no-spectral", help="Spectral features too: no weights needed.",
                 rich_help_panel=_FURTHER),
]  # fmt: skip
SpectralOutputs = Annotated[
    str | None,
    typer.Option(metavar="O,…", help="Some of radial, angular, peaks, dct, grid, noise, patterns.",
                 rich_help_panel=_FURTHER),
]  # fmt: skip
ClipText = Annotated[
    bool | None,
    typer.Option("--clip-text/--no-clip-text", help="Captions by the image model's text tower too.",
                 rich_help_panel=_FURTHER),
]  # fmt: skip
Views = Annotated[
    str | None,
    typer.Option(
        metavar="V,…", rich_help_panel=_PICTURES,
        help="Of pictures: clean, hflip, jpeg:75, blur:1, noise:0.05, brightness:0.5, rescale:0.5, crop:0.8, "
        "jpeg:50+blur:1, or a preset: train, report. Default: clean.",
    ),
]  # fmt: skip
Resize = Annotated[
    ResizeName | None,
    typer.Option(metavar="HOW", rich_help_panel=_PICTURES,
                 help="Who resizes: pillow (default), or torch: faster, a few levels off."),
]  # fmt: skip
SquareCrop = Annotated[
    bool | None,
    typer.Option("--square-crop/--no-square-crop", help="Only a picture's middle square.", rich_help_panel=_PICTURES),
]
Decode = Annotated[
    DecodeName | None,
    typer.Option(metavar="HOW", rich_help_panel=_PICTURES,
                 help="exact (default), or fast: large JPEGs at a fraction of their size."),
]  # fmt: skip
ImageSize = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", rich_help_panel=_PICTURES,
                 help="Pictures of N × N pixels, positions interpolated."),
]  # fmt: skip
Fit = Annotated[
    FitName | None,
    typer.Option(metavar="HOW", rich_help_panel=_PICTURES,
                 help="crop, squash or pad to a square; default: the model's own way."),
]  # fmt: skip
Variant = Annotated[
    str | None,
    typer.Option(metavar="NAME", rich_help_panel=_ENCODERS,
                 help="Which weights of the models, e.g. fp16: model.fp16.safetensors."),
]  # fmt: skip
Device = Annotated[DeviceName, typer.Option(help="Where to compute.", rich_help_panel=_PACE)]
BatchSize = Annotated[
    str,
    typer.Option(callback=_check_size, metavar="N|auto", help="Pictures a forward; auto: 64, on cuda tried out.",
                 rich_help_panel=_PACE),
]  # fmt: skip
Workers = Annotated[
    str,
    typer.Option(callback=_check_workers, metavar="N|auto", rich_help_panel=_PACE,
                 help="Pictures prepared at once; 0: by threads, in no process of their own."),
]  # fmt: skip
Memory = Annotated[
    str | None,
    typer.Option(metavar="SIZE", rich_help_panel=_PACE,
                 help="What all pictures in preparation may take, e.g. 4GB; default: half of what is free."),
]  # fmt: skip
Decoder = Annotated[
    DecoderName,
    typer.Option(metavar="WHO", rich_help_panel=_PACE,
                 help="Who prepares pictures, to Pillow's pixels: auto (what is fastest), pillow, or card: the GPU "
                      "resizes, and decodes what it can."),
]  # fmt: skip
Compile = Annotated[bool, typer.Option("--compile", help="torch.compile: pays in hours.", rich_help_panel=_PACE)]
ShardRows = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", rich_help_panel=_PARTS,
                 help="Rows a shard; default 4096 or 512 MB. What takes over 5 minutes is published as it goes."),
]  # fmt: skip
Shard = Annotated[
    str | None,
    typer.Option(metavar="i/N|auto[/N]", help="Do one part of N, counted from 0; auto: from the job's environment.",
                 rich_help_panel=_PARTS),
]  # fmt: skip
Gpus = Annotated[
    str | None,
    typer.Option(metavar="N|all", help="A process on each of N GPUs; default: all.", rich_help_panel=_PACE),
]
Refreeze = Annotated[
    bool, typer.Option("--refreeze", help="Replace what an earlier division agreed on.", rich_help_panel=_PARTS)
]
OnOrphans = Annotated[OnOrphan, typer.Option(help="Named files that are no regular files.", rich_help_panel=_FAILURES)]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Try only what failed earlier.", rich_help_panel=_FAILURES)
]
MaxFailures = Annotated[
    str | None,
    typer.Option(
        metavar="N|P%", help="Give up when more contents fail; P% from 50 tried on.", rich_help_panel=_FAILURES
    ),
]
Rehash = Annotated[
    bool, typer.Option("--rehash", help="Read pictures again that look unchanged.", rich_help_panel=_DATA)
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done; =timed: encode one batch, estimate the time.")
]
Timed = Annotated[bool, typer.Option("--timed", hidden=True)]
Name = Annotated[
    str | None, typer.Option(metavar="NAME", help="Name of the data set in the cache.", rich_help_panel=_DATA)
]
Seed = Annotated[
    int | None,
    typer.Option(metavar="N", help="Of the split, where the data have none; default: as before, or 0.",
                 rich_help_panel=_DATA),
]  # fmt: skip
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=_PRINTED)]
JsonLog = Annotated[
    Path | None,
    typer.Option(metavar="F", help="Append what happens to a file, one JSON object a line.", rich_help_panel=_PRINTED),
]
