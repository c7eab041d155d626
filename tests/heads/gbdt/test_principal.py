"""Laws of principal components."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from heads.errors import HeadsError
from heads.gbdt.principal import Principal

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(800, 10)) @ RNG.normal(size=(10, 10)) * np.logspace(-3, 3, 10) + 50).astype(np.float32)


def test_they_are_scikit_learns_of_standardised_columns_but_for_signs() -> None:
    principal = Principal.fit(X, 4)
    Z = StandardScaler().fit_transform(X.astype(np.float64))
    expected = PCA(4).fit_transform(Z)
    found = principal.transform(X)
    assert found.dtype == np.float32 and found.shape == (800, 4)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=2e-3)
    assert (np.diff(found.var(axis=0)) < 0).all()


def test_chunks_and_a_sample_of_the_rows_make_little_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Principal.fit(X, 3).transform(X)
    monkeypatch.setattr("heads.gbdt.principal._CHUNK", 7)
    np.testing.assert_allclose(Principal.fit(X, 3).transform(X), whole, atol=1e-4)
    monkeypatch.setattr("heads.gbdt.principal._MEASURED_ROWS", 700)
    sampled = Principal.fit(X, 3)
    correlation = np.abs(np.diag(np.corrcoef(sampled.transform(X).T, whole.T)[:3, 3:]))
    assert (correlation > 0.95).all()


def test_rows_that_list_their_classes_in_turn_are_all_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heads.gbdt.principal._MEASURED_ROWS", 100)
    data = RNG.normal(size=(800, 5)).astype(np.float32)
    data[1::2, 0] += 100  # every other row: a sample of every eighth would not see it vary
    data[1::2, 1] += 100
    scores = Principal.fit(data, 1).transform(data)[:, 0]
    assert abs(np.corrcoef(scores, np.arange(800) % 2)[0, 1]) > 0.95


@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 1), (3, 2), (9, 8), (100, 8)])
def test_few_rows_have_few_components(n: int, k: int) -> None:
    principal = Principal.fit(X[:n], 8)
    assert principal.axes.shape == (10, k)
    assert np.isfinite(principal.transform(X)).all()


def test_a_constant_column_has_no_weight() -> None:
    data = X.copy()
    data[:, 2] = 7
    assert not Principal.fit(data, 5).axes[2].any()


def test_a_row_beyond_float32_is_refused() -> None:
    far = np.full((1, 10), 3e38, dtype=np.float32)
    with pytest.raises(HeadsError, match="components of X has"):
        Principal.fit(X, 3).transform(far)
