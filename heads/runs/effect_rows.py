"""The effect size of a set: its vectors beside those of the calibrating rows, from the cache of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache import FeatureStore, link_rows
from heads.data.features import StrArray
from heads.data.row_source import StoredRows
from heads.data.tasks import IntArray, joint_tasks
from heads.errors import HeadsError
from heads.head.scaling import draw_rows
from heads.head.threads import blas_on_one_thread
from heads.runs.calibration_rows import CalibrationRows, own_rows
from heads.runs.run import Run
from heads.verdicts.effect_size import SET, EffectSize, measure_effect

__all__ = ["measure_set"]

_MOST_ROWS, _LEAST_ROWS, _VALUES = 1000, 50, 2**23


@dataclass(frozen=True)
class _Linked:
    """What links rows of two stores."""

    group: StrArray
    keys: Mapping[str, NDArray[np.uint8]]


@blas_on_one_thread()
def measure_set(
    run: Run, store: FeatureStore, numbers: IntArray, *, training: FeatureStore, share: float
) -> EffectSize | None:
    """Tell rows of a store from the calibrating rows of a run, at most 1000 of either, in the run's own view.

    Parameters
    ----------
    run : Run
    store : FeatureStore
    numbers : int array (n,)
        Rows of the store; those without a vector are left out.
    training : FeatureStore
        As `heads.runs.training_cache.open_training` returns it.
    share : float
        Share of AI that the set is taken to have.

    Raises
    ------
    HeadsError
        If the calibrating rows are no longer those of the run.
    """
    if own_rows(run, training) is None:
        raise HeadsError(f"the validation rows of cache {training.path} are not those that {run.path} was selected on")
    known = CalibrationRows.find(run, training, view=None)
    most = max(_LEAST_ROWS, min(_MOST_ROWS, _VALUES // known.source.n_columns))
    a = joint_tasks(known.features.tasks)[0].name
    y = np.where(known.features.targets.applies[a], known.features.targets.y[a], -1)
    codes = [code for code, part in ((0, 1 - share), (1, share)) if part > 0]
    kept = np.concatenate([_draw(np.flatnonzero(y == code), most // len(codes)) for code in codes])
    present = np.all([store.rows(selection).present[numbers] for selection in run.selections.values()], axis=0)
    numbers = _draw(numbers[present], most)
    own, others = store.read(numbers, selections={}), known.features.select(kept)
    linked = _Linked(
        np.concatenate([own.group, others.group]),
        {name: np.concatenate([keys, others.keys[name]]) for name, keys in own.keys.items()},
    )
    source = StoredRows(store, [run.selections], numbers)
    X = np.concatenate([source.read(np.arange(len(numbers))), known.source.read(kept)])
    side = np.concatenate([np.full(len(numbers), SET), y[kept]])
    finite = np.isfinite(X).all(axis=1)
    return measure_effect(X[finite], side[finite], link_rows(linked)[finite], share=share)


def _draw(rows: IntArray, most: int) -> IntArray:
    return rows[draw_rows(len(rows), most, seed=0)]
