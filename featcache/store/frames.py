"""Arrays as pyarrow tables and pandas frames."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.errors import FeatcacheError
from featcache.store.arrays import Arrays

__all__ = ["METADATA_KEY", "arrow_table", "pandas_frame"]

METADATA_KEY = b"featcache"
"""Key of the JSON document in an Arrow schema's metadata."""


def arrow_table(arrays: Arrays, about: Mapping[str, Any] | None = None) -> Any:
    """Return a ``pyarrow.Table``.

    Columns: ``sample_id``, ``split``, ``group`` and, where it is known, ``origin`` (string), ``label_a`` (int8),
    ``label_b`` (int16), and per modality a fixed-size list of float32 named after it, NaN where the sample has none,
    and ``<modality>_present`` (bool). The schema's metadata hold, under `METADATA_KEY`, a JSON object with
    ``class_names`` and what ``about`` adds.

    Raises
    ------
    FeatcacheError
        If pyarrow is not installed, or a name is no valid Unicode.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise FeatcacheError("an Arrow table needs pyarrow: pip install 'featcache[parquet]'") from error
    columns: dict[str, Any] = {name: _strings(pa, name, values) for name, values in arrays.strings.items()}
    columns |= {"label_a": pa.array(arrays.label_a), "label_b": pa.array(arrays.label_b)}
    for modality, vectors in arrays.features.items():
        flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
        columns[modality] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        columns[f"{modality}_present"] = pa.array(arrays.present[modality])
    document = {"class_names": list(arrays.class_names), **(about or {})}
    return pa.table(columns).replace_schema_metadata({METADATA_KEY: json.dumps(document)})


def _strings(pa: Any, name: str, values: NDArray[np.str_]) -> Any:
    try:
        return pa.array(values.tolist(), pa.string())
    except UnicodeEncodeError as error:
        raise FeatcacheError(
            f"{name} {error.object!r} is no valid Unicode, as Arrow and Parquet require: use .npz or a folder of .npy"
        ) from error


def pandas_frame(arrays: Arrays) -> Any:
    """Return a ``pandas.DataFrame``.

    Columns as in `arrow_table`; a vector is a float32 array in a cell. ``frame.attrs["class_names"]`` has the names.

    Raises
    ------
    FeatcacheError
        If pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise FeatcacheError("a pandas frame needs pandas: pip install 'featcache[frames]'") from error
    columns: dict[str, Any] = {name: values.tolist() for name, values in arrays.strings.items()}
    columns |= {"label_a": arrays.label_a, "label_b": arrays.label_b}
    for modality, vectors in arrays.features.items():
        columns[modality] = list(vectors)
        columns[f"{modality}_present"] = arrays.present[modality]
    frame = pd.DataFrame(columns)
    frame.attrs["class_names"] = arrays.class_names
    return frame
