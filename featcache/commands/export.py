"""``featcache export``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.console import CheckDigests, cache_folder, console, human_bytes, print_json, safe, show_checks

if TYPE_CHECKING:
    from featcache.store.selection import Selection
    from featcache.store.store import FeatureStore

__all__ = ["export"]


def export(
    out: Annotated[
        str,
        typer.Option("--out", metavar="F", help="Ends in .npz, .parquet or .safetensors; or a folder of .npy files."),
    ],
    cache: Annotated[Path | None, typer.Argument(metavar="DIR", help="The cache folder.")] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="S", help="train, valid or test; default: all samples.", rich_help_panel="Data"),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Which data set, if the cache has several.", rich_help_panel="Data"),
    ] = None,
    text_encoder: Annotated[
        str | None,
        typer.Option(metavar="E", help="Fingerprint prefix or model name; none: no text.", rich_help_panel="Vectors"),
    ] = None,
    image_encoder: Annotated[
        str | None,
        typer.Option(metavar="E", help="Fingerprint prefix or model name; none: no images.", rich_help_panel="Vectors"),
    ] = None,
    spectral_encoder: Annotated[
        str | None,
        typer.Option(metavar="E", help="Fingerprint prefix; none: no spectral features.", rich_help_panel="Vectors"),
    ] = None,
    text_outputs: Annotated[
        str | None, typer.Option(metavar="O,…", help="Stored outputs, separated by commas.", rich_help_panel="Vectors")
    ] = None,
    image_outputs: Annotated[
        str | None, typer.Option(metavar="O,…", help="Stored outputs, separated by commas.", rich_help_panel="Vectors")
    ] = None,
    spectral_outputs: Annotated[
        str | None, typer.Option(metavar="O,…", help="Stored outputs, separated by commas.", rich_help_panel="Vectors")
    ] = None,
    view: Annotated[
        str,
        typer.Option(
            metavar="V", help="View of the images; what has no vectors of it is left out.", rich_help_panel="Vectors"
        ),
    ] = "clean",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file or folder at --out.")] = False,
    check: CheckDigests = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel="What is printed")
    ] = False,
) -> None:
    """Take aligned arrays out of a cache: sample_id, split, labels, text, image, spectral."""
    from featcache.store.export import export_store
    from featcache.store.opening import open_store

    asked = {
        "text": (text_encoder, text_outputs),
        "image": (image_encoder, image_outputs),
        "spectral": (spectral_encoder, spectral_outputs),
    }
    with show_checks() as progress:
        store = open_store(cache_folder(cache), dataset=dataset, check=check, progress=progress)
        report = export_store(store, out, split=split, selections=_select(store, asked, view), overwrite=overwrite)
    if as_json:
        print_json(asdict(report) | {"path": str(report.path)})
        return
    columns = ", ".join(
        f"{m} {width} columns" + (f" ({report.n_missing[m]:,} rows without)" if report.n_missing[m] else "")
        for m, width in report.widths.items()
    )
    size = human_bytes(report.n_bytes)
    console.print(f"{report.n_rows:,} rows ({columns}), {size} → {safe(report.path)}", soft_wrap=True)


def _select(store: FeatureStore, asked: Mapping[str, tuple[str | None, str | None]], view: str) -> dict[str, Selection]:
    """Select what was asked for, by modality (encoder, outputs), and the standard vectors of what was not."""
    nothing = (None, None)
    known = {m: store.views(m) for m in asked if m in store.modalities}
    wanted = {m: given for m, given in asked.items() if given[0] != "none" and (m in known or given != nothing)}
    # As in `default_selections`: a view that only some of the modalities have is asked of those.
    is_somewhere = view != "clean" and any(view in known.get(m, ()) for m in wanted)
    return {
        m: store.select(m, encoder=given[0], outputs=_names(given[1]), view="clean" if m == "text" else view)
        for m, given in wanted.items()
        if m == "text" or given != nothing or not is_somewhere or view in known[m]
    }


def _names(outputs: str | None) -> tuple[str, ...] | None:
    return None if outputs is None else tuple(part.strip() for part in outputs.split(","))
