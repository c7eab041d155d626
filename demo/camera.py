"""A digital camera: scene radiance becomes a photograph, with the traces that lens, sensor and software leave."""

from __future__ import annotations

import numpy as np

from demo.objects import Image

__all__ = ["convolve", "develop", "pool", "take_photograph"]

_BAYER_GAINS = np.array([0.62, 1.0, 0.70], np.float32)  # the sensor sees less red and blue than green
_GREEN = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32) / 4
_RED_BLUE = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 4


def take_photograph(radiance: Image, *, rng: np.random.Generator) -> Image:
    """Photograph a scene: lens, mosaic of colour filters, noise, demosaicing, tone curve, sharpening.

    Parameters
    ----------
    radiance
        Linear radiance, (2n, 2n, 3): two samples per sensor pixel and direction.
    rng
        Decides on focus, exposure, noise and white balance.

    Returns
    -------
    ndarray of shape (n, n, 3), float32
        A developed picture in [0, 1].
    """
    irradiance = pool(_focus(radiance, rng), 2) * _vignette(len(radiance) // 2, rng.uniform(0.05, 0.25))
    mosaic = _expose(_select_bayer(irradiance * _BAYER_GAINS), rng)
    return _sharpen(develop(_demosaic(mosaic) / _BAYER_GAINS, rng=rng), rng.uniform(0.1, 0.6))


def develop(linear: Image, *, rng: np.random.Generator) -> Image:
    """Make linear light a picture to look at: white balance, gamma, a gentle S curve; in [0, 1]."""
    balance = rng.normal(1, 0.03, 3).astype(np.float32)
    encoded = np.clip(linear * balance, 0, 1) ** np.float32(1 / 2.2)
    contrast = np.float32(rng.uniform(0.1, 0.4))
    return np.asarray(encoded * (1 - contrast) + contrast * encoded * encoded * (3 - 2 * encoded))


def convolve(image: Image, kernel: Image) -> Image:
    """Convolve the first two axes with a small kernel, (odd, odd) or one a channel, mirrored at the border.

    Parameters
    ----------
    image
        Shape (height, width, channels).
    kernel
        Shape (odd, odd) or (odd, odd, channels).
    """
    reach_y, reach_x = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = np.pad(image, ((reach_y, reach_y), (reach_x, reach_x), (0, 0)), mode="reflect")
    height, width = image.shape[:2]
    total = np.zeros_like(image)
    for y, x in np.argwhere(kernel.reshape(*kernel.shape[:2], -1).any(-1)):
        total += kernel[y, x] * padded[y : y + height, x : x + width]
    return total


def pool(image: Image, stride: int) -> Image:
    """Average blocks of ``stride`` × ``stride`` pixels."""
    phases = [image[y::stride, x::stride] for y in range(stride) for x in range(stride)]
    return np.asarray(sum(phases[1:], phases[0]) / stride**2)


def _focus(radiance: Image, rng: np.random.Generator) -> Image:
    """Blur by the lens, and magnify red and blue a little differently (lateral chromatic aberration)."""
    taps = np.arange(-2, 3, dtype=np.float32)
    kernel = np.exp(-0.5 * (taps / rng.uniform(0.7, 1.2)) ** 2).astype(np.float32)
    kernel /= kernel.sum()
    image = convolve(convolve(radiance, kernel[:, None]), kernel[None, :])
    for channel, magnification in ((0, 1 + rng.uniform(0, 0.003)), (2, 1 - rng.uniform(0, 0.003))):
        image[..., channel] = _magnify(image[..., channel], magnification)
    return image


def _magnify(plane: Image, magnification: float) -> Image:
    size = len(plane)
    at = np.clip((np.arange(size) - (size - 1) / 2) / magnification + (size - 1) / 2, 0, size - 1.001)
    low = at.astype(np.intp)
    part = (at - low).astype(np.float32)
    rows = plane[low] * (1 - part)[:, None] + plane[low + 1] * part[:, None]
    return np.asarray(rows[:, low] * (1 - part) + rows[:, low + 1] * part)


def _vignette(size: int, strength: float) -> Image:
    """Darken the corners by ``strength``; the mean stays near 1, so that brightness tells nothing."""
    axis = np.linspace(-1, 1, size, dtype=np.float32) ** 2
    falloff = 1 - np.float32(strength) * (axis[:, None] + axis[None, :]) / 2
    return np.asarray(falloff / falloff.mean())[..., None]


def _select_bayer(image: Image) -> Image:
    """Keep one colour a pixel, RGGB; the other two become 0."""
    mosaic = np.zeros_like(image)
    mosaic[0::2, 0::2, 0] = image[0::2, 0::2, 0]
    mosaic[0::2, 1::2, 1] = image[0::2, 1::2, 1]
    mosaic[1::2, 0::2, 1] = image[1::2, 0::2, 1]
    mosaic[1::2, 1::2, 2] = image[1::2, 1::2, 2]
    return mosaic


def _expose(mosaic: Image, rng: np.random.Generator) -> Image:
    """Count photons (shot noise) and read them out (read noise); zeros of the mosaic stay zero."""
    full_well = np.float32(np.exp(rng.uniform(np.log(600), np.log(12000))))
    sampled = mosaic > 0
    photons = rng.standard_normal(mosaic.shape, dtype=np.float32) * np.sqrt(mosaic / full_well)
    readout = rng.standard_normal(mosaic.shape[:2], dtype=np.float32)[..., None] * (4 / full_well)
    return np.asarray(np.clip((mosaic + photons + readout) * sampled, 0, 1.2), np.float32)


def _demosaic(mosaic: Image) -> Image:
    """Fill in the missing colours bilinearly, which correlates neighbours as no generator does.

    A. C. Popescu, H. Farid, "Exposing Digital Forgeries in Color Filter Array Interpolated Images", IEEE
    Transactions on Signal Processing 53, 2005.
    """
    return convolve(mosaic, np.stack([_RED_BLUE, _GREEN, _RED_BLUE], axis=-1))


def _sharpen(picture: Image, amount: float) -> Image:
    """Sharpen as camera software does: add ``amount`` times what a small blur takes away."""
    blurred = convolve(picture, _RED_BLUE / 4)
    return np.asarray(np.clip(picture + np.float32(amount) * (picture - blurred), 0, 1))
