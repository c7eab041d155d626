"""``featcache export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featcache.commands.render import cache_folder, console, safe

__all__ = ["export"]


def export(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write; the name ends in .npz.")],
    cache: Annotated[Path | None, typer.Argument(metavar="DIR", help="The cache folder.")] = None,
    split: Annotated[str | None, typer.Option(help="train, valid or test; default: all samples.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Which data set, if the cache has several.")] = None,
    text_encoder: Annotated[str | None, typer.Option(help="Fingerprint prefix or model name.")] = None,
    image_encoder: Annotated[str | None, typer.Option(help="Fingerprint prefix or model name.")] = None,
) -> None:
    """Take aligned arrays out of a cache: sample_id, split, labels, text, image."""
    from featcache.export import export_npz
    from featcache.store import open_store

    store = open_store(cache_folder(cache), dataset=dataset)
    encoders = {"text": text_encoder, "image": image_encoder}
    selections = {m: store.select(m, encoder=encoders[m]) for m in store.modalities}
    arrays = store.arrays(split, selections=selections)
    export_npz(arrays, out)
    columns = ", ".join(f"{m} {v.shape[1]} columns" for m, v in arrays.features.items())
    console.print(f"{len(arrays):,} rows ({columns}) → {safe(out)}", soft_wrap=True)
