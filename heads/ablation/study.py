"""A study: rows that are divided, and trials of heads on them; with one seed, on one division, fitted together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from heads.ablation.controls import LABELS_SHUFFLED, TEXT_SHUFFLED, ShuffledColumns, shuffle_labels, shuffle_rows
from heads.ablation.grid import Cell
from heads.ablation.study_rows import StudyRows
from heads.data.columns import Columns
from heads.data.features import Features
from heads.data.folds import Part
from heads.data.row_source import RowSource
from heads.data.tasks import Targets
from heads.head.kinds import find_kind
from heads.head.protocol import Device
from heads.runs.fitting import parse_config
from heads.runs.record import TrainConfig

__all__ = ["EpochProgress", "Study", "Trial", "settings_of"]

EpochProgress = Callable[[int], None]


@dataclass(frozen=True)
class Trial:
    """Heads that are fitted together.

    Attributes
    ----------
    cells : tuple of Cell
        Of one head, fusion, control and outputs.
    seed : int
    part : int
        Number of the division of the rows.
    """

    cells: tuple[Cell, ...]
    seed: int
    part: int


@dataclass(frozen=True)
class Study:
    """Rows that are divided, and how heads are fitted on them.

    Attributes
    ----------
    rows : StudyRows
    parts : tuple of Part
    settings : mapping
        Common settings; each goes to the kinds of heads that have it.
    device : {"cpu", "cuda"}
        Of networks.
    memory : str or None
        How much the matrix of networks may take, e.g. ``"2GB"``; None: as much as it needs.
    holds_out : bool
        Whether each part leaves something out: then P(AI) of its scored rows is kept, for thresholds and ranks.
    is_former : bool
        Whether settings that are not given are what they were in early ablations, of which one goes on.
    """

    rows: StudyRows
    parts: tuple[Part, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    device: Device = "cpu"
    memory: str | None = None
    holds_out: bool = False
    is_former: bool = False

    @property
    def features(self) -> Features:
        """Labels and identities of the rows."""
        return self.rows.features

    def config(self, cell: Cell, **changes: object) -> TrainConfig:
        """Return how a head of a configuration is made; ``changes`` are settings that come before all others."""
        former = find_kind(cell.head).former if self.is_former else {}
        return parse_config({**former, **settings_of(cell.head, self.settings), **cell.settings, **changes})

    def source(self, cell: Cell, *, seed: int = 0) -> RowSource:
        """Return the vectors of a configuration, all views; with shuffled text where that is the control."""
        source = self.rows.source(cell)
        if cell.control != TEXT_SHUFFLED:
            return source
        order = shuffle_rows(self.features, self.features.present["text"], seed=seed)
        return ShuffledColumns(source, self.columns(cell).span(["text"]), order)

    def columns(self, cell: Cell) -> Columns:
        """Return what stands where in the vectors of a configuration."""
        return self.rows.columns(cell)

    def targets(self, control: str | None, *, seed: int) -> Targets:
        """Return the targets for fitting and selecting: shuffled ones where that is the control."""
        return shuffle_labels(self.features, seed=seed) if control == LABELS_SHUFFLED else self.features.targets


def settings_of(head: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of some settings that a kind of head has."""
    known = {"preset", "loss", *parse_config({"head": head}).settings}
    of_members = find_kind(head).has_members
    return {name: value for name, value in settings.items() if name in known or (of_members and "." in name)}
