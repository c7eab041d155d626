"""Laws of the figures of an evaluation: each is what plain Python and scikit-learn say it is, with an interval."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from heads.evaluation.figures import Figures, measure_all
from heads.evaluation.slices import measure_slices
from heads.evaluation.truth import Truth
from heads.statistics.intervals import Interval
from heads.verdicts.points import OperatingPoint
from tests.heads.evaluation.made_up import GENERATORS, KNOWN, draw_figures, draw_scores, draw_truth

UNSURE = OperatingPoint("both", "clean", 0.7, 0.4)


def reference(figures: Figures) -> dict[str, float]:
    """Every figure, slowly."""
    y, raw, point = figures.truth.y.tolist(), figures.scored.raw.tolist(), figures.point
    said = [1 if p >= point.ai_from else 0 if p < point.real_below else 2 for p in raw]
    real = [s for s, t in zip(said, y, strict=True) if t == 0]
    ai = [s for s, t in zip(said, y, strict=True) if t == 1]
    shares = figures.scored.of_generator
    assert shares is not None
    truth_b = [KNOWN.index(g) if g in KNOWN else -1 for g in figures.truth.generator.tolist()]
    rows_b = [i for i, code in enumerate(truth_b) if code >= 0]
    y_b, said_b = [truth_b[i] for i in rows_b], [int(shares[i].argmax()) for i in rows_b]
    rows = [i for i in range(len(y)) if y[i] == 0 or truth_b[i] >= 0]
    y_joint = [0 if y[i] == 0 else 1 + truth_b[i] for i in rows]
    said_joint = [{0: 0, 1: 1 + int(shares[i].argmax()), 2: 9}[said[i]] for i in rows]
    labels, of_joint = [0, 1], [0, 1, 2]
    f1: dict[str, Any] = {"labels": labels, "zero_division": 0}
    return {
        "fpr": real.count(1) / len(real),
        "tpr": ai.count(1) / len(ai),
        "precision": ai.count(1) / (ai.count(1) + real.count(1)),
        "balanced_accuracy": (real.count(0) / len(real) + ai.count(1) / len(ai)) / 2,
        "accuracy": metrics.accuracy_score(y, said),
        "f1_binary": metrics.f1_score(y, said, labels=[1], average="macro"),
        "f1_macro": metrics.f1_score(y, said, average="macro", **f1),
        "f1_weighted": metrics.f1_score(y, said, average="weighted", **f1),
        "unsure": said.count(2) / len(said),
        "auc": metrics.roc_auc_score(y, raw),
        "average_precision": metrics.average_precision_score(y, raw),
        "partial_auc_0.05": metrics.roc_auc_score(y, raw, max_fpr=0.05),
        **{f"tpr_at_fpr_{fpr}": best_tpr(y, raw, fpr) for fpr in (0.01, 0.05)},
        "nll": metrics.log_loss(y, np.clip(raw, 1e-7, 1 - 1e-7)),
        "brier": metrics.brier_score_loss(y, raw),
        "b_accuracy": metrics.accuracy_score(y_b, said_b),
        "b_f1_macro": metrics.f1_score(y_b, said_b, average="macro"),
        "b_f1_weighted": metrics.f1_score(y_b, said_b, average="weighted"),
        "joint_accuracy": metrics.accuracy_score(y_joint, said_joint),
        "joint_f1_macro": metrics.f1_score(y_joint, said_joint, labels=of_joint, average="macro"),
        "joint_f1_weighted": metrics.f1_score(y_joint, said_joint, labels=of_joint, average="weighted"),
        "b_nll": -np.mean([math.log(shares[i, truth_b[i]]) for i in rows_b]),
    }


def best_tpr(y: list[int], raw: list[float], fpr: float) -> float:
    n = [y.count(0), y.count(1)]
    rates = [[sum(p >= t for p, c in zip(raw, y, strict=True) if c == k) / n[k] for k in (0, 1)] for t in [*raw, 2.0]]
    return max(rate[1] for rate in rates if rate[0] <= fpr)


@pytest.mark.parametrize("point", [OperatingPoint("balanced", "clean", 0.5, 0.5), UNSURE])
def test_every_figure_is_that_of_a_slow_reference(point: OperatingPoint) -> None:
    figures = draw_figures(point)
    found = {name: each for part in measure_all(figures).values() for name, each in part.items()}
    expected = reference(figures)
    if not point.abstains:
        del expected["unsure"]
    assert found.keys() - expected.keys() == {"ece", "b_ece", "b_brier"}
    for name, value in expected.items():
        assert found[name].estimate == pytest.approx(value, abs=1e-6), name


def test_every_figure_has_an_interval_over_the_groups_it_rests_on() -> None:
    figures = draw_figures()
    y, groups = figures.truth.y, figures.truth.groups
    of_class = [len({*groups[y == code].tolist()}) for code in (0, 1)]
    few = {"tpr_at_fpr_0.01", "tpr_at_fpr_0.05", "partial_auc_0.05"}  # of 1 or 5 % of 40 groups
    for part in measure_all(figures).values():
        for name, each in part.items():
            assert math.isnan(each.low) if name in few else each.low < each.estimate < each.high, name
    found = measure_all(figures)
    assert found["decisions"]["fpr"].n_groups == of_class[0]
    assert found["decisions"]["tpr"].n_groups == of_class[1]
    assert found["ranking"]["auc"].n_groups == min(of_class)


def test_probabilities_are_judged_at_a_stated_prior() -> None:
    plain, rare = draw_figures(), draw_figures(prior=0.1)
    y, p = rare.truth.y, rare.scored.p_ai
    losses = -np.log(np.where(y == 1, p, 1 - p).clip(1e-7))
    expected = 0.1 * losses[y == 1].mean() + 0.9 * losses[y == 0].mean()
    assert measure_all(rare)["probabilities"]["nll"].estimate == pytest.approx(expected)
    assert measure_all(rare)["ranking"] == measure_all(plain)["ranking"]
    ours, theirs = measure_all(rare)["decisions"], measure_all(plain)["decisions"]
    tpr, fpr, precision = (ours[name].estimate for name in ("tpr", "fpr", "precision"))
    assert precision == pytest.approx(0.1 * tpr / (0.1 * tpr + 0.9 * fpr))
    del ours["precision"], theirs["precision"]
    assert ours == theirs


@pytest.mark.parametrize("kept", [0, 1])
def test_of_one_class_the_figures_of_both_are_undefined(kept: int) -> None:
    truth = draw_truth()
    rows = truth.y == kept
    figures = Figures(truth.select(rows), draw_scores(truth).select(np.flatnonzero(rows)), UNSURE, 0.1)
    found = measure_all(figures)
    assert math.isnan(found["ranking"]["auc"].estimate)
    assert math.isnan(found["decisions"]["tpr" if kept == 0 else "fpr"].estimate)
    assert not math.isnan(found["probabilities"]["nll"].estimate)
    assert [word for words in figures.confusion().values() for word in words] == ["real", "ai", "unsure"] * 2


def test_a_detector_without_generators_has_no_figures_of_them() -> None:
    figures = draw_figures()
    plain = replace(figures, scored=replace(figures.scored, of_generator=None, generators=()))
    names = {name for part in measure_all(plain).values() for name in part}
    assert not any(name.startswith(("b_", "joint_")) for name in names)
    assert plain.floors().keys() == {"ece"} and figures.floors().keys() == {"ece", "b_ece"}


def test_rates_are_those_of_each_value() -> None:
    figures = draw_figures()
    found = measure_slices(figures, "generator")
    assert list(found) == ["real", *sorted(GENERATORS)]
    truth, is_ai = figures.truth, figures.scored.raw >= 0.5
    for name, rates in found.items():
        rows = truth.generator == name
        kind, other = ("fpr", "tpr") if name == "real" else ("tpr", "fpr")
        assert other not in rates and rates["n"] == rows.sum()
        each = rates[kind]
        assert isinstance(each, Interval) and each.low < each.estimate < each.high
        assert each.estimate == pytest.approx(is_ai[rows].mean())
        p = figures.scored.p_ai[rows]
        assert rates["nll"] == pytest.approx(-np.mean(np.log(1 - p if name == "real" else p)))
        assert rates["n_groups"] == each.n_groups == len({*truth.groups[rows].tolist()})


def test_rows_of_one_group_say_nothing_of_others() -> None:
    truth = draw_truth()
    alone = Truth(truth.split, truth.sample_id, truth.y, np.zeros(len(truth), np.int64), truth.slices, 0)
    found = measure_all(Figures(alone, draw_scores(alone), UNSURE, None))
    assert all(math.isnan(each.low) for part in found.values() for each in part.values())
