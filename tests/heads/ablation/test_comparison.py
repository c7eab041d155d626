"""Laws of the comparison: what is said of a fusion is what its intervals allow."""

from __future__ import annotations

import numpy as np
import pytest

from heads.ablation.bootstrap import count_groups
from heads.ablation.comparison import HeadScore, compare
from heads.ablation.controls import LABELS_SHUFFLED, TEXT_SHUFFLED
from heads.ablation.findings import Finding
from heads.ablation.grid import Cell, CellOutputs, Grid
from heads.data.tasks import build_targets, default_tasks

TASKS = default_tasks([])
N_GROUPS = 60


def head(
    fusion: str, error: float, *, control: str | None = None, seed: int = 0, dim: int = 8, outputs: CellOutputs = ()
) -> HeadScore:
    """A head that is wrong in a share of its rows, the same ones as any other that is wrong as often."""
    y = np.tile([0, 1], N_GROUPS * 3)
    rng = np.random.default_rng(seed)
    decisions = np.where(rng.random(len(y)) < error, 1 - y, y)
    targets = build_targets(TASKS, {"a": y})
    counts = count_groups({"a": decisions}, targets, tasks=TASKS, groups=np.arange(len(y)) // 6)
    score = float(counts.scores(np.ones((1, N_GROUPS)))[0])
    cell = Cell("mlp", fusion, dim, control=control, outputs=outputs)
    return HeadScore(cell, seed, score, score, None, None, 10, 3.0, 1.0, counts)


def findings(*heads: HeadScore) -> dict[str, Finding]:
    return {finding.fusion: finding for finding in compare(heads, Grid())[1]}


def test_a_gain_that_shuffled_text_lacks_is_a_gain() -> None:
    found = findings(head("image", 0.3), head("concat", 0.1), head("concat", 0.3, control=TEXT_SHUFFLED))
    assert found["concat"].verdict == "gain"
    assert "against shuffled text" in found["concat"].sentence


def test_a_gain_that_shuffled_text_shows_too_is_no_gain_from_the_text() -> None:
    found = findings(head("image", 0.3), head("concat", 0.1), head("concat", 0.1, control=TEXT_SHUFFLED))
    assert found["concat"].verdict == "not from the text"
    assert "no gain that comes from the text" in found["concat"].sentence


@pytest.mark.parametrize(("error", "verdict"), [(0.3, "no gain"), (0.45, "worse"), (0.1, "gain")])
def test_without_a_control_the_interval_decides(error: float, verdict: str) -> None:
    assert findings(head("image", 0.3), head("spectral", error))["spectral"].verdict == verdict


def test_without_image_nothing_is_said_of_gains() -> None:
    table, found = compare([head("concat", 0.1), head("text", 0.5)], Grid())
    assert found == ()
    assert [line.difference for line in table] == [None, None]


@pytest.mark.parametrize(("error", "is_leak"), [(0.5, False), (0.45, False), (0.2, True)])
def test_a_head_that_learns_shuffled_labels_well_is_a_leak(error: float, is_leak: bool) -> None:
    found = findings(head("image", 0.1), head("image", error, control=LABELS_SHUFFLED))
    assert ("image" in found) == is_leak
    if is_leak:
        assert found["image"].verdict == "leak"


def test_the_best_of_each_fusion_is_compared_but_lines_only_with_their_own_settings() -> None:
    heads = [head("image", 0.4, dim=4), head("image", 0.2, dim=8), head("concat", 0.2, dim=4)]
    table, (finding,) = compare(heads, Grid())
    lines = {(line.cell.fusion, line.cell.dim): line for line in table}
    difference = lines["concat", 4].difference
    assert difference is not None
    assert difference.estimate == pytest.approx(lines["concat", 4].score - lines["image", 4].score)
    assert lines["image", 4].difference is None
    assert finding.verdict == "no gain"


def test_lines_are_means_over_seeds() -> None:
    heads = [head("image", 0.3, seed=seed) for seed in range(3)]
    (line,), _ = compare(heads, Grid())
    scores = [found.score for found in heads]
    assert line.n_seeds == 3
    assert line.score == pytest.approx(np.mean(scores))
    assert line.scores["score_sd"] == pytest.approx(np.std(scores, ddof=1))
    assert line.to_dict()["vs_image"] is None


@pytest.mark.parametrize(("error", "verdict"), [(0.3, "no gain"), (0.45, "worse"), (0.1, "gain")])
def test_outputs_are_set_against_the_first_and_fusions_against_image_with_the_same(error: float, verdict: str) -> None:
    grid = Grid(outputs={"image": ("cls", "mean")})
    cls, mean, none = ((("image", outputs),) for outputs in ("cls", "mean", None))
    heads = [head("image", 0.3, outputs=cls), head("image", error, outputs=mean)]
    heads += [head("concat", 0.2, outputs=mean), head("text", 0.4, outputs=none)]
    table, found = compare(heads, grid)
    first, other, concat, text = table
    assert first.from_first is first.difference is other.difference is concat.from_first is text.from_first is None
    assert other.from_first is not None and concat.difference is not None and text.difference is not None
    assert other.from_first.estimate == pytest.approx(other.score - first.score)
    assert concat.difference.estimate == pytest.approx(concat.score - other.score)
    assert text.difference.estimate == pytest.approx(text.score - first.score)
    assert other.to_dict()["vs_first"] == other.from_first.estimate and other.to_dict()["image_outputs"] == "mean"
    (told,) = [finding for finding in found if finding.fusion == "image"]
    assert told.verdict == verdict and told.sentence.startswith("mlp image mean: ")
    assert "against image cls: " in told.sentence
    assert [*told.to_dict()] == ["head", "fusion", "image_outputs", "verdict", "sentence"]


def test_each_choice_of_outputs_has_its_own_controls() -> None:
    grid = Grid(outputs={"image": ("cls", "mean")})
    cls, mean = ((("image", outputs),) for outputs in ("cls", "mean"))
    heads = [head("image", 0.1, outputs=cls), head("image", 0.1, outputs=mean)]
    heads += [head("image", 0.5, outputs=cls, control=LABELS_SHUFFLED)]
    heads += [head("image", 0.2, outputs=mean, control=LABELS_SHUFFLED)]
    (leak,) = [finding for finding in compare(heads, grid)[1] if finding.verdict == "leak"]
    assert leak.outputs == mean and leak.sentence.startswith("mlp image mean scores")


def test_differences_that_rest_on_one_group_have_no_bounds() -> None:
    y = np.repeat([0, 1], [8, 2])
    targets = build_targets(TASKS, {"a": y})
    counts = [
        count_groups({"a": said}, targets, tasks=TASKS, groups=np.minimum(np.arange(10), 8)) for said in (y, 1 - y)
    ]
    heads = [
        HeadScore(Cell("mlp", fusion), 0, float(score), None, None, None, 10, 3.0, 1.0, found)
        for fusion, score, found in zip(("concat", "image"), (1, 0), counts, strict=True)
    ]
    table, (finding,) = compare(heads, Grid())
    line = table[0].to_dict()
    assert (line["vs_image"], line["vs_image_low"], line["vs_image_high"]) == (1, None, None)
    assert finding.verdict == "no gain"
