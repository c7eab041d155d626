"""Rendering of what was read of the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from featcache.console import console, notes, safe

if TYPE_CHECKING:
    from featcache.dataset.manifest import Manifest

__all__ = ["print_overview"]

_LINES = 12


def print_overview(manifest: Manifest) -> None:
    """Print samples by split and class with an example of each, and what should be known about labels."""
    from featcache.dataset.overview import summarise

    console.print(f"[bold]Read[/] {safe(manifest.origin)}: {len(manifest.samples):,} samples", soft_wrap=True)
    lines = summarise(manifest.overview, _LINES)
    table = Table.grid(padding=(0, 2, 0, 0))
    for column in ({"no_wrap": True}, {"no_wrap": True}, {"justify": "right", "no_wrap": True}):
        table.add_column(**column)
    table.add_column(overflow="ellipsis", no_wrap=True)
    has_splits = any(group.split for group in lines)
    for group in lines:
        split = group.split or ("no split" if has_splits else "")
        table.add_row(
            *([f"  {split}"] if has_splits else [" "]), safe(group.label), f"{group.n_samples:,}", safe(group.example)
        )
    console.print(table)
    for note in manifest.notes:
        notes.print(f"[yellow]note[/] {safe(note)}", soft_wrap=True)
