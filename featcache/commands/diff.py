"""``featcache diff``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featcache.console import console, print_json, safe

__all__ = ["diff"]


def diff(
    cache: Annotated[Path, typer.Argument(metavar="DIR", help="The cache folder.")],
    a: Annotated[str, typer.Argument(metavar="A", help="Beginning of a fingerprint, or a model's name.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The other one.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell in what two encoders of a cache differ: why the vectors of one are not those of the other."""
    from featcache.cache.folder import Cache
    from featcache.store.near_misses import diff_producers

    found = diff_producers(Cache.open(cache), a, b)
    if as_json:
        print_json(found.to_dict())
        return
    for name, producer in (("A", found.a), ("B", found.b)):
        console.print(f"{name} {producer.modality} {producer.short} {safe(producer.model_name)}", soft_wrap=True)
    for change in found.changes:
        console.print(f"  {safe(str(change))}", soft_wrap=True)
    if not found.changes:
        console.print("They are the same producer.")
