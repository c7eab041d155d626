"""Rendering of what was read of the data."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from featcache.console import console, notes, safe

if TYPE_CHECKING:
    from featcache.dataset.manifest import Manifest

__all__ = ["overview_document", "print_left_out", "print_overview"]

_LINES, _LABEL = 12, 40
_SHOWN, _LISTED = 3, 1000


def print_overview(manifest: Manifest) -> None:
    """Print samples by split and class with an example of each, and what should be known about labels."""
    from featcache.dataset.overview import UNLABELLED, summarise

    console.print(f"[bold]Read[/] {safe(manifest.origin)}: {len(manifest.samples):,} samples", soft_wrap=True)
    lines = summarise(manifest.overview, _LINES)
    has_splits = any(group.split for group in lines)
    cells = [
        (f"{group.split or 'none':5}  " if has_splits else "", _cut(group.label, _LABEL), f"{group.n_samples:,}")
        for group in lines
    ]
    width, n_digits = (max(len(row[column]) for row in cells) for column in (1, 2))
    for group, (split, label, count) in zip(lines, cells, strict=True):
        line = f"  {split}{label:{width}}  {count:>{n_digits}}  "
        console.print(safe(line + _cut(group.example, max(1, console.width - len(line)))), soft_wrap=True)
    is_stated = bool(manifest.reading.labels) or any("--labels" in note for note in manifest.notes)
    if all(group.label == UNLABELLED for group in lines) and not is_stated:
        console.print("[dim]no labels: if there are some, --labels states them, such as '*=ai'[/]")
    print_left_out(manifest)
    for note in manifest.notes:
        notes.print(f"[yellow]note[/] {safe(note)}", soft_wrap=True)


def print_left_out(manifest: Manifest) -> None:
    """Print what looks like a picture and is not taken, by reason."""
    for left in manifest.left_out:
        shown = ", ".join(left.names[:_SHOWN]) + (" …" if len(left.names) > _SHOWN else "")
        n, what = len(left.names), "picture" if len(left.names) == 1 else "pictures"
        notes.print(f"[yellow]left out[/] {safe(f'{n:,} {what} ({shown}): {left.reason}')}", soft_wrap=True)


def overview_document(manifest: Manifest) -> dict[str, object]:
    """Return what was read, for ``--json``: the first thousand of the pictures that are left out for one reason."""
    left = [{"reason": e.reason, "n": len(e.names), "names": e.names[:_LISTED]} for e in manifest.left_out]
    return {"read": [asdict(group) for group in manifest.overview], "left_out": left, "notes": manifest.notes}


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
