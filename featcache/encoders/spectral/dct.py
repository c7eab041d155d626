"""Statistics of 8 × 8 blocks: what JPEG, upsampling and denoising leave in their cosines and at their edges."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "N_STATISTICS", "block_coefficients", "coefficient_statistics", "grid_steps"]

BLOCK = 8
N_STATISTICS = 3
_FLOOR = 1e-3
_TINY = 0.5


def block_coefficients(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Transform blocks as JPEG does (orthonormal DCT-II; N. Ahmed, T. Natarajan, K. R. Rao, 1974).

    Parameters
    ----------
    windows : (channels, n, w, w) float32
        Levels; ``w`` a multiple of 8. Where windows begin at multiples of 8 the blocks are those of a JPEG file.

    Returns
    -------
    (channels, blocks, 8, 8) float32
        Coefficient (v, u) has v vertical and u horizontal half-waves.
    """
    channels, n, size = windows.shape[:3]
    per_side = size // BLOCK
    blocks = windows.reshape(channels, n, per_side, BLOCK, per_side, BLOCK).swapaxes(3, 4)
    cosines = _cosines()
    across = (blocks.reshape(-1, BLOCK) @ cosines.T).reshape(-1, BLOCK, BLOCK)
    down = across.swapaxes(1, 2).reshape(-1, BLOCK) @ cosines.T
    return np.asarray(down.reshape(channels, -1, BLOCK, BLOCK).swapaxes(2, 3), np.float32)


def coefficient_statistics(coefficients: NDArray[np.float32]) -> NDArray[np.float32]:
    """Summarise each of the 63 coefficients besides the first over all blocks.

    Logarithms of DCT coefficients tell generators: J. Frank et al., "Leveraging Frequency Analysis for Deep Fake Image
    Recognition", ICML 2020. That they are heavy-tailed in photographs: E. Y. Lam, J. W. Goodman, "A Mathematical
    Analysis of the DCT Coefficient Distributions for Images", IEEE TIP 2000.

    Returns
    -------
    (channels, 3, 63) float32
        Half the logarithm of the mean square (a scale c adds log c); logarithm of the kurtosis (log 3 for normal
        values, 0 where there are none but 0); share of coefficients under half a level.
    """
    flat = coefficients.reshape(*coefficients.shape[:2], BLOCK * BLOCK)[..., 1:]
    square = np.square(flat)
    second, fourth = square.mean(1), np.square(square).mean(1)
    energy = 0.5 * np.log(second + _FLOOR)
    kurtosis = np.log(fourth + _FLOOR**2) - 2 * np.log(second + _FLOOR)
    tiny = (square < _TINY**2).mean(1, dtype=np.float32)
    return np.stack([energy, np.maximum(kurtosis, 0), tiny], axis=1).astype(np.float32)


def grid_steps(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Measure the steps between neighbours by their place in the grid of blocks.

    The last place, across the edge of two blocks, is what is called blockiness: Z. Wang, A. C. Bovik, B. L. Evans,
    "Blind Measurement of Blocking Artifacts in Images", ICIP 2000. A grid that was shifted shows in another place.

    Parameters
    ----------
    windows : (channels, n, w, w) float32
        Levels of the pixels, channel by channel.

    Returns
    -------
    (channels, 16) float32
        Logarithms of mean absolute steps, less their mean: eight horizontal places (the first from column 0 of a block
        to column 1), then eight vertical ones. A scale adds nothing.
    """
    found = []
    for axis, across in ((-1, -2), (-2, -1)):
        by_place = np.abs(np.diff(windows, axis=axis)).mean(1).mean(across)
        steps = np.stack([by_place[:, place::BLOCK].mean(1) for place in range(BLOCK)], axis=1)
        logs = np.log(steps + _FLOOR)
        found.append(logs - logs.mean(1, keepdims=True))
    return np.concatenate(found, axis=1).astype(np.float32)


@cache
def _cosines() -> NDArray[np.float32]:
    half_waves, place = np.arange(BLOCK)[:, None], np.arange(BLOCK)[None]
    matrix = np.cos(np.pi * (2 * place + 1) * half_waves / (2 * BLOCK)) * np.sqrt(2 / BLOCK)
    matrix[0] /= np.sqrt(2)
    return np.asarray(matrix, np.float32)
