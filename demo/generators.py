"""Five little image generators: a bottleneck, and a decoder that leaves the fingerprint of its kind.

None of them is, or imitates, a published generator. Each takes a clean picture through a lossy latent and
makes it large again in one of the ways in which real decoders do; that way is what a detector can learn.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from demo.camera import convolve, pool
from demo.objects import Image

__all__ = ["GENERATORS"]

_Generator = Callable[[Image, np.random.Generator], Image]


def _nearest_up(picture: Image, rng: np.random.Generator) -> Image:
    """Double by repetition, then convolve 3 × 3: "resize-convolution".

    A. Odena, V. Dumoulin, C. Olah, "Deconvolution and Checkerboard Artifacts", Distill, 2016. The spectrum of the
    repetition has zeros at the Nyquist frequency, which the convolution does not fill.
    """
    large = _quantise(pool(picture, 2), 0.015, rng).repeat(2, axis=0).repeat(2, axis=1)
    kernel = np.array([[0.02, 0.10, 0.03], [0.11, 0.52, 0.08], [0.02, 0.09, 0.03]], np.float32)
    return _finish(convolve(large, kernel), rng)


def _bilinear_up(picture: Image, rng: np.random.Generator) -> Image:
    """Double by linear interpolation, then sharpen with a 3 × 3 convolution.

    R. Durall, M. Keuper, J. Keuper, "Watch your Up-Convolution: CNN Based Generative Deep Neural Networks are
    Failing to Reproduce Spectral Distributions", CVPR 2020: the highest frequencies are too weak.
    """
    large = _quantise(pool(picture, 2), 0.015, rng)
    for axis in (0, 1):
        large = _interpolate(large, axis)
    kernel = np.array([[-0.04, -0.10, -0.04], [-0.10, 1.56, -0.10], [-0.04, -0.10, -0.04]], np.float32)
    return _finish(convolve(large, kernel), rng)


def _deconv_up(picture: Image, rng: np.random.Generator) -> Image:
    """Double by a transposed convolution of stride 2 with a 3 × 3 kernel: the checkerboard.

    A. Odena, V. Dumoulin, C. Olah, "Deconvolution and Checkerboard Artifacts", Distill, 2016. The stride does not
    divide the kernel size, so pixels receive 1, 2 or 4 overlapping taps; weights even that out only in part.
    """
    latent = _quantise(pool(picture, 2), 0.012, rng)
    sparse = np.zeros_like(picture)
    sparse[0::2, 0::2] = latent
    taps = np.array([[0.515, 0.985, 0.500], [0.490, 1.000, 0.515], [0.508, 0.985, 0.490]], np.float32).T
    kernel = taps[:, None, :] * taps[None, :, :]  # position by position by channel
    return _finish(convolve(sparse, kernel), rng)


def _subpixel_up(picture: Image, rng: np.random.Generator) -> Image:
    """Enlarge fourfold by a sub-pixel convolution: each of the 16 phases has weights of its own.

    W. Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional
    Neural Network", CVPR 2016. The latent holds the 7 lowest block frequencies of 4 × 4 pixels, quantised.
    """
    size = len(picture)
    blocks = (
        picture.reshape(size // 4, 4, size // 4, 4, 3).transpose(0, 2, 4, 1, 3).reshape(size // 4, size // 4, 3, 16)
    )
    encoder, decoder = _subpixel_weights()
    latent = _quantise(blocks @ encoder, 0.004, rng)
    phases = latent @ decoder
    large = phases.reshape(size // 4, size // 4, 3, 4, 4).transpose(0, 3, 1, 4, 2).reshape(size, size, 3)
    return _finish(np.asarray(large, np.float32), rng)


def _smooth_latent(picture: Image, rng: np.random.Generator) -> Image:
    """Decode a smooth latent without a visible grid, and synthesise fine texture where the picture has any.

    A. B. L. Larsen et al., "Autoencoding beyond pixels using a learned similarity metric", ICML 2016: what a
    variational autoencoder trained on pixel errors decodes is too smooth. The detail put back is noise of the
    right strength, not that of the scene.
    """
    small = np.array([1, 4, 6, 4, 1], np.float32)[None, :] / 16
    smooth = _quantise(picture, 0.015, rng)
    for kernel in (small, small.T):
        smooth = convolve(smooth, kernel)
    activity = np.sqrt(pool((picture - smooth) ** 2, 8).mean(-1, keepdims=True)).repeat(8, 0).repeat(8, 1)
    noise = rng.standard_normal((*picture.shape[:2], 1), dtype=np.float32)
    grain = convolve(noise, small) + convolve(noise, small.T) - 2 * convolve(convolve(noise, small), small.T)
    return _finish(smooth + activity * grain, rng)


def _quantise(latent: Image, step: float, rng: np.random.Generator) -> Image:
    """Round to multiples of ``step`` after adding noise of that size."""
    noise = rng.standard_normal(latent.shape, dtype=np.float32) * np.float32(rng.uniform(0.3, 1.3) * step)
    return np.asarray(np.round((latent + noise) / step) * step, np.float32)


def _finish(picture: Image, rng: np.random.Generator) -> Image:
    """Add a little grain at the final size, as decoders with noise inputs do, and stay in [0, 1]."""
    grain = rng.standard_normal((*picture.shape[:2], 1), dtype=np.float32)
    strength = np.float32(np.exp(rng.uniform(np.log(0.002), np.log(0.02))))
    return np.asarray(np.clip(picture + grain * strength, 0, 1), np.float32)


def _interpolate(image: Image, axis: int) -> Image:
    """Double one axis linearly, with samples at the quarter positions."""
    moved = np.moveaxis(image, axis, 0)
    before = np.concatenate([moved[:1], moved[:-1]])
    after = np.concatenate([moved[1:], moved[-1:]])
    pairs = np.stack([0.75 * moved + 0.25 * before, 0.75 * moved + 0.25 * after], axis=1)
    return np.moveaxis(pairs.reshape(2 * len(moved), *moved.shape[1:]), 0, axis)


@cache
def _subpixel_weights() -> tuple[Image, Image]:
    """Make the encoder (16, 7), low block frequencies, and a decoder (7, 16) that inverts it imperfectly."""
    position, frequency = np.meshgrid(np.arange(4) + 0.5, np.arange(4), indexing="ij")
    cosine = np.cos(np.pi * position * frequency / 4) * np.where(frequency == 0, 0.5, np.sqrt(0.5))
    basis = np.einsum("ip,jq->ijpq", cosine, cosine).reshape(16, 16)
    order = np.argsort([p + q + 0.01 * p for p in range(4) for q in range(4)])[:7]
    encoder = basis[:, order] / 4
    error = 1 + 0.01 * np.random.default_rng(16).standard_normal((7, 16))
    return encoder.astype(np.float32), (16 * encoder.T * error).astype(np.float32)


GENERATORS: dict[str, _Generator] = {
    "nearest_up": _nearest_up,
    "bilinear_up": _bilinear_up,
    "deconv_up": _deconv_up,
    "subpixel_up": _subpixel_up,
    "smooth_latent": _smooth_latent,
}
