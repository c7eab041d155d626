"""Pictures of a launch are about as large, and none is lost."""

from __future__ import annotations

import numpy as np

from featcache.pictures.card.memory import alike


def test_pictures_are_divided_by_sizes_within_a_factor_of_four() -> None:
    heights, widths = np.random.default_rng(0).integers(1, 60_000, (2, 300))
    parts = list(alike(heights, widths))
    assert sorted(np.concatenate(parts).tolist()) == list(range(300))
    assert all(each[part].max() < 4 * each[part].min() for part in parts for each in (heights, widths))
    assert [part.tolist() for part in alike(np.array([500, 480, 500]), np.array([400, 400, 390]))] == [[0, 1, 2]]
