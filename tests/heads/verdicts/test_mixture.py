"""Laws of the statement on a set: known mixtures are left alone, other scores are not."""

from __future__ import annotations

import numpy as np
import pytest

from heads.verdicts.mixture import LEAST_SET, KnownScores, _end_or_share, _nearest, state_set


def scores(n_real: int, n_ai: int, *, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    z = np.concatenate([rng.normal(-2 + shift, 1.5, n_real), rng.normal(2 - shift, 1.5, n_ai)])
    y = np.repeat([0, 1], [n_real, n_ai])
    return (1 / (1 + np.exp(-z))).astype(np.float32), y


def known(n: int = 150, *, seed: int = 0) -> KnownScores:
    p_ai, y = scores(n, n, seed=seed)
    return KnownScores(p_ai, y, np.arange(2 * n))


@pytest.mark.slow
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 1])
def test_a_mixture_of_known_scores_is_like_them_at_any_share(share: float) -> None:
    n, found = 200, []
    for seed in range(40):
        p_ai, _ = scores(n - round(share * n), round(share * n), seed=1000 + seed)
        found.append(state_set(p_ai, known(seed=seed), seed=seed))
    alarms = [each is not None and each.is_unlike for each in found]
    assert np.mean(alarms) <= 0.15  # 40 draws at 5 %: more than six have a probability of 1 %
    assert abs(np.median([each.share for each in found if each]) - share) < 0.1


def test_scores_that_no_share_gives_are_not() -> None:
    p_ai, _ = scores(100, 100, seed=1, shift=1.5)
    found = state_set(p_ai, known())
    assert found is not None and found.is_unlike
    assert found.distance > found.null and found.p_value < 0.05 and (found.n, found.n_known) == (200, 300)
    assert found == state_set(p_ai, known())


def test_the_distance_is_the_least_over_all_shares() -> None:
    p_ai, _ = scores(60, 40, seed=2, shift=0.7)
    reference = known()
    edges = np.unique(reference.p_ai)

    def up_to(values: np.ndarray) -> np.ndarray:
        return np.searchsorted(np.sort(values), edges, "right") / len(values)

    real, ai = (up_to(reference.p_ai[reference.y == code]) for code in (0, 1))
    shares = np.linspace(0, 1, 2001)
    slow = min(np.abs(up_to(p_ai) - (1 - w) * real - w * ai).max() for w in shares)
    found = state_set(p_ai, reference)
    assert found is not None and found.distance == pytest.approx(slow, abs=1e-3) and found.distance <= slow + 1e-9


def test_the_nearest_share_is_found_at_either_end() -> None:
    apart = np.linspace(0, -0.5, 9)
    distance, share = _nearest(np.stack([-apart, 2 * apart, 0.3 * apart]), apart)
    assert share == pytest.approx([0, 1, 0.3], abs=1e-6) and distance == pytest.approx([0.5, 0.5, 0], abs=1e-6)


def test_a_share_that_can_hardly_be_told_from_an_end_is_tried_there() -> None:
    assert [_end_or_share(share, 100) for share in (0, 0.1, 0.11, 0.5, 0.89, 0.95)] == [0, 0, 0.11, 0.5, 0.89, 1]


def test_few_groups_widen_what_is_expected() -> None:
    p_ai, y = scores(150, 150, seed=0)
    single = state_set(p_ai, KnownScores(p_ai, y, np.arange(300)))
    grouped = state_set(p_ai, KnownScores(p_ai, y, np.arange(300) // 50))
    assert single is not None and grouped is not None and grouped.null > 1.5 * single.null


def test_nothing_is_said_of_few_pictures_or_by_one_group() -> None:
    p_ai, y = scores(30, 30, seed=0)
    assert state_set(p_ai[: LEAST_SET - 1], known()) is None
    assert state_set(p_ai, KnownScores(p_ai, y, np.where(y == 1, 0, np.arange(60)))) is None
    assert state_set(p_ai, KnownScores(p_ai[:30], y[:30], np.arange(30))) is None


def test_thinned_rows_are_whole_groups() -> None:
    p_ai, y = scores(60, 60, seed=0)
    thin = KnownScores(p_ai, y, np.arange(120) // 10).thin(30)
    assert len(thin) == 30 and np.unique(thin.group, return_counts=True)[1].tolist() == [10, 10, 10]
    assert len(known().thin(300)) == 300
