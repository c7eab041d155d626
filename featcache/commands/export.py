"""``featcache export``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from featcache.commands.render import cache_folder, console, print_json, safe
from featcache.terminal import human_bytes

__all__ = ["export"]


def export(
    out: Annotated[
        str,
        typer.Option("--out", metavar="F", help="Ends in .npz, .parquet or .safetensors; or a folder of .npy files."),
    ],
    cache: Annotated[Path | None, typer.Argument(metavar="DIR", help="The cache folder.")] = None,
    split: Annotated[str | None, typer.Option(help="train, valid or test; default: all samples.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Which data set, if the cache has several.")] = None,
    text_encoder: Annotated[str | None, typer.Option(help="Fingerprint prefix or model name; none: no text.")] = None,
    image_encoder: Annotated[
        str | None, typer.Option(help="Fingerprint prefix or model name; none: no images.")
    ] = None,
    text_outputs: Annotated[str | None, typer.Option(help="Stored outputs, separated by commas.")] = None,
    image_outputs: Annotated[str | None, typer.Option(help="Stored outputs, separated by commas.")] = None,
    view: Annotated[str, typer.Option(help="View of the images.")] = "clean",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Take aligned arrays out of a cache: sample_id, split, labels, text, image."""
    from featcache.export import export_store
    from featcache.store import open_store

    store = open_store(cache_folder(cache), dataset=dataset)
    chosen = {"text": (text_encoder, text_outputs, "clean"), "image": (image_encoder, image_outputs, view)}
    selections = {
        modality: store.select(modality, encoder=encoder, outputs=_names(outputs), view=seen)
        for modality, (encoder, outputs, seen) in chosen.items()
        if encoder != "none" and (modality in store.modalities or encoder is not None or outputs is not None)
    }
    report = export_store(store, out, split=split, selections=selections)
    if as_json:
        print_json(asdict(report) | {"path": str(report.path)})
        return
    columns = ", ".join(
        f"{m} {width} columns" + (f" ({report.n_missing[m]:,} rows without)" if report.n_missing[m] else "")
        for m, width in report.widths.items()
    )
    size = human_bytes(report.n_bytes)
    console.print(f"{report.n_rows:,} rows ({columns}), {size} → {safe(report.path)}", soft_wrap=True)


def _names(outputs: str | None) -> tuple[str, ...] | None:
    return None if outputs is None else tuple(part.strip() for part in outputs.split(","))
