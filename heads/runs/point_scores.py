"""The scores that an operating point was calibrated on, if they are not those of the run's own validation.

They are an attachment. What is said of a set of pictures compares it with what its guarantee is of, which may be
another data set, or another view, than validation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as parse_safetensors
from safetensors.numpy import save as format_safetensors

from heads.errors import HeadsError
from heads.files.contents import Contents
from heads.verdicts.mixture import KnownScores

__all__ = ["POINT_SCORES_FILE", "format_point_scores", "load_point_scores", "parse_point_scores"]

POINT_SCORES_FILE = "point_scores.safetensors"
_MAX_BYTES = 8 * 2**20
_TYPES = {"p_ai": np.float32, "y": np.int8, "group": np.int64}


def format_point_scores(scores: Mapping[str, KnownScores]) -> bytes:
    """Return the safetensors file: of each point, by its name, three arrays ``<name>.p_ai``, ``.y`` and ``.group``."""
    arrays = {
        f"{point}.{name}": np.ascontiguousarray(getattr(known, name).astype(dtype))
        for point, known in scores.items()
        for name, dtype in _TYPES.items()
    }
    return format_safetensors(arrays)


def load_point_scores(contents: Contents, files: Collection[str], points: Collection[str]) -> dict[str, KnownScores]:
    """Read the attachment of a run, if it is among its files."""
    if POINT_SCORES_FILE not in files:
        return {}
    data = contents.read(POINT_SCORES_FILE, limit=_MAX_BYTES)
    return parse_point_scores(data, str(contents.folder / POINT_SCORES_FILE), points=points)


def parse_point_scores(data: bytes, where: str, *, points: Collection[str]) -> dict[str, KnownScores]:
    """Read what `format_point_scores` wrote; it is not trusted.

    Parameters
    ----------
    data : bytes
    where : str
        Its name, for messages.
    points : collection of str
        Names of the run's operating points.
    """
    try:
        arrays = parse_safetensors(data)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise HeadsError(f"{where} is not a safetensors file of plain arrays: {error}") from error
    found = {name.rpartition(".")[0] for name in arrays}
    if set(arrays) != {f"{point}.{name}" for point in found for name in _TYPES} or not found <= set(points):
        raise HeadsError(f"{where} holds {sorted(arrays)!r:.200}, expected p_ai, y and group of points of the run")
    for name, values in arrays.items():
        if values.dtype != _TYPES[name.rpartition(".")[2]] or values.ndim != 1 or not np.isfinite(values).all():
            raise HeadsError(f"{where} has {values.dtype} {values.shape!r} as {name!r}, or values that are not finite")
    return {point: _parse({name: arrays[f"{point}.{name}"] for name in _TYPES}, where) for point in sorted(found)}


def _parse(arrays: Mapping[str, NDArray[Any]], where: str) -> KnownScores:
    p_ai, y, group = (arrays[name] for name in _TYPES)
    is_sound = (
        len(p_ai) == len(y) == len(group)
        and bool(((p_ai >= 0) & (p_ai <= 1)).all())
        and bool(((y == 0) | (y == 1)).all())
    )
    if not is_sound:
        raise HeadsError(f"{where} has arrays that do not fit each other")
    return KnownScores(p_ai, y.astype(np.int64), group)
