"""Rendering of ``featcache extract --dry-run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from featcache.commands.misses import print_misses
from featcache.commands.render import console, safe
from featcache.terminal import human_bytes

if TYPE_CHECKING:
    from featcache.forecast import Forecast, SideForecast

__all__ = ["render_forecast"]


def render_forecast(found: Forecast, cache: Path, *, timed: bool) -> None:
    """Print what an extraction would do."""
    counts = [f"{n:,} without {'caption' if m == 'text' else 'image'}" for m, n in found.n_missing.items() if n]
    counts += [f"{found.n_orphans:,} entries skipped: no such file"] if found.n_orphans else []
    counts += [f"{found.n_unreadable:,} pictures cannot be read"] if found.n_unreadable else []
    console.print(", ".join([f"{found.n_samples:,} samples", *counts]), soft_wrap=True)
    table = Table("encoder", "model", box=None, header_style="dim", pad_edge=False)
    titles = ["contents", "cached", "failed", "to do", "units", "disk", *(["time"] if timed else [])]
    for title in titles:
        table.add_column(title, justify="right")
    for side in found.sides:
        table.add_row(*_cells(side, timed))
    console.print(table)
    for side in found.sides:
        what = f"would encode {side.n_todo:,} {'captions' if side.modality == 'text' else 'pictures'}"
        print_misses(console, side.misses, what=what, producer=(side.model, side.fingerprint), cache=cache)
        if side.n_new:
            console.print(f"{side.n_new:,} new {side.modality} contents are left alone: --retry-failed")
    needed = _disk(found.n_bytes)
    console.print(f"Disk: {needed} needed, {human_bytes(found.free_bytes)} free. Nothing was written.", soft_wrap=True)
    if found.n_bytes is not None and found.n_bytes > found.free_bytes:
        console.print("[red]The disk is too small for it.[/]")


def _cells(side: SideForecast, timed: bool) -> list[str]:
    counts = [side.n_contents, side.n_cached, side.n_failed, side.n_todo, side.n_units]
    cells = [f"{side.modality} {side.fingerprint[:12]}", safe(side.model), *(f"{n:,}" for n in counts)]
    cells.append(_disk(side.n_bytes))
    return [*cells, _duration(side.seconds)] if timed else cells


def _disk(n_bytes: int | None) -> str:
    return "unknown" if n_bytes is None else human_bytes(n_bytes)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
