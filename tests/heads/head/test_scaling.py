"""Laws of standardisation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.preprocessing import StandardScaler

from heads.errors import HeadsError
from heads.head.moments import Moments
from heads.head.scaling import Standardizer, check_features, draw_rows

matrices = arrays(np.float32, (7, 3), elements=st.floats(-1000, 1000, width=32))


def draw(n: int = 5000, d: int = 8) -> np.ndarray:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d)) * np.logspace(-4, 4, d) + np.linspace(-1000, 1000, d)
    return X.astype(np.float32)


def test_it_is_the_scaler_of_scikit_learn_in_float64() -> None:
    X = draw()
    ours, reference = Standardizer.fit(X), StandardScaler().fit(X.astype(np.float64))
    varies = ours.inverse_scale > 0
    assert varies.sum() >= 7
    np.testing.assert_allclose(ours.mean, reference.mean_, rtol=1e-12)
    np.testing.assert_allclose(1 / ours.inverse_scale[varies], reference.scale_[varies], rtol=1e-9)
    expected = reference.transform(X.astype(np.float64))[:, varies]
    np.testing.assert_allclose(ours.transform(X)[:, varies], expected, rtol=1e-6, atol=1e-6)


def test_moments_say_the_same() -> None:
    X = draw()
    X[:, 3] = 0.1
    one, other = Standardizer.fit(X), Standardizer.of(Moments.of(X))
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-12)
    np.testing.assert_allclose(one.inverse_scale, other.inverse_scale, rtol=1e-9)
    assert other.inverse_scale[3] == 0


@given(matrices)
def test_what_was_fitted_has_mean_0_and_deviation_1_or_is_0(X: np.ndarray) -> None:
    scaler = Standardizer.fit(X)
    Z = scaler.transform(X).astype(np.float64)
    np.testing.assert_allclose(Z.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(Z.std(axis=0), scaler.inverse_scale > 0, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e6, 1e-30, 3e38])
def test_a_constant_column_is_0_whatever_it_holds_later(value: float) -> None:
    X = np.full((1000, 2), value, dtype=np.float32)
    X[:, 1] = np.arange(1000)
    scaler = Standardizer.fit(X)
    later = scaler.transform(np.array([[12345, 3]], dtype=np.float32))
    assert later[0, 0] == 0 and later[0, 1] != 0


def test_one_row_is_all_constant() -> None:
    assert not Standardizer.fit(draw(1)).inverse_scale.any()


def test_no_rows_cannot_be_fitted() -> None:
    with pytest.raises(HeadsError, match="no rows"):
        Standardizer.fit(draw(0))


def test_chunks_make_no_difference_to_a_row() -> None:
    X = draw(9000)
    scaler = Standardizer.fit(X)
    np.testing.assert_array_equal(scaler.transform(X)[1000:1200], scaler.transform(X[1000:1200]))


def test_a_row_that_overflows_float32_is_refused_by_number() -> None:
    scaler = Standardizer.fit(draw(100, 2) * np.float32(1e-20))
    far = np.zeros((3, 2), dtype=np.float32)
    far[2] = 1e38
    with pytest.raises(HeadsError, match="standardised X has 1 values that are NaN or infinite, the first in row 2"):
        scaler.transform(far)


def test_the_input_and_the_fit_are_never_written() -> None:
    X = draw(50)
    X.setflags(write=False)
    scaler = Standardizer.fit(X)
    scaler.transform(X)
    with pytest.raises(ValueError, match="read-only"):
        scaler.mean[0] = 1


def test_what_is_no_matrix_is_refused() -> None:
    for X in (np.zeros(3, dtype=np.float32), np.zeros((3, 0), dtype=np.float32)):
        with pytest.raises(HeadsError, match="has shape"):
            check_features(X)
    with pytest.raises(HeadsError, match="float16, expected float32"):
        check_features(np.zeros((3, 2), dtype=np.float16))  # type: ignore[arg-type]


@given(st.integers(0, 40), st.integers(1, 50), st.integers(0, 5))
def test_drawn_rows_are_some_of_all_each_once_and_ascending(n_rows: int, most: int, seed: int) -> None:
    rows = draw_rows(n_rows, most, seed=seed).tolist()
    assert rows == sorted(set(rows)) and set(rows) <= set(range(n_rows))
    assert len(rows) == min(n_rows, most)
    assert rows == draw_rows(n_rows, most, seed=seed).tolist()


def test_drawn_rows_miss_no_class_of_a_list_in_turn() -> None:
    assert set((draw_rows(600, 60, seed=0) % 6).tolist()) == set(range(6))
