"""Predicting more rows than fit into memory at once."""

from __future__ import annotations

import numpy as np

from heads.data.row_source import RowSource
from heads.data.tasks import IntArray
from heads.head.protocol import Head, Prediction
from heads.head.threads import blas_on_one_thread

__all__ = ["predict_rows"]

_ROWS = 2**16


@blas_on_one_thread()
def predict_rows(head: Head, source: RowSource, rows: IntArray, view: int = 0) -> Prediction:
    """Predict rows in a view, no more of them in memory than a part of them."""
    parts = [head.predict_proba(source.read(rows[i : i + _ROWS], view)) for i in range(0, max(len(rows), 1), _ROWS)]
    return Prediction({name: np.concatenate([part.proba[name] for part in parts]) for name in parts[0].proba})
