"""Laws of the rows that a classifier holds out: groups are whole, every class is fitted, the seed decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heads.api.holding_out import hold_out
from heads.errors import InputError


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 30), st.sampled_from([0.05, 0.2, 0.5]), st.booleans())
def test_rows_are_divided_once_by_whole_groups_and_every_class_is_fitted(
    seed: int, n_classes: int, n_groups: int, share: float, calibrates: bool
) -> None:
    rng = np.random.default_rng(seed)
    n = rng.integers(1, 60)
    codes, groups = (np.unique(rng.integers(0, k, n), return_inverse=True)[1] for k in (n_classes, n_groups))
    try:
        found = hold_out(codes, groups, share=share, calibrates=calibrates, seed=seed)
    except InputError:
        return
    parts = (found.fit_rows, found.select_rows, found.calibrate_rows)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(codes)))
    assert sum(len(np.unique(groups[part])) for part in parts) == groups.max() + 1
    assert set(codes[found.fit_rows]) == set(codes) and len(found.select_rows)
    assert calibrates or not len(found.calibrate_rows)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_of_each_class_the_share_is_held_out_and_half_of_it_calibrates(share: float) -> None:
    codes = np.repeat([0, 1, 2], [400, 200, 40])
    found = hold_out(codes, np.arange(640), share=share, calibrates=True, seed=0)
    for part in (found.select_rows, found.calibrate_rows):
        assert np.abs(np.bincount(codes[part]) - share / 2 * np.array([400, 200, 40])).max() <= 1
    both = hold_out(codes, np.arange(640), share=share, calibrates=False, seed=0).select_rows
    assert np.array_equal(both, np.sort(np.concatenate([found.select_rows, found.calibrate_rows])))


def test_the_seed_decides_which() -> None:
    codes = np.tile([0, 1], 50)
    drawn = [hold_out(codes, np.arange(100), share=0.2, calibrates=False, seed=seed).select_rows for seed in (0, 0, 1)]
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])


def test_rows_of_one_group_a_class_are_too_few() -> None:
    with pytest.raises(InputError, match=r"^the 4 rows of y leave none to select by"):
        hold_out(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), share=0.5, calibrates=False, seed=0)
