import hashlib
import io
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage, special

from featcache.errors import ImageError
from featcache.pictures import perturbations
from featcache.pictures.perturbations import blur, brightness, crop, hflip, jpeg, noise, noise_table, rescale

from factories import cut_strips

SEED = bytes(range(16))
SHAPES = [(1, 1), (1, 200), (200, 1), (2, 3), (63, 65), (64, 130), (129, 40)]
LUMA_TABLE = """
16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56  14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92  49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99
"""  # ITU-T T.81, table K.1


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def levels(image: Image.Image) -> NDArray[np.int64]:
    assert image.mode == "RGB" and type(image) is Image.Image
    return np.asarray(image).astype(np.int64)


def philox(key: int, n_words: int) -> list[int]:
    """Philox 4x64-10 in whole numbers, as its authors define it; numpy counts from 1."""
    mask, words = 2**64 - 1, []
    for counter in range(1, -(-n_words // 4) + 1):
        a, b, c, d = counter, 0, 0, 0
        low, high = key & mask, key >> 64
        for _ in range(10):
            left, right = a * 0xD2E7470EE14C6C93, c * 0xCA5A826395121157
            a, b, c, d = (right >> 64) ^ b ^ low, right & mask, (left >> 64) ^ d ^ high, left & mask
            low, high = (low + 0x9E3779B97F4A7C15) & mask, (high + 0xBB67AE8584CAA73B) & mask
        words += [a, b, c, d]
    return words[:n_words]


@pytest.mark.parametrize("shape", SHAPES)
def test_hflip_swaps_left_and_right_and_undoes_itself(shape: tuple[int, int]) -> None:
    image = picture(*shape)
    made = hflip(image, 0.0, SEED)
    np.testing.assert_array_equal(levels(made), levels(image)[:, ::-1])
    np.testing.assert_array_equal(levels(hflip(made, 0.0, SEED)), levels(image))


@pytest.mark.parametrize("quality", [10, 30, 50, 75, 90, 100])
def test_jpeg_quantises_the_cosines_of_8_by_8_blocks(quality: int) -> None:
    rng = np.random.default_rng(quality)
    grey = np.clip(ndimage.gaussian_filter(rng.normal(0, 60, (64, 96)), 1) * 3 + 128, 0, 255).round()
    image = Image.fromarray(np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2))
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    base = np.array(LUMA_TABLE.split(), int).reshape(8, 8)
    table = np.clip((base * scale + 50) // 100, 1, 255)
    blocks = grey.reshape(8, 8, 12, 8).swapaxes(1, 2) - 128
    cosines = fft.dctn(blocks, axes=(2, 3), norm="ortho")
    kept = fft.idctn(np.round(cosines / table) * table, axes=(2, 3), norm="ortho")
    expected = np.clip(kept + 128, 0, 255).swapaxes(1, 2).reshape(64, 96)
    difference = np.abs(levels(jpeg(image, quality, SEED)) - expected[..., None])
    worst = difference[..., 0].reshape(8, 8, 12, 8).max(axis=(1, 3))
    # Sums of whole levels often lie on the edge between two steps and may fall either way: not in most blocks.
    assert np.median(worst) < 1 and difference.mean() < 0.5


def test_jpeg_halves_the_resolution_of_colour() -> None:
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = (150, 75, 128)
    stripes[:, 1::2] = (60, 121, 128)  # of the same luma
    made = levels(jpeg(Image.fromarray(stripes), 95, SEED))
    assert np.abs(made[:, 1:] - made[:, :-1]).max() <= 6


def test_jpeg_of_a_side_beyond_its_limit_is_an_image_error() -> None:
    assert jpeg(picture(1, 65_500), 50, SEED).size == (65_500, 1)
    with pytest.raises(ImageError, match="65501 × 1 cannot be encoded as JPEG"):
        jpeg(picture(1, 65_501), 50, SEED)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigma", [0.25, 0.5, 1, 2.3, 20])
def test_blur_is_the_gaussian_filter(shape: tuple[int, int], sigma: float) -> None:
    image = picture(*shape)
    exact = ndimage.gaussian_filter(levels(image).astype(float), (sigma, sigma, 0), mode="reflect", truncate=4)
    assert np.abs(levels(blur(image, sigma, SEED)) - exact).max() < 1.15  # two roundings, and those of the weights


@pytest.mark.parametrize("shape", [*SHAPES, (50, 70)])
def test_blur_of_large_pictures_has_no_seams(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(*shape)
    whole = levels(blur(image, 3, SEED))
    monkeypatch.setattr(perturbations, "_TILE_ROWS", 7)
    monkeypatch.setattr(perturbations, "_TILE_COLUMNS", 11)
    for n_pixels in (1 << 20, 1):
        cut_strips(monkeypatch, n_pixels)
        np.testing.assert_array_equal(levels(blur(image, 3, SEED)), whole)


def test_blur_keeps_flat_fields() -> None:
    for level in (0, 1, 127, 255):
        for sigma in (0.25, 1, 7.7, 20):
            flat = Image.new("RGB", (33, 20), (level, level, 255 - level))
            np.testing.assert_array_equal(levels(blur(flat, sigma, SEED)), levels(flat))


def test_noise_is_the_normal_quantile_of_philox_words() -> None:
    made = levels(noise(Image.new("RGB", (13, 5), (128, 128, 128)), 0.05, SEED)).ravel()
    words = philox(int.from_bytes(SEED, "little"), 49)
    shorts = [word >> shift & 0xFFFF for word in words for shift in (0, 16, 32, 48)][: 13 * 5 * 3]
    expected = np.rint(0.05 * 255 * special.ndtri((np.array(shorts) + 0.5) / 65536))
    np.testing.assert_array_equal(made - 128, expected)
    np.testing.assert_array_equal(noise_table(0.05)[shorts], expected)


@pytest.mark.parametrize("shape", [*SHAPES, (41, 51)])
def test_noise_of_large_pictures_goes_on_with_the_words(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = picture(*shape)
    whole = levels(noise(image, 0.1, SEED))
    monkeypatch.setattr(perturbations, "_NOISE_CHUNK", 64)
    for n_pixels in (1 << 20, 1):
        cut_strips(monkeypatch, n_pixels)
        np.testing.assert_array_equal(levels(noise(image, 0.1, SEED)), whole)


@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.1])
def test_noise_has_the_sigma_asked_for_and_no_pattern(sigma: float) -> None:
    made = levels(noise(Image.new("RGB", (200, 200), (128, 128, 128)), sigma, SEED)) - 128.0
    assert abs(made.mean()) < 5 * sigma * 255 / math.sqrt(made.size)
    assert made.std() == pytest.approx(math.hypot(sigma * 255, math.sqrt(1 / 12)), rel=0.01)
    for other in (made[:, 1:], made[1:], np.roll(made, 1, axis=2)):
        part = made[: other.shape[0], : other.shape[1]]
        assert abs(np.corrcoef(part.ravel(), other.ravel())[0, 1]) < 0.015


def test_noise_is_clipped_not_wrapped() -> None:
    for level, sign in ((0, 1), (255, -1)):
        change = levels(noise(Image.new("RGB", (40, 40), (level,) * 3), 1.0, SEED)) - level
        assert (sign * change >= 0).all() and (change == 0).mean() > 0.4


def test_noise_is_pinned_on_every_platform() -> None:
    made = noise(Image.new("RGB", (64, 64), (128, 128, 128)), 0.05, SEED).tobytes()
    assert hashlib.sha256(made).hexdigest()[:16] == "b806de846c67b5ec"


def test_quantiles_are_odd_and_far_from_the_ties_of_their_rounding() -> None:
    quantiles = perturbations._quantiles()
    np.testing.assert_array_equal(quantiles, -quantiles[::-1])
    exact = special.ndtri((np.arange(65536) + 0.5) / 65536) * 2**20
    np.testing.assert_array_equal(quantiles * 2**20, np.rint(exact))
    assert np.abs(np.abs(exact - np.floor(exact)) - 0.5).min() > 1e-6  # a last bit more or less changes nothing


@pytest.mark.parametrize("factor", [0.05, 0.5, 0.75, 1.5, 10])
def test_brightness_multiplies_and_clips(factor: float) -> None:
    image = picture(30, 20)
    expected = np.minimum(np.floor(levels(image) * factor + 0.5), 255)
    np.testing.assert_array_equal(levels(brightness(image, factor, SEED)), expected)


def bicubic(length: int, result: int) -> NDArray[np.float64]:
    """Matrix of the antialiased bicubic (a = -0.5) resize of one axis: Keys's kernel, widened when it shrinks."""
    scale = length / result
    distance = (np.arange(length) + 0.5 - (np.arange(result)[:, None] + 0.5) * scale) / max(scale, 1)
    x = np.abs(distance)
    weights = np.where(x < 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("factor", [0.1, 0.5, 0.75, 1.5, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_rescale_is_one_antialiased_bicubic_resize(shape: tuple[int, int], factor: float) -> None:
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(90, 160, (*shape, 3), np.uint8))  # no overshoot between the passes
    height, width = (max(1, math.floor(side * factor + 0.5)) for side in shape)
    made = rescale(image, factor, SEED)
    assert made.size == (width, height)
    exact = np.einsum("jkc,lk->jlc", levels(image), bicubic(shape[1], width))
    exact = np.einsum("ij,jlc->ilc", bicubic(shape[0], height), exact)
    assert np.abs(levels(made) - exact).max() < 1.3  # two roundings, the first amplified by negative weights


def test_rescale_beyond_the_pixels_allowed_is_an_image_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perturbations, "MAX_PIXELS", 400)
    assert rescale(picture(10, 10), 2, SEED).size == (20, 20)
    with pytest.raises(ImageError, match="rescaled to 22 × 20 pixels, at most 400"):
        rescale(picture(10, 11), 2, SEED)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.8])
def test_crop_is_a_part_of_the_picture(shape: tuple[int, int], fraction: float) -> None:
    rows, columns = np.indices(shape)
    image = Image.fromarray(np.stack([rows, columns, rows * 0], -1).astype(np.uint8))
    height, width = (max(1, math.floor(side * fraction + 0.5)) for side in shape)
    words = philox(int.from_bytes(SEED, "little"), 2)
    top, left = (word * (n - m + 1) // 2**64 for word, n, m in zip(words, shape, (height, width), strict=True))
    made = levels(crop(image, fraction, SEED))
    np.testing.assert_array_equal(made, levels(image)[top : top + height, left : left + width])
    assert made.shape[:2] == (height, width)


def test_crop_lands_everywhere_alike() -> None:
    rows, columns = np.indices((10, 10))
    image = Image.fromarray(np.stack([rows, columns, rows * 0], -1).astype(np.uint8))
    corners = [crop(image, 0.8, hashlib.sha256(b"%d" % i).digest()).getpixel((0, 0)) for i in range(900)]
    places, counts = np.unique(np.array(corners)[:, :2], axis=0, return_counts=True)
    assert sorted(map(tuple, places.tolist())) == [(top, left) for top in range(3) for left in range(3)]
    assert counts.min() > 60 and counts.max() < 145


def test_large_jpeg_gives_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    buffer = io.BytesIO()
    picture(20, 20).save(buffer, "JPEG")
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(buffer).load()
    assert jpeg(picture(20, 20), 50, SEED).size == (20, 20)
