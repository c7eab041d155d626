from __future__ import annotations

import io
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn
from scipy.signal import convolve2d

from featcache.encoders.spectral.dct import block_coefficients, coefficient_statistics, grid_steps
from featcache.encoders.spectral.encoder import SPECTRAL_OUTPUTS, SpectralSpec
from featcache.encoders.spectral.residuals import N_PATTERNS, co_occurrences, noise_statistics, residual
from featcache.encoders.spectral.spectrum import (
    BANDS,
    N_RADII,
    N_SECTORS,
    angular_spectrum,
    power_spectrum,
    radial_spectrum,
    upsampling_peaks,
)
from featcache.encoders.spectral.windows import ALIGNMENT, WINDOW, cut_windows, luma_chroma
from featcache.errors import ModelError
from featcache.identity.fingerprint import Fingerprint

SIDE = 256
AT_HALF = (1, 5, 7)  # frequencies of upsampling_peaks: horizontal 1/2, vertical 1/2, both


def noise(seed: int = 0, size: tuple[int, int] = (SIDE, SIDE), low: int = 0, high: int = 256) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(low, high, (*size, 3), dtype=np.uint8)


def smooth(seed: int = 0, size: tuple[int, int] = (SIDE, SIDE)) -> NDArray[np.uint8]:
    """Something like a photograph: most of it at low frequencies."""
    small = Image.fromarray(noise(seed, (size[0] // 8 + 2, size[1] // 8 + 2), 60, 180))
    fine = noise(seed + 1, size, 0, 5)
    return np.asarray(small.resize((size[1], size[0]), Image.Resampling.BICUBIC)) // 2 * 2 + fine


def vectors(pixels: NDArray[np.uint8], outputs: tuple[str, ...] = SPECTRAL_OUTPUTS) -> dict[str, NDArray[np.float32]]:
    spec = SpectralSpec(outputs)
    found = spec.load("cpu").encode([spec.prepare(Image.fromarray(pixels))])
    return {name: found[name][0] for name in outputs}


def levels(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return luma_chroma(cut_windows(Image.fromarray(pixels)))


def wave(vertical: float, horizontal: float, amplitude: float = 40) -> NDArray[np.float32]:
    """One window of a cosine, as three equal channels; frequencies in cycles per pixel."""
    y, x = np.mgrid[:WINDOW, :WINDOW]
    cosine = amplitude * np.cos(2 * np.pi * (vertical * y + horizontal * x))
    return np.broadcast_to(cosine, (3, 1, WINDOW, WINDOW)).astype(np.float32)


def test_a_constant_added_to_the_pixels_changes_nothing() -> None:
    picture = smooth().clip(0, 200)
    dark, bright = vectors(picture), vectors(picture + np.uint8(55))
    for name in SPECTRAL_OUTPUTS:
        np.testing.assert_allclose(bright[name], dark[name], atol=4e-3, err_msg=name)


def test_a_scale_c_adds_2_log_c_to_log_power_and_log_c_to_log_deviations() -> None:
    grey = np.repeat(noise(0, high=120)[..., :1], 3, axis=2)
    once, twice = vectors(grey), vectors(grey * np.uint8(2))
    for name, channels, step in (("radial", 3, 2 * np.log(2)), ("angular", 3, 2 * np.log(2)), ("peaks", 3, 0.0)):
        difference = (twice[name] - once[name]).reshape(channels, -1)
        np.testing.assert_allclose(difference[0], step, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(difference[1:], 0, atol=1e-4, err_msg=name)  # a grey picture has no chroma
    dct = (twice["dct"] - once["dct"]).reshape(3, 3, 63)
    np.testing.assert_allclose(dct[0, 0], np.log(2), atol=1e-4)
    np.testing.assert_allclose(dct[0, 1], 0, atol=1e-4)
    np.testing.assert_allclose(twice["grid"], once["grid"], atol=1e-4)
    own = (twice["noise"] - once["noise"]).reshape(3, 21)[:, :5]
    np.testing.assert_allclose(own, np.outer(np.ones(3), [np.log(2), 0, 0, 0, 0]), atol=1e-4)


@pytest.mark.parametrize("k", [1, 5, 16, 31])
@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
def test_a_cosine_is_found_at_its_frequency_and_in_its_direction(k: int, direction: str) -> None:
    power = power_spectrum(wave(k / WINDOW, 0) if direction == "vertical" else wave(0, k / WINDOW))
    radial = radial_spectrum(power)[0]
    assert int(radial.argmax()) == k - 1
    far = np.abs(np.arange(N_RADII) - (k - 1)) > 2
    assert radial[far].max() < radial[k - 1] - 5
    angular = angular_spectrum(power)[0].reshape(len(BANDS), N_SECTORS)
    bands = [i for i, (low, high) in enumerate(BANDS) if low < k / WINDOW < high]
    for band in bands:
        assert int(angular[band].argmax()) == (0 if direction == "horizontal" else N_SECTORS // 2)


def test_a_slanted_cosine_has_the_sector_of_its_slant_and_its_mirror_image_the_opposite_one() -> None:
    falling, rising = (power_spectrum(wave(sign * 0.125, 0.125)) for sign in (1, -1))
    one, other = (angular_spectrum(power)[0].reshape(len(BANDS), N_SECTORS)[0] for power in (falling, rising))
    assert int(one.argmax()) == N_SECTORS // 4 and int(other.argmax()) == 3 * N_SECTORS // 4
    np.testing.assert_allclose(radial_spectrum(falling), radial_spectrum(rising), atol=1e-3)


def test_the_power_of_a_cosine_is_that_of_its_amplitude() -> None:
    power = power_spectrum(wave(0, 16 / WINDOW, amplitude=10))[0]
    both_sides = 2 * power.astype(np.float64).sum() / WINDOW**2
    assert both_sides == pytest.approx(10**2 / 2, rel=0.01)


def test_white_noise_has_its_variance_at_every_frequency() -> None:
    rng = np.random.default_rng(0)
    power = power_spectrum(rng.normal(100, 5, (3, 400, WINDOW, WINDOW)).astype(np.float32))
    np.testing.assert_allclose(radial_spectrum(power)[:, 1:], np.log(25), atol=0.06)
    np.testing.assert_allclose(angular_spectrum(power), np.log(25), atol=0.09)
    np.testing.assert_allclose(upsampling_peaks(power)[:, [0, 2, 3, 8]], 0, atol=0.3)


def test_the_checkerboard_of_a_transposed_convolution_peaks_at_half_a_cycle() -> None:
    uneven = 1 + 0.04 * (-1.0) ** np.add.outer(np.arange(SIDE), np.arange(SIDE))[..., None]
    columns = 1 + 0.04 * (-1.0) ** np.arange(SIDE)[None, :, None]
    fours = 1 + 0.06 * np.cos(np.pi / 2 * np.arange(SIDE))[None, :, None]
    clean = upsampling_peaks(power_spectrum(levels(smooth())))[0]
    for pattern, expected in ((uneven, 7), (columns, 1), (fours, 0)):
        found = upsampling_peaks(power_spectrum(levels((smooth() * pattern).astype(np.uint8))))[0]
        assert int((found - clean).argmax()) == expected and found[expected] > 2 > clean[list(AT_HALF)].max()


def test_a_mirrored_picture_has_the_same_radial_and_the_mirrored_angular_spectrum() -> None:
    one, other = vectors(smooth()), vectors(smooth()[:, ::-1])
    np.testing.assert_allclose(other["radial"], one["radial"], atol=1e-4)
    angular = (v["angular"].reshape(3, len(BANDS), N_SECTORS) for v in (one, other))
    straight, mirrored = angular
    # Sectors are of finite width: the rows of frequency w/2 have no partner of the opposite sign.
    turned = np.roll(straight[..., ::-1], 1, axis=-1)
    np.testing.assert_allclose(mirrored[:, :2], turned[:, :2], atol=1e-4)


def test_the_cosines_of_a_block_are_those_of_scipy() -> None:
    windows = levels(smooth())
    found = block_coefficients(windows)
    blocks = windows[:, 5, 8:16, 24:32]
    np.testing.assert_allclose(found[:, 5 * 64 + 8 + 3], dctn(blocks, axes=(1, 2), norm="ortho"), atol=1e-3)


def test_blocks_with_known_cosines() -> None:
    y = np.arange(8)
    flat = np.full((8, 8), 10.0)
    ramp = np.repeat(np.cos(np.pi * (2 * y + 1) * 3 / 16)[:, None], 8, axis=1)  # three vertical half-waves
    window = np.tile(np.block([[flat, ramp], [ramp, flat]]), (4, 4)).astype(np.float32)
    found = block_coefficients(np.stack([window[None]] * 3))[0].reshape(8, 8, 8, 8)
    expected = np.zeros((2, 8, 8))
    expected[0, 0, 0], expected[1, 3, 0] = 80, np.sqrt(8) * 2
    np.testing.assert_allclose(found[0, :2], expected, atol=1e-4)
    statistics = coefficient_statistics(found.reshape(1, 64, 8, 8))[0].reshape(3, 63)
    at = 3 * 8 - 1
    assert statistics[0, at] == pytest.approx(0.5 * np.log(32 / 2), abs=1e-3)  # half of the blocks have √32
    assert statistics[1, at] == pytest.approx(np.log(2), abs=1e-3)  # mean fourth power over squared mean square
    assert statistics[2, at] == 0.5 and (np.delete(statistics[2], at) == 1).all()


def jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=2)
    return np.asarray(Image.open(buffer).convert("RGB"))


def test_the_grid_of_jpeg_is_found_where_it_lies() -> None:
    coarse = jpeg(smooth(3, (SIDE + 32, SIDE + 32)), 10)
    for shift in (0, 3):
        steps = grid_steps(levels(coarse[shift : SIDE + shift, shift : SIDE + shift]))[0]
        assert int(steps[:8].argmax()) == int(steps[8:].argmax()) == 7 - shift


def test_every_size_looks_at_jpeg_blocks_from_the_same_place() -> None:
    coarse = jpeg(smooth(3, (420, 420)), 10)
    for size in range(240, 420, 13):
        steps = grid_steps(levels(coarse[:size, : size + 7]))[0]
        assert int(steps[:8].argmax()) == int(steps[8:].argmax()) == 7


def test_residuals_are_those_of_a_convolution() -> None:
    window = levels(smooth())[0, 3]
    kernels = {
        ("first", -1): [[1, -1]],
        ("first", -2): [[1], [-1]],
        ("second", -1): [[0.5, -1, 0.5]],
        ("second", -2): [[0.5], [-1], [0.5]],
        ("square", -1): np.array([[-1, 2, -1], [2, -4, 2], [-1, 2, -1]]) / 4,
    }
    for (kind, axis), kernel in kernels.items():
        expected = convolve2d(window, kernel, "valid")
        np.testing.assert_allclose(residual(window, kind, axis), expected, atol=1e-4)


def test_noise_statistics_of_independent_normal_pixels() -> None:
    rng = np.random.default_rng(0)
    windows = rng.normal(0, 10, (3, 64, WINDOW, WINDOW)).astype(np.float32)
    windows[2] = windows[1]
    found = noise_statistics(residual(windows, "first"))
    log_std, log_kurtosis, right, below, slanted = found[:15].reshape(3, 5).T
    np.testing.assert_allclose(log_std, np.log(10 * np.sqrt(2)), atol=0.01)
    np.testing.assert_allclose(log_kurtosis, np.log(3), atol=0.02)
    np.testing.assert_allclose(right, -0.5, atol=0.01)
    np.testing.assert_allclose([below, slanted], 0, atol=0.01)
    np.testing.assert_allclose(found[15:18], [0, 0, 1], atol=0.01)  # channels 0 and 1, 0 and 2, 1 and 2
    np.testing.assert_allclose(found[18:], [1 / 3, 1 / 3, 1], atol=0.02)


def test_co_occurrences_by_hand() -> None:
    rows = np.array([[[0, 0, 1], [1, 0, 0], [0, 0, -9], [2, 2, 2]]], np.float32)
    found = co_occurrences(rows, -1)
    # (0, 0, 1) and its mirror image are one pattern; -9 is cut to -2, which is another; (2, 2, 2) is a third.
    assert sorted(found[found > 0] ** 2) == pytest.approx([0.25, 0.25, 0.5])
    assert len(found) == N_PATTERNS


def test_co_occurrences_do_not_see_mirrors_and_signs() -> None:
    errors = np.random.default_rng(0).normal(0, 2, (16, 60, 61)).astype(np.float32)
    found = co_occurrences(errors, -1)
    assert (found > 0).all() and (found**2).sum() == pytest.approx(1)
    np.testing.assert_array_equal(co_occurrences(errors[..., ::-1], -1), found)
    np.testing.assert_array_equal(co_occurrences(-errors, -1), found)
    np.testing.assert_array_equal(co_occurrences(errors.swapaxes(1, 2), -2), found)


HARD = {
    "black": np.zeros((SIDE, SIDE, 3), np.uint8),
    "white": np.full((SIDE, SIDE, 3), 255, np.uint8),
    "one pixel": np.full((1, 1, 3), 77, np.uint8),
    "a line": noise(0, (1, 190)),
    "narrow": noise(0, (700, 5)),
    "just a window": noise(0, (64, 64)),
    "checkerboard": np.repeat(255 * (np.indices((300, 300)).sum(0) % 2)[..., None], 3, axis=2).astype(np.uint8),
    "noise": noise(0, (257, 411)),
    "one speck": np.eye(SIDE, dtype=np.uint8)[..., None] * np.uint8([0, 0, 1]),
}


@pytest.mark.parametrize("name", HARD)
def test_whatever_the_picture_all_numbers_can_be_stored(name: str) -> None:
    for output, vector in vectors(HARD[name]).items():
        assert np.isfinite(vector).all() and np.abs(vector).max() < 1000, output


def test_one_pixel_is_a_picture_of_one_colour() -> None:
    one, many = vectors(HARD["one pixel"]), vectors(np.full((300, 280, 3), 77, np.uint8))
    for output in SPECTRAL_OUTPUTS:
        np.testing.assert_allclose(one[output], many[output], atol=1e-4)


@given(st.integers(1, 700), st.integers(1, 700))
@settings(max_examples=40)
def test_windows_are_native_pixels_from_the_grid_around_the_middle(height: int, width: int) -> None:
    y, x = np.mgrid[:height, :width]
    picture = np.stack([y % 256, x % 256, y // 256 + 16 * (x // 256)], axis=2).astype(np.uint8)
    windows = cut_windows(Image.fromarray(picture)).astype(np.int64)
    assert windows.shape == (16, WINDOW, WINDOW, 3)
    rows, columns = windows[..., 0] + windows[..., 2] % 16 * 256, windows[..., 1] + windows[..., 2] // 16 * 256
    for places, length in ((rows, height), (columns, width)):
        along = places[:, :, 0] if places is rows else places[:, 0, :]
        assert (along < length).all()
        if length >= WINDOW:
            assert (np.diff(along, axis=1) == 1).all() and (along[:, 0] % ALIGNMENT == 0).all()
            assert abs(along.min() + along.max() + 1 - length) <= 2 * ALIGNMENT
        else:
            assert (np.diff(along, axis=1) >= -1).all() and (along[:, :length] == np.arange(length)).all()
        if length >= SIDE:
            assert len(np.unique(along)) == SIDE


def test_what_lies_outside_of_the_windows_changes_nothing() -> None:
    picture = smooth()
    framed = noise(9, (SIDE + 64, SIDE + 128))
    framed[32 : 32 + SIDE, 64 : 64 + SIDE] = picture
    for output, vector in vectors(framed).items():
        np.testing.assert_array_equal(vector, vectors(picture)[output])


def test_a_row_depends_on_its_picture_alone() -> None:
    spec = SpectralSpec()
    prepared = [spec.prepare(Image.fromarray(smooth(seed, (80 + 60 * seed, 300)))) for seed in range(5)]
    together = spec.load("cpu").encode(np.stack(prepared))
    for i, one in enumerate(prepared):
        alone = spec.load("cpu").start([one])()
        for output in SPECTRAL_OUTPUTS:
            np.testing.assert_array_equal(alone[output][0], together[output][i])


def test_outputs_can_be_asked_for_one_by_one_and_have_the_stated_widths() -> None:
    everything = vectors(smooth())
    assert {name: len(vector) for name, vector in everything.items()} == SpectralSpec().widths
    for output in SPECTRAL_OUTPUTS:
        np.testing.assert_array_equal(vectors(smooth(), (output,))[output], everything[output])
        assert everything[output].dtype == np.float32


def test_the_specification_is_a_picklable_encoder_with_a_stable_identity() -> None:
    spec = pickle.loads(pickle.dumps(SpectralSpec(("dct", "noise"))))
    assert (spec.modality, spec.outputs, spec.widths) == ("spectral", ("dct", "noise"), {"dct": 567, "noise": 63})
    # The outputs are no part of it. A change of this digest makes every stored vector another producer's.
    assert spec.fingerprint.digest == SpectralSpec().fingerprint.digest
    assert spec.fingerprint.digest != SpectralSpec(storage_dtype="float32").fingerprint.digest
    assert spec.fingerprint.short == "09e454d0393a"
    assert SpectralSpec(decode_rules=1).fingerprint.short == "b9aefbf3441a"  # of caches of earlier versions
    assert Fingerprint.from_document(spec.fingerprint.to_document(), "here") == spec.fingerprint


def test_unknown_outputs_and_other_modes_are_refused() -> None:
    with pytest.raises(ModelError, match=r"'fft' is unknown, expected one of radial, angular, peaks"):
        SpectralSpec(("radial", "fft"))
    with pytest.raises(ValueError, match="expected 'RGB'"):
        SpectralSpec().prepare(Image.new("L", (8, 8)))


@pytest.mark.slow
def test_spectral_features_need_no_torch() -> None:
    code = (
        "import sys; from PIL import Image; from featcache.encoders.spectral.encoder import SpectralSpec as S;"
        "S().prepare(Image.new('RGB', (9, 9))); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
