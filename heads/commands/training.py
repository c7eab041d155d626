"""What commands look up in the cache that a run was fitted on: neighbours, and the effect size of a set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache import FeatcacheError
from heads.commands.options import PRINTED
from heads.commands.render import notes, safe
from heads.errors import HeadsError

if TYPE_CHECKING:
    from featcache import FeatureStore
    from heads.data.tasks import IntArray
    from heads.runs.judge_options import JudgeOptions
    from heads.runs.run import Run

__all__ = ["NeighbourCount", "TrainCache", "Training"]

NeighbourCount = Annotated[
    int | None,
    typer.Option(
        "--neighbours",
        metavar="K",
        min=1,
        max=20,
        help="Name the K training samples that are nearest to each picture.",
        rich_help_panel=PRINTED,
    ),
]
TrainCache = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where the cache that the run was fitted on is, if it was moved."),
]


@dataclass(frozen=True)
class Training:
    """The cache that a run was fitted on, or why it is not at hand.

    Attributes
    ----------
    run : Run
    store : FeatureStore or None
    note : str or None
        Why it is not there, and what to type.
    """

    run: Run
    store: FeatureStore | None
    note: str | None

    @classmethod
    def find(
        cls, run: Run, given: Path | None, *, at_hand: FeatureStore | None = None, is_needed: bool = False
    ) -> Training:
        """Open it; that it cannot be used is an error only if it was named or is needed."""
        from heads.runs.training_cache import open_training

        try:
            return cls(run, open_training(run, given, at_hand=at_hand), None)
        except HeadsError as error:
            if given is not None or is_needed:
                raise
            return cls(run, None, str(error))

    def with_neighbours(self, options: JudgeOptions, n: int | None) -> JudgeOptions:
        """Have so many neighbours of each picture named; their vectors are read now."""
        if n is None or self.store is None:
            return options
        from heads.runs.neighbours import find_training_rows

        rows = find_training_rows(self.run, self.store)
        where = f"{len(rows):,} train rows of {safe(self.store.dataset)} in {safe(self.store.path)}"
        notes.print(f"{'nearest':8} {n} of {where}", soft_wrap=True)
        if rows.note:
            notes.print(f"[yellow]note[/] {safe(rows.note)}", soft_wrap=True)
        return replace(options, training=rows, n_neighbours=n)

    def effect_size(
        self, store: FeatureStore, numbers: IntArray, statement: Mapping[str, Any] | None
    ) -> dict[str, Any] | None:
        """Return the JSON form of the effect size of rows of a store, or of why it was left out, under ``note``.

        None where nothing is stated of them as a set.
        """
        if statement is None:
            return None
        from heads.runs.effect_rows import measure_set

        note = self.note
        if self.store is not None:
            try:
                found = measure_set(self.run, store, numbers, training=self.store, share=statement["share"])
                if found is not None:
                    return {**found.to_dict(), "dataset": self.run.record.source["dataset"], "note": None}
                note = "of too few groups of rows nothing can be said"
            except (FeatcacheError, OSError) as error:
                note = str(error)
        return dict.fromkeys(("n", "n_known", "share", "auc", "dataset")) | {"note": note}
