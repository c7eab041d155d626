"""How the vectors of the modalities meet: which ones a fusion needs, and in which columns they stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from heads.errors import HeadsError

__all__ = [
    "FUSIONS",
    "LAYERED",
    "STRUCTURED",
    "check_columns",
    "check_fusion",
    "describe_columns",
    "fuse",
    "fusion_modalities",
    "takes_outputs",
]

FloatArray = NDArray[np.float32]

FUSIONS: Mapping[str, tuple[str, ...]] = {
    "concat": ("text", "image"),
    "image": ("image",),
    "text": ("text",),
    "spectral": ("spectral",),
    "image-spectral": ("image", "spectral"),
    "all": ("text", "image", "spectral"),
    "logit-mean": ("text", "image"),
    "gated": ("text", "image"),
    "mlb": ("text", "image"),
    "layers": ("image",),
    "rine": ("image",),
}
"""Modalities that each fusion needs, in the order of their columns."""

STRUCTURED = ("logit-mean", "gated", "mlb", "layers", "rine")
"""Fusions that are a network of their own (`heads.mlp.fusions`); the others put the vectors side by side."""

LAYERED = ("layers", "rine")
"""Those that map each output of the modality with the same weights: they need several, all of one width."""


def fusion_modalities(fusion: str) -> tuple[str, ...]:
    """Return the modalities that ``fusion`` needs, in the order of their columns."""
    try:
        return FUSIONS[fusion]
    except KeyError:
        raise HeadsError(f"unknown fusion {fusion!r}, expected one of {', '.join(FUSIONS)}") from None


def check_fusion(fusion: str, available: Iterable[str], *, where: str, is_fitted: bool = False) -> None:
    """Raise unless every modality that ``fusion`` needs is ``available``; name the fusions that would do.

    Parameters
    ----------
    fusion : str
        A key of `FUSIONS`.
    available : iterable of str
        The modalities at hand.
    where : str
        What lacks the modality, for the message, e.g. ``"cache ./cache"``.
    is_fitted : bool
        A head was fitted with it, so that no other fusion can take its place.
    """
    have = set(available)
    missing = [modality for modality in fusion_modalities(fusion) if modality not in have]
    if not missing:
        return
    fitting = [name for name, needed in FUSIONS.items() if have.issuperset(needed) and name not in STRUCTURED]
    if is_fitted:
        advice = "name a cache with vectors of the run's own encoders, or add them with featcache extract"
    else:
        advice = "use " + (" or ".join(f"--fusion {name}" for name in fitting) or "featcache extract first")
    raise HeadsError(f"fusion {fusion!r} needs {' and '.join(missing)} vectors, {where} has none: {advice}")


def takes_outputs(fusion: str, outputs: str) -> bool:
    """Return whether a fusion can take these outputs of a modality: one of `LAYERED` needs more than one."""
    numbers = outputs.partition(":")[2]
    return fusion not in LAYERED or "," in outputs or (numbers != "" and not numbers.isdigit())


def fuse(fusion: str, vectors: Mapping[str, FloatArray]) -> FloatArray:
    """Concatenate the vectors that ``fusion`` needs along axis 1.

    Parameters
    ----------
    fusion : str
        A key of `FUSIONS`.
    vectors : mapping of modality to float32 array (n, d)
        Raw vectors with aligned rows.

    Returns
    -------
    float32 array (n, sum of d), C-contiguous
    """
    parts = [vectors[modality] for modality in fusion_modalities(fusion)]
    return np.ascontiguousarray(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1))


def describe_columns(fusion: str, widths: Mapping[str, int]) -> str:
    """Return e.g. ``"1280 (text 768 + image 512)"``."""
    parts = [(modality, widths[modality]) for modality in fusion_modalities(fusion)]
    return f"{sum(w for _, w in parts)} ({' + '.join(f'{m} {w}' for m, w in parts)})"


def check_columns(X: FloatArray, fusion: str, *, widths: Mapping[str, int]) -> None:
    """Raise unless ``X`` has the columns of a head that was fitted on vectors of these ``widths``."""
    if X.shape[1] != sum(widths[modality] for modality in fusion_modalities(fusion)):
        raise HeadsError(f"X has {X.shape[1]} columns, head was fitted on {describe_columns(fusion, widths)}")
