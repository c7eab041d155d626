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
    "describe_set",
    "describe_statement",
    "print_effect",
    "print_neighbours",
    "print_set",
    "print_too_few",
    "print_unlike",
]

_NO_ALARM = "No alarm: motifs alone tell a set; only labelled pictures show more"


def print_set(found: Mapping[str, Any]) -> None:
    """Say whether a set is one of pictures like the known ones, or why nothing is said of that.

    Parameters
    ----------
    found : mapping
        With ``statement`` and ``statement_note`` (`heads.runs.set_statement.tell_set`), ``set_state`` and
        ``effect_size``, as they are in ``--json``.
    """
    statement = found["statement"]
    if statement is None:
        if found["statement_note"]:
            console.print(f"[dim]Nothing is said of the set: {safe(found['statement_note'])}[/]", highlight=False)
        return
    headline, rest = describe_set(found)
    style = {"scores-unlike": "bold red", "vectors-unlike": "yellow"}.get(found["set_state"], "dim")
    console.print(f"[{style}]{safe(headline)}[/]{safe(rest and f': {rest}')}")
    console.print(f"[dim]  {describe_statement(statement)}[/]", highlight=False)
    print_effect(found["effect_size"], is_named=statement["compared_with"]["rows"] != "validation")
    if found["set_state"] == "vectors-unlike":
        console.print(f"[dim]  {_NO_ALARM}[/]")


def describe_set(found: Mapping[str, Any]) -> tuple[str, str]:
    """Return in words what a set is said to be, and what follows of it; as of `print_set`."""
    compared = found["statement"]["compared_with"]
    own = compared["rows"] == "validation"
    like = "like the training ones" if own else f"like those of data set {compared['dataset']}"
    if found["set_state"] == "scores-unlike":
        lost = "threshold, guarantee and novelty" if own else "threshold and guarantee"
        return f"These scores are not those of pictures {like}", f"{lost} do not carry over"
    if found["set_state"] == "vectors-unlike":
        return f"The scores may be those of pictures {like}, the vectors are not", ""
    return f"These scores may be those of pictures {like}", ""


def describe_statement(found: Mapping[str, Any]) -> str:
    """Return the figures of a statement in one line."""
    return (
        f"D {found['distance']:.3f} (97.5 % of like sets: up to {found['null']:.3f}), n {found['n']:,}, "
        f"nearest at {found['share']:.0%} AI"
    )


def print_effect(found: Mapping[str, Any] | None, *, is_named: bool = False) -> None:
    """Say how well a set is told from calibrating rows, or why that was left out.

    Parameters
    ----------
    found : mapping or None
        As `heads.commands.training.Training.effect_size` returns it; None: nothing is said.
    is_named : bool
        Whether the data set of the calibrating rows is named.
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
    whose = f" of {safe(found['dataset'])}:\n  " if is_named else ": "
    console.print(f"[dim]  Told from {found['n_known']:,} calibrating rows{whose}{told}[/]", highlight=False)


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
