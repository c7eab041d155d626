"""Taking arrays out of a cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.errors import FeatcacheError
from featcache.publish import replace_file, temporary_beside
from featcache.store import Arrays

__all__ = ["export_npz"]


def export_npz(arrays: Arrays, path: Path) -> None:
    """Write aligned rows as one ``.npz``.

    It holds ``sample_id``, ``split``, ``group``, ``label_a``, ``label_b``, ``class_names`` and per modality ``text`` /
    ``image`` (n, d) float32, NaN in the rows of samples without it, and ``text_present`` / ``image_present`` (n,) bool.

    Raises
    ------
    FeatcacheError
        If the ending is not ``.npz``.
    """
    if path.suffix != ".npz":
        raise FeatcacheError(f"cannot export to {str(path)!r}: expected a name that ends in .npz")
    columns: dict[str, NDArray[Any]] = {
        "sample_id": arrays.sample_id,
        "split": arrays.split,
        "group": arrays.group,
        "label_a": arrays.label_a,
        "label_b": arrays.label_b,
        "class_names": np.array(arrays.class_names, dtype=np.str_),
    }
    for modality, vectors in arrays.features.items():
        columns[modality] = vectors
        columns[f"{modality}_present"] = arrays.present[modality]
    with temporary_beside(path) as temp:
        with temp.open("wb") as file:
            np.savez(file, allow_pickle=False, **columns)
        replace_file(temp, path)
