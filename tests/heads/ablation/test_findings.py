"""Laws of findings: what a difference shows alone it need not show among many."""

from __future__ import annotations

import numpy as np
import pytest

from heads.ablation.findings import Contrast, Finding, find_edges, weigh
from heads.ablation.grid import Cell

IMAGE = Cell("mlp", "image")
FUSIONS = ("concat", "gated", "mlb", "logit-mean")


def resampled(estimate: float, se: float = 0.01) -> np.ndarray:
    """A score on the rows as they are, and resamples that spread by exactly this standard error."""
    spread = np.tile([-1.0, 1.0], 500)
    return np.append(estimate, estimate + spread * se / spread.std(ddof=1))


def weigh_fusions(estimates: dict[str, float], *, n_groups: int = 100) -> dict[str, Finding]:
    cells = {fusion: Cell("mlp", fusion) for fusion in estimates}
    scores = {IMAGE: np.full(1001, 0.7)}
    scores |= {cells[fusion]: resampled(0.7 + gain) for fusion, gain in estimates.items()}
    contrasts = [Contrast(cell, IMAGE) for cell in cells.values()]
    return {finding.fusion: finding for finding in weigh(contrasts, scores, n_groups=n_groups)}


@pytest.mark.parametrize(("gain", "alone", "among"), [(0.023, "gain", "no gain"), (-0.023, "worse", "no gain")])
def test_a_difference_that_holds_alone_needs_more_among_four(gain: float, alone: str, among: str) -> None:
    assert weigh_fusions({"concat": gain})["concat"].verdict == alone
    found = weigh_fusions({"concat": gain, **dict.fromkeys(FUSIONS[1:], 0.0)})
    assert {finding.verdict for finding in found.values()} == {among}
    # Student's t with 99 degrees of freedom at 2.3 / √(100 / 99), both sides, times four.
    assert found["concat"].sentence.endswith("could show (p = 0.097 among 4, by Holm)")
    clear = weigh_fusions({"concat": 2 * gain, **dict.fromkeys(FUSIONS[1:], 0.0)})
    assert clear["concat"].verdict == alone and clear["mlb"].verdict == "no gain"
    assert "Holm" not in weigh_fusions({"concat": gain})["concat"].sentence


def test_few_groups_show_less() -> None:
    assert weigh_fusions({"concat": 0.023}, n_groups=5)["concat"].verdict == "no gain"
    found = weigh_fusions({"concat": 0.5}, n_groups=1)["concat"]
    assert found.verdict == "no gain" and "no gain that these rows could show" in found.sentence


def test_the_best_setting_at_an_end_of_its_grid_is_told() -> None:
    axes = {"dim": (32, 64, 128), "lr": (1e-4, 1e-3, 1e-2), "weight_decay": (0.0, 0.1)}
    found = list(find_edges(Cell("mlp", "image", dim=128, lr=1e-4, weight_decay=0.1), axes))
    assert [finding.verdict for finding in found] == ["edge", "edge"]
    assert found[0].sentence == "mlp image: its best dim 128 is the largest of the grid: try others by --dims"
    assert found[1].sentence == "mlp image: its best lr 0.0001 is the smallest of the grid: try others by --lrs"
    inside = Cell("mlp", "image", dim=64, lr=1e-3, weight_decay=0.0)  # of two values each is an end
    assert not list(find_edges(inside, axes)) and not list(find_edges(Cell("linear", "image"), axes))


def test_nothing_is_found_where_nothing_is_compared() -> None:
    assert list(weigh([], {}, n_groups=10)) == []
