"""``heads audit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featcache.console import CheckDigests, cache_folder
from heads.commands.audit_report import print_audit
from heads.commands.choices import build_choices
from heads.commands.options import AsJson, DatasetName, EncoderName, FusionName, Outputs
from heads.commands.render import print_json, show_checks

__all__ = ["audit"]


def audit(
    directory: Annotated[Path | None, typer.Argument(metavar="DIR", help="Cache; default: ./cache.")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help="What the cache was filled from: for the words of captions.", rich_help_panel="Data"
        ),
    ] = None,
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails", help="Read the pictures, and try them at 8×8.", rich_help_panel="Data")
    ] = False,
    fusion: Annotated[
        FusionName | None,
        typer.Option(
            metavar="F",
            help=f"Vectors by which labels are looked at: {', '.join(FusionName)}; default: image.",
            rich_help_panel="Vectors",
        ),
    ] = None,
    text_encoder: EncoderName = None,
    image_encoder: EncoderName = None,
    spectral_encoder: EncoderName = None,
    text_outputs: Outputs = None,
    image_outputs: Outputs = None,
    spectral_outputs: Outputs = None,
    dataset: DatasetName = None,
    check: CheckDigests = True,
    as_json: AsJson = False,
) -> None:
    """Say what alone tells real from AI, such as sizes or captions, and which labels look wrong; never look at test."""
    choices = build_choices(
        encoders={"text": text_encoder, "image": image_encoder, "spectral": spectral_encoder},
        outputs={"text": text_outputs, "image": image_outputs, "spectral": spectral_outputs},
    )

    from featcache import open_store
    from heads.audit.audit import audit as library_audit

    with show_checks() as checking:
        store = open_store(cache_folder(directory), dataset=dataset, check=check, progress=checking)
        name = None if fusion is None else str(fusion.value)
        found = library_audit(store, data=data, thumbnails=thumbnails, fusion=name, choices=choices)
    if as_json:
        print_json(found.to_dict())
    else:
        print_audit(found)
