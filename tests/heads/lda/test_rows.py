"""Laws of the rows that discriminants are fitted on: sums over blocks are those over all rows, views in pairs."""

from __future__ import annotations

import numpy as np
import pytest

from heads.data.row_source import ArrayRows
from heads.data.tasks import build_targets
from heads.errors import HeadsError
from heads.head.moments import Moments
from heads.lda.config import LABELS
from heads.lda.rows import ViewMoments
from tests.heads.rows import TASKS, make_rows

RNG = np.random.default_rng(0)
CLEAN, TARGETS = make_rows(120, seed=1)
VIEWS = np.stack([CLEAN, *(CLEAN + RNG.normal(size=CLEAN.shape).astype(np.float32) * s for s in (0.5, 3))])
ROWS = RNG.permutation(120)[:70]


@pytest.mark.parametrize("n_further", [0, 1, 2])
@pytest.mark.parametrize("values", [20, 2**22])
def test_differences_are_those_of_a_loop(n_further: int, values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heads.head.moments._CHUNK", values)
    found = ViewMoments(ArrayRows(VIEWS, n_further=n_further), TARGETS, ROWS, labels=LABELS)
    taught = VIEWS[: 3 - n_further, ROWS].reshape(-1, 6).astype(np.float64)
    np.testing.assert_allclose(found.scaler.mean, taught.mean(axis=0), rtol=1e-6)
    Z = (VIEWS.astype(np.float64) - taught.mean(axis=0)) / taught.std(axis=0)
    expected = np.zeros((6, 6))
    for view in (1, 2):
        for row in ROWS:
            delta = Z[view, row] - Z[0, row]
            expected += np.outer(delta, delta) / (2 * len(ROWS))
    np.testing.assert_allclose(found.differences, expected, rtol=1e-4, atol=1e-6)


def test_moments_of_a_task_are_of_the_clean_view_or_of_all_that_teach() -> None:
    found = ViewMoments(ArrayRows(VIEWS, n_further=1), TARGETS, ROWS, labels=LABELS)
    scaler = found.scaler
    for task in TASKS:
        rows = ROWS[TARGETS.applies[task.name][ROWS]]
        for labels, n_views in (("clean", 1), ("views", 2)):
            stacked = ((VIEWS[:n_views, rows].reshape(-1, 6) - scaler.mean) * scaler.inverse_scale).astype(np.float32)
            expected = Moments.of(stacked, groups=np.tile(TARGETS.y[task.name][rows], n_views))
            moments = found.of_task(task, labels)
            np.testing.assert_array_equal(moments.counts, expected.counts)
            np.testing.assert_allclose(moments.means, expected.means, atol=1e-5)
            np.testing.assert_allclose(moments.scatter, expected.scatter, rtol=1e-4, atol=1e-3)


def test_rows_of_views_are_not_read_for_their_class_unless_they_count() -> None:
    spoilt = VIEWS.copy()
    spoilt[1:] = np.nan
    found = ViewMoments(ArrayRows(spoilt), TARGETS, ROWS, labels=["clean"])
    np.testing.assert_allclose(found.scaler.mean, CLEAN[ROWS].mean(axis=0), rtol=1e-4)


def test_rows_without_a_label_show_how_views_differ_and_nothing_else() -> None:
    known = np.isin(np.arange(120), ROWS[:50])
    targets = build_targets(TASKS, {name: np.where(known, y, -1) for name, y in TARGETS.y.items()})
    every, labelled = (ViewMoments(ArrayRows(VIEWS), targets, rows, labels=LABELS) for rows in (ROWS, ROWS[:50]))
    np.testing.assert_allclose(every.scaler.mean, labelled.scaler.mean, rtol=1e-9)
    np.testing.assert_allclose(every.of_task(TASKS[1], "views").scatter, labelled.of_task(TASKS[1], "views").scatter)
    assert every.differences is not None and labelled.differences is not None
    assert np.abs(every.differences - labelled.differences).max() > 1e-3


def test_one_view_has_no_differences_and_what_is_not_finite_is_refused() -> None:
    assert ViewMoments(ArrayRows(CLEAN), TARGETS, ROWS, labels=LABELS).differences is None
    spoilt = VIEWS.copy()
    spoilt[0, ROWS[3], 2] = np.nan
    with pytest.raises(HeadsError, match="X has values that are NaN or infinite, the first in column 2"):
        ViewMoments(ArrayRows(spoilt), TARGETS, ROWS, labels=LABELS)
    spoilt = VIEWS.copy()
    spoilt[2, ROWS[3], 4] = np.inf
    with pytest.raises(HeadsError, match="the first in column 4"):
        _ = ViewMoments(ArrayRows(spoilt, n_further=1), TARGETS, ROWS, labels=LABELS).differences
