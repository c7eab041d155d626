"""Power spectra of windows: how much there is of each frequency, in each direction, and where upsampling peaks."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BANDS",
    "FLOOR",
    "N_PEAKS",
    "N_RADII",
    "N_SECTORS",
    "angular_spectrum",
    "power_spectrum",
    "radial_spectrum",
    "upsampling_peaks",
]

FLOOR = 1e-3
"""Added to a power before its logarithm: about a hundredth of the variance 1/12 that rounding to levels leaves."""

N_RADII = 40
"""Rings of one frequency step; the last takes the corners beyond it, too few frequencies for rings of their own."""

N_SECTORS = 12
BANDS = ((0.0625, 0.1875), (0.1875, 0.3125), (0.3125, 0.5))
"""Bounds in cycles per pixel of the rings that are divided by direction."""

_QUARTERS = ((0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (-1, 1))
"""Frequencies (vertical, horizontal) in quarters of a cycle per pixel: all there are, but for those they mirror."""
N_PEAKS = len(_QUARTERS)


def power_spectrum(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Estimate the power spectrum of each channel by the mean over windows.

    Each is freed of its mean and tapered (Hann), so that neither brightness nor edges leak into all frequencies: P. D.
    Welch, "The Use of Fast Fourier Transform for the Estimation of Power Spectra", IEEE Trans. Audio Electroacoustics,
    1967.

    Parameters
    ----------
    windows : (channels, n, w, w) float32
        Levels of the pixels, channel by channel.

    Returns
    -------
    (channels, w, w // 2 + 1) float32
        Power in squared levels: white noise of variance v has v at every frequency. Rows are the vertical frequencies
        in the order of the FFT, columns the horizontal ones from 0.
    """
    from scipy.fft import rfft2  # stays in float32; numpy's did not before 2.0

    taper, energy = _taper(windows.shape[-1])
    # The mean as the taper weighs it: what is left has nothing at frequency 0, whatever the brightness.
    mean = np.einsum("cnyx,yx->cn", windows, taper) / taper.sum()
    spectrum = rfft2((windows - mean[..., None, None]) * taper, overwrite_x=True)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return np.asarray(power.mean(1) / energy, np.float32)


def radial_spectrum(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average power over rings of equal frequency and take logarithms.

    The azimuthal integral of R. Durall, M. Keuper, J. Keuper, "Watch Your Up-Convolution: CNN Based Generative Deep
    Neural Networks Are Failing to Reproduce Spectral Distributions", CVPR 2020.

    Parameters
    ----------
    power : (channels, w, w // 2 + 1) float32
        Power by frequency, as `power_spectrum` returns it.

    Returns
    -------
    (channels, N_RADII) float32
        Ring k (from 1) holds the frequencies nearest to k / w cycles per pixel. A scale c of the levels adds 2 log c.
    """
    return _log_means(power, _rings(power.shape[-2]))


def angular_spectrum(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average power over sectors of direction within bands of frequency and take logarithms.

    Radial and angular spectra are what R. Corvi et al., "Intriguing Properties of Synthetic Images: From Generative
    Adversarial Networks to Diffusion Models", CVPR Workshops 2023, compare generators by.

    Returns
    -------
    (channels, len(BANDS) * N_SECTORS) float32
        Band by band; sector j is centred on the direction of j × 180 / N_SECTORS degrees, where 0 are the horizontal
        frequencies and 90 the vertical ones. A scale c of the levels adds 2 log c.
    """
    return _log_means(power, _sectors(power.shape[-2]))


def upsampling_peaks(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Tell how far the power at multiples of 1/4 cycle per pixel stands out of its surroundings.

    Upsampling by 2 repeats the spectrum, and what the filters after it leave of that are peaks at multiples of 1/2,
    after two such steps of 1/4: X. Zhang, S. Karaman, S.-F. Chang, "Detecting and Simulating Artifacts in GAN Fake
    Images", WIFS 2019; J. Frank et al., "Leveraging Frequency Analysis for Deep Fake Image Recognition", ICML 2020.

    Returns
    -------
    (channels, N_PEAKS) float32
        Logarithms of the power at a frequency over the mean of eight frequencies two steps away. A scale adds nothing.
    """
    size = power.shape[-2]
    rows, columns = (np.array(quarters) * size // 4 for quarters in zip(*_QUARTERS, strict=True))
    steps = [(y, x) for y in (-2, 0, 2) for x in (-2, 0, 2) if y or x]
    around = [_look_up(power, rows + y, columns + x) for y, x in steps]
    peak, beside = _look_up(power, rows, columns), np.mean(around, axis=0)
    return np.asarray(np.log(peak + FLOOR) - np.log(beside + FLOOR), np.float32)


def _look_up(power: NDArray[np.float32], rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[np.float32]:
    """Return the power at any frequencies in steps of 1 / w: the spectrum of real numbers is its own mirror image."""
    size = power.shape[-2]
    columns = columns % size
    is_mirrored = columns > size // 2
    rows = np.where(is_mirrored, -rows, rows) % size
    return power[:, rows, np.where(is_mirrored, size - columns, columns)]


@cache
def _taper(size: int) -> tuple[NDArray[np.float32], float]:
    hann = np.square(np.sin(np.pi * (np.arange(size) + 0.5) / size))
    taper = np.outer(hann, hann)
    return taper.astype(np.float32), float(np.square(taper).sum())


@cache
def _rings(size: int) -> NDArray[np.float32]:
    vertical, horizontal = _frequencies(size)
    ring = np.rint(np.hypot(vertical, horizontal) * size).astype(np.int64)
    return _averaging(np.minimum(ring, N_RADII) - 1, N_RADII)


@cache
def _sectors(size: int) -> NDArray[np.float32]:
    vertical, horizontal = _frequencies(size)
    radius = np.hypot(vertical, horizontal)
    sector = np.rint(np.arctan2(vertical, horizontal) / np.pi * N_SECTORS).astype(np.int64) % N_SECTORS
    cell = np.full(radius.shape, -1, np.int64)
    for band, (low, high) in enumerate(BANDS):
        inside = (radius >= low) & (radius < high)
        cell[inside] = band * N_SECTORS + sector[inside]
    return _averaging(cell, len(BANDS) * N_SECTORS)


def _frequencies(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Vertical (w, 1) and horizontal (1, w // 2 + 1) frequencies in cycles per pixel."""
    vertical, horizontal = np.fft.fftfreq(size), np.fft.rfftfreq(size)
    return np.asarray(vertical[:, None], np.float64), np.asarray(horizontal[None], np.float64)


def _averaging(cell: NDArray[np.int64], n: int) -> NDArray[np.float32]:
    """Make the matrix (frequencies, n) that averages over cells (-1: in none); inner columns stand for two of them."""
    size = cell.shape[0]
    weight = np.full(cell.shape, 2.0)
    weight[:, [0, size // 2]] = 1.0
    matrix = np.zeros((cell.size, n))
    inside = np.flatnonzero(cell.ravel() >= 0)
    matrix[inside, cell.ravel()[inside]] = weight.ravel()[inside]
    return np.asarray(matrix / matrix.sum(0), np.float32)


def _log_means(power: NDArray[np.float32], averaging: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.log(power.reshape(len(power), -1) @ averaging + FLOOR), np.float32)
