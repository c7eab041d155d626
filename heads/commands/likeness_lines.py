"""What commands print of pictures that are unlike those of training, one by one and as a set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from heads.commands.render import console, safe

if TYPE_CHECKING:
    from heads.runs.neighbours import Neighbour
    from heads.runs.run import Run

__all__ = [
    "KNOWN_SCORES",
    "UNLIKE_SCORES",
    "describe_statement",
    "print_effect",
    "print_neighbours",
    "print_statement",
    "print_too_few",
    "print_unlike",
]

UNLIKE_SCORES = "These scores are not those of pictures like the training ones"
KNOWN_SCORES = "These scores may be those of pictures like the training ones"


def print_statement(found: Mapping[str, Any] | None) -> None:
    """Say whether the scores of a set are those of pictures like the training ones.

    Parameters
    ----------
    found : mapping or None
        The JSON form of `heads.verdicts.mixture.SetStatement`; None: nothing can be said.
    """
    if found is None:
        return
    if found["is_unlike"]:
        console.print(f"[bold red]{UNLIKE_SCORES}:[/] threshold,\nguarantee and novelty do not carry over")
    else:
        console.print(f"[dim]{KNOWN_SCORES}:[/]")
    console.print(f"[dim]  {describe_statement(found)}[/]", highlight=False)


def describe_statement(found: Mapping[str, Any]) -> str:
    """Return the figures of a statement in one line."""
    return (
        f"D {found['distance']:.3f} (97.5 % of like sets: up to {found['null']:.3f}), n {found['n']:,}, "
        f"nearest at {found['share']:.0%} AI"
    )


def print_effect(found: Mapping[str, Any] | None) -> None:
    """Say how well a set is told from calibrating rows, or why that was left out.

    Parameters
    ----------
    found : mapping or None
        As `heads.commands.training.Training.effect_size` returns it; None: nothing is said.
    """
    if found is None:
        return
    if found["auc"] is None:
        console.print(
            f"[dim]  How far they are from calibrating rows is left out:\n  {safe(found['note'])}[/]", soft_wrap=True
        )
        return
    auc = found["auc"]
    interval = "" if auc["low"] is None else f" (95 %: {auc['low']:.3f}–{auc['high']:.3f})"
    told = f"AUC {auc['estimate']:.3f}{interval}; chance 0.5"
    console.print(f"[dim]  Told from {found['n_known']:,} calibrating rows: {told}[/]", highlight=False)


def print_unlike(n_unlike: int | None, run: Run) -> None:
    """Say how many pictures are unlike those of training; nothing where the run cannot tell."""
    if n_unlike is None:
        return
    if n_unlike:
        console.print(f"[yellow]{n_unlike:,}[/] unlike the training pictures (novelty ≤ 0.01)")
    print_too_few(run)


def print_neighbours(found: Sequence[Neighbour]) -> None:
    """Name the training samples that are nearest to a picture."""
    table = Table("nearest training samples", "label", "distance", box=None, header_style="dim", pad_edge=False)
    for each in found:
        table.add_row(safe(each.sample_id), safe(each.label), f"{each.distance:.3f}")
    console.print(table)


def print_too_few(run: Run) -> None:
    """Say once where there are too few held-out groups for any picture to be called unlike those of training."""
    if run.likeness is not None and not run.likeness.novelty.can_be_novel:
        n = len(run.likeness.novelty.held_out)
        console.print(
            f"[dim]Novelty rests on {n:,} groups of held-out rows: 99 are needed to call a picture\n"
            "unlike those of training[/]",
            highlight=False,
        )
