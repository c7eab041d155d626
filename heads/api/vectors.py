"""Vectors as users have them (an array, a frame, arrays by modality) as the matrix that a run's head takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from heads.data.fusion import FloatArray, check_columns, describe_columns, fuse, fusion_modalities
from heads.errors import HeadsError

__all__ = ["Frame", "Vectors", "fuse_vectors"]


@runtime_checkable
class Frame(Protocol):
    """A data frame, of pandas for one."""

    @property
    def columns(self) -> object:
        """The names of the columns."""
        ...

    def __contains__(self, name: object, /) -> bool: ...

    def __getitem__(self, name: str, /) -> ArrayLike: ...


Vectors = ArrayLike | Mapping[str, ArrayLike] | Frame
"""A matrix, or vectors by modality; a data frame is either."""


def fuse_vectors(X: Vectors, fusion: str, *, widths: Mapping[str, int]) -> FloatArray:
    """Return the matrix of a fusion, float32 (n, d).

    Parameters
    ----------
    X : array, mapping or frame
        A matrix or a frame of numbers, in the order of the run's columns; or what has vectors by modality: a mapping
        such as ``Arrays.features``, or a frame with a vector in each cell, such as ``FeatureStore.to_pandas`` gives.
        What else such a frame has is not read.
    fusion : str
    widths : mapping of modality to int
        How many columns the head takes of each.

    Raises
    ------
    HeadsError
        If columns or a modality are missing, or there are other things than numbers in them.
    """
    if isinstance(X, Mapping) or (isinstance(X, Frame) and any(modality in X for modality in widths)):
        return _fuse_blocks(X, fusion, widths)
    matrix = _to_matrix(X, f"X is no matrix of numbers, head was fitted on {describe_columns(fusion, widths)}")
    check_columns(matrix, fusion, widths=widths)
    return matrix


def _fuse_blocks(X: Mapping[str, ArrayLike] | Frame, fusion: str, widths: Mapping[str, int]) -> FloatArray:
    expected = describe_columns(fusion, widths)
    blocks: dict[str, FloatArray] = {}
    for modality in fusion_modalities(fusion):
        if modality not in X:
            raise HeadsError(f"X has no {modality} vectors, head was fitted on {expected}")
        blocks[modality] = _to_matrix(X[modality], f"the {modality} vectors of X are no matrix of numbers")
        if blocks[modality].shape[1] != widths[modality]:
            found = blocks[modality].shape[1]
            raise HeadsError(f"the {modality} vectors of X have {found} columns, head was fitted on {expected}")
    if len({len(block) for block in blocks.values()}) > 1:
        told = ", ".join(f"{len(block)} {modality}" for modality, block in blocks.items())
        raise HeadsError(f"X has {told} vectors, expected as many of each")
    return fuse(fusion, blocks)


def _to_matrix(values: object, trouble: str) -> FloatArray:
    try:
        array = np.asarray(values)
        if array.dtype == object and array.ndim == 1 and len(array):  # a vector in each cell
            array = np.stack([np.asarray(cell) for cell in array])
        matrix = np.ascontiguousarray(array, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise HeadsError(f"{trouble}: {error}") from error
    if matrix.ndim != 2:
        raise HeadsError(f"{trouble}: it has shape {matrix.shape!r}")
    return matrix
