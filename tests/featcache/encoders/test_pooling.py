"""Pooling is arithmetic on the tokens of each text alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featcache.encoders.pooling import POOLING_MODES, pool

WEIGHTS = np.arange(1, 6, dtype=np.float32)[:, None]
EXPECTED = {
    "cls": lambda x, w: x[0],
    "max": lambda x, w: x.max(0),
    "mean": lambda x, w: x.mean(0),
    "mean_sqrt_len_tokens": lambda x, w: x.sum(0) / np.sqrt(len(x)),
    "weightedmean": lambda x, w: (x * w).sum(0) / w.sum(),
    "lasttoken": lambda x, w: x[-1],
}


@pytest.mark.parametrize("skip", [0, 2])
@pytest.mark.parametrize("mode", POOLING_MODES)
def test_each_mode_is_what_its_name_says_of_the_tokens_that_count(mode: str, skip: int) -> None:
    rng = np.random.default_rng(0)
    states = rng.standard_normal((3, 5, 4)).astype(np.float32) - 2
    lengths = (5, 3, 4)
    mask = torch.tensor([[int(k < n) for k in range(5)] for n in lengths])
    found = pool(mode, torch.from_numpy(states), mask, skip).numpy()
    for row, n in enumerate(lengths):
        expected = EXPECTED[mode](states[row, skip:n], WEIGHTS[skip:n])
        np.testing.assert_allclose(found[row], expected, rtol=1e-6)
