"""Spectral features as an encoder: no weights, no download, the same interface as the networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcache.encoders.base import Device, Vectors, check_rules
from featcache.encoders.spectral.dct import BLOCK, N_STATISTICS, block_coefficients, coefficient_statistics, grid_steps
from featcache.encoders.spectral.residuals import (
    N_NOISE,
    N_PATTERNS,
    RESIDUALS,
    co_occurrences,
    noise_statistics,
    residual,
)
from featcache.encoders.spectral.spectrum import (
    BANDS,
    N_PEAKS,
    N_RADII,
    N_SECTORS,
    angular_spectrum,
    power_spectrum,
    radial_spectrum,
    upsampling_peaks,
)
from featcache.encoders.spectral.windows import ALIGNMENT, PER_SIDE, WINDOW, cut_windows, luma_chroma
from featcache.errors import ModelError
from featcache.identity.fingerprint import Fingerprint
from featcache.pictures.decode_rules import DECODE_RULES, decode_document

__all__ = ["SPECTRAL_OUTPUTS", "SpectralEncoder", "SpectralSpec"]

VERSION = 1
"""Grows whenever a statistic changes its meaning."""

_LARGE_BLOCK = 24 << 20


@cache
def _keep_freed_memory() -> None:
    """Free one large block, which teaches glibc's malloc to keep freed blocks up to that size.

    Else it hands each array of a few hundred KB back to the kernel and gets it again full of zeros, page by page: more
    than half of the time went there. Other allocators take no notice.
    """
    np.empty(_LARGE_BLOCK, np.uint8)


class _Windows:
    """Windows of one picture, and what several statistics are made of."""

    def __init__(self, picture: Image.Image) -> None:
        self.levels = luma_chroma(cut_windows(picture))

    @cached_property
    def power(self) -> NDArray[np.float32]:
        return power_spectrum(self.levels)

    @cached_property
    def errors(self) -> tuple[NDArray[np.float32], ...]:
        return tuple(residual(self.levels, kind) for kind in RESIDUALS)


def _noise(windows: _Windows) -> NDArray[np.float32]:
    return np.concatenate([noise_statistics(errors) for errors in windows.errors])


def _patterns(windows: _Windows) -> NDArray[np.float32]:
    luma = windows.levels[0]
    return np.concatenate(
        [
            co_occurrences(errors[0], -1) + co_occurrences(residual(luma, kind, -2), -2)
            for kind, errors in zip(RESIDUALS, windows.errors, strict=True)
        ]
    )


_STATISTICS: Mapping[str, tuple[int, Callable[[_Windows], NDArray[np.float32]]]] = {
    "radial": (3 * N_RADII, lambda w: radial_spectrum(w.power)),
    "angular": (3 * len(BANDS) * N_SECTORS, lambda w: angular_spectrum(w.power)),
    "peaks": (3 * N_PEAKS, lambda w: upsampling_peaks(w.power)),
    "dct": (3 * N_STATISTICS * (BLOCK**2 - 1), lambda w: coefficient_statistics(block_coefficients(w.levels))),
    "grid": (3 * 2 * BLOCK, lambda w: grid_steps(w.levels)),
    "noise": (len(RESIDUALS) * N_NOISE, _noise),
    "patterns": (len(RESIDUALS) * N_PATTERNS, _patterns),
}
SPECTRAL_OUTPUTS = tuple(_STATISTICS)


@dataclass(frozen=True)
class SpectralSpec:
    """Statistics of a picture's native pixels.

    They are computed where pictures are prepared, in many threads or processes, not where networks run: several
    milliseconds a picture would hold up a GPU. They know 16 windows around the middle (`cut_windows`), and no size.

    Attributes
    ----------
    outputs : tuple of {"radial", "angular", "peaks", "dct", "grid", "noise", "patterns"}
        Logarithmic power by frequency (`radial_spectrum`) and direction (`angular_spectrum`), peaks that upsampling
        leaves (`upsampling_peaks`), 8 × 8 cosine coefficients (`coefficient_statistics`), steps across the grid of
        blocks (`grid_steps`), high-pass residuals (`noise_statistics`) and their neighbourhoods (`co_occurrences`). All
        are of luma and chroma, but ``patterns`` of luma alone.
    storage_dtype : str
        On disk. They are computed in float32.
    decode_rules : int
        By which rules pictures become RGB, as `ImageSpec` has them.
    """

    outputs: tuple[str, ...] = SPECTRAL_OUTPUTS
    storage_dtype: str = "float16"
    decode_rules: int = DECODE_RULES
    modality: Literal["spectral"] = field(default="spectral", init=False)

    def __post_init__(self) -> None:
        known = ", ".join(SPECTRAL_OUTPUTS)
        if not self.outputs:
            raise ModelError(f"no spectral output is named, expected some of {known}")
        for output in self.outputs:
            if output not in _STATISTICS:
                raise ModelError(f"spectral output {output!r} is unknown, expected one of {known}")
        check_rules(self.decode_rules)
        object.__setattr__(self, "outputs", tuple(dict.fromkeys(self.outputs)))

    @property
    def widths(self) -> Mapping[str, int]:
        """Columns of the outputs."""
        return {output: _STATISTICS[output][0] for output in self.outputs}

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Identity of the producer."""
        algorithm: dict[str, Any] = {
            "version": VERSION,
            "window": WINDOW,
            "windows": [PER_SIDE, PER_SIDE],
            "alignment": ALIGNMENT,
            "small": "overlap, below a window mirror",
            "colour": "ycbcr",
        }
        identity = {
            "format": 1,
            "modality": "spectral",
            "algorithm": algorithm,
            "decode": decode_document("exact", self.decode_rules),
            "compute_dtype": "float32",
            "storage_dtype": self.storage_dtype,
        }
        return Fingerprint(identity, {"model": "spectral", "revision": None, "path": None})

    def prepare(self, source: Image.Image) -> NDArray[np.uint8]:
        """Compute the statistics of an RGB picture.

        Returns
        -------
        (4 × sum of widths,) uint8
            The float32 numbers of all outputs, as bytes: what passes from process to process is bytes.
        """
        if source.mode != "RGB":
            raise ValueError(f"picture has mode {source.mode!r}, expected 'RGB' as decode_rgb makes it")
        _keep_freed_memory()
        windows = _Windows(source)
        numbers = [np.ravel(_STATISTICS[output][1](windows)) for output in self.outputs]
        return np.concatenate(numbers).view(np.uint8)

    def load(self, device: Device, *, compile: bool = False) -> SpectralEncoder:
        """Return the encoder, which has nothing to load or compile and uses no device."""
        return SpectralEncoder(self.widths)


@dataclass(frozen=True)
class SpectralEncoder:
    """Divides what `SpectralSpec.prepare` computed into outputs.

    Attributes
    ----------
    widths : mapping of output to int
        How many columns each output has, in order.
    """

    widths: Mapping[str, int]

    def encode(self, batch: Sequence[NDArray[np.uint8]]) -> Vectors:
        """Return one (n, d) float32 array per output for ``n`` prepared pictures; each row is its picture's alone."""
        numbers = np.ascontiguousarray(np.stack(list(batch))).view(np.float32)
        ends = np.cumsum([0, *self.widths.values()]).tolist()
        return {name: numbers[:, a:b] for name, (a, b) in zip(self.widths, pairwise(ends), strict=True)}

    def start(self, batch: Sequence[NDArray[np.uint8]]) -> Callable[[], Vectors]:
        """Do what `encode` does at once."""
        vectors = self.encode(batch)
        return lambda: vectors
