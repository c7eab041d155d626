"""Saying why contents are not cached although another producer holds them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from featcache.console import safe

if TYPE_CHECKING:
    from featcache.store.near_misses import NearMiss

__all__ = ["print_misses"]

_CHANGES = 4


def print_misses(
    console: Console, misses: Sequence[NearMiss], *, what: str, producer: tuple[str, str], cache: Path
) -> None:
    """Print what is going to be encoded, and in what the cached rows of other producers differ.

    Parameters
    ----------
    console : Console
        Where to print.
    misses : sequence of NearMiss
        The other producers; nothing is printed if there are none.
    what : str
        What will happen, e.g. ``will encode 720 pictures``.
    producer : (str, str)
        Model and fingerprint of the encoder that was asked for.
    cache : Path
        The cache folder.
    """
    if not misses:
        return
    model, fingerprint = producer
    console.print(f"{what} with {safe(model)} {fingerprint[:12]}:", soft_wrap=True)
    for miss in misses:
        shown = "; ".join(safe(str(change)) for change in miss.changes[:_CHANGES])
        rows = f"{miss.n_contents:,} of them are cached from {safe(miss.model)} {miss.fingerprint[:12]}"
        console.print(f"  {rows}, which differs in {shown}", soft_wrap=True)
        if len(miss.changes) > _CHANGES:
            command = shlex.join(["featcache", "diff", str(cache), miss.fingerprint[:12], fingerprint[:12]])
            n = len(miss.changes) - _CHANGES
            console.print(f"  and {n} more field{'s' * (n > 1)}: {safe(command)}", soft_wrap=True)
