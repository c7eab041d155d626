"""Rendering of ``featcache extract --dry-run``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from featcache.commands.extract.misses import print_misses
from featcache.commands.extract.result import print_broken
from featcache.console import console, human_bytes, human_seconds, safe

if TYPE_CHECKING:
    from featcache.extraction.forecast import Forecast, SideForecast

__all__ = ["render_forecast"]


def render_forecast(found: Forecast, cache: Path, *, timed: bool) -> None:
    """Print what an extraction would do."""
    counts = [f"{n:,} without {'caption' if m == 'text' else 'image'}" for m, n in found.n_missing.items() if n]
    counts += [f"{found.n_orphans:,} skipped: no regular file there"] if found.n_orphans else []
    counts += [f"{found.n_unreadable:,} pictures cannot be read"] if found.n_unreadable else []
    console.print(", ".join([f"{found.n_samples:,} samples", *counts]), soft_wrap=True)
    print_broken(found.broken)
    # Names of models keep their line in 80 columns beside the times.
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 1, 0, 0) if timed else (0, 1))
    table.add_column("encoder", no_wrap=True)
    table.add_column("model", overflow="fold")
    titles = ["views", "contents", "cached", "failed", "to do", "units", "disk", *(["time"] if timed else [])]
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    by_encoder: dict[str, list[SideForecast]] = {}
    for side in found.sides:
        by_encoder.setdefault(side.fingerprint, []).append(side)
    for sides in by_encoder.values():
        table.add_row(*_cells(sides, timed))
    console.print(table)
    for sides in by_encoder.values():
        _render_misses(sides, cache)
    needed = _disk(found.n_bytes)
    lost = f"one unit of {found.unit_rows:,} contents, or five minutes"
    console.print(f"An interruption loses at most {lost}.", soft_wrap=True)
    console.print(f"Disk: {needed} needed, {human_bytes(found.free_bytes)} free. Nothing was written.", soft_wrap=True)
    if found.n_bytes is not None and found.n_bytes > found.free_bytes:
        console.print("[red]The disk is too small for it.[/]")


def _render_misses(sides: Sequence[SideForecast], cache: Path) -> None:
    """Print why an encoder finds nothing, once for all views."""
    side = next((side for side in sides if side.misses), sides[0])
    what = f"would encode {side.n_todo:,} {'captions' if side.modality == 'text' else 'pictures'}"
    print_misses(console, side.misses, what=what, producer=(side.model, side.fingerprint), cache=cache)
    if n_new := max(side.n_new for side in sides):
        console.print(f"{n_new:,} new {side.modality} contents are left alone: --retry-failed")


def _cells(sides: Sequence[SideForecast], timed: bool) -> list[str]:
    """Return one row for all views of an encoder."""
    from featcache.extraction.forecast import sum_known

    first = sides[0]
    sums = [sum(getattr(s, name) for s in sides) for name in ("n_cached", "n_failed", "n_todo", "n_units")]
    cells = [first.modality, safe(first.model), *(f"{n:,}" for n in (len(sides), first.n_contents, *sums))]
    cells.append(_disk(sum_known(side.n_bytes for side in sides)))
    return [*cells, _duration(sum_known(side.seconds for side in sides))] if timed else cells


def _disk(n_bytes: int | None) -> str:
    return "unknown" if n_bytes is None else human_bytes(n_bytes)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    return f"{seconds:.1f} s" if seconds < 90 else human_seconds(seconds)
