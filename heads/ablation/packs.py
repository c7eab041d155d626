"""Trials of networks: many heads, trained in one pass over the rows. Loads torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from heads.ablation.grid import Cell
from heads.ablation.study import EpochProgress, Study, Trial
from heads.data.columns import Columns
from heads.data.row_source import RowSource
from heads.data.tasks import Targets
from heads.mlp.config import MlpConfig
from heads.mlp.engine import HeadSpec
from heads.mlp.engine import fit_pack as fit_specs
from heads.mlp.fusions import fusion_network
from heads.mlp.network import FittedNetwork

__all__ = ["build_spec", "check_columns", "fit_pack"]


def check_columns(study: Study, cell: Cell) -> None:
    """Refuse columns that a configuration's fusion cannot take."""
    fusion_network(cell.fusion).projections(study.columns(cell))


def build_spec(study: Study, cell: Cell, trial: Trial, **changes: object) -> HeadSpec:
    """Return what the engine is asked to train; ``changes`` are settings that come before all others."""
    part, config = study.parts[trial.part], study.config(cell, **changes)
    own = MlpConfig.from_mapping({**config.settings, "fusion": config.fusion})
    return HeadSpec(own, trial.seed, part.fit_rows, part.select_rows)


def fit_pack(
    study: Study,
    source: RowSource,
    targets: Targets,
    specs: Sequence[HeadSpec],
    *,
    columns: Columns,
    progress: EpochProgress | None = None,
) -> list[FittedNetwork]:
    """Train heads as a study does; ``progress`` is called with each epoch's number."""

    def report(place: int, record: Mapping[str, Any]) -> None:
        if progress is not None:
            progress(int(record["epoch"]))

    return fit_specs(
        source,
        targets,
        specs,
        tasks=study.features.tasks,
        columns=columns,
        device=study.device,
        memory=study.memory,
        progress=report,
    )
