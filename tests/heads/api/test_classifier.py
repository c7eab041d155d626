"""Laws of the classifier: it is one of scikit-learn's, and with a real class a head of two questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from heads import DetectorClassifier
from heads.api.holding_out import hold_out
from heads.errors import HeadsError
from heads.verdicts.balanced import choose_balanced
from heads.verdicts.fitting import Scores

QUICK: dict[str, dict[str, Any]] = {
    "linear": {"strengths": [0.01, 1.0]},
    "gbdt": {"rounds": 15, "num_leaves": 7, "feature_fraction": 1.0},
    "mlp": {"dim": 32, "lr": 0.01, "epochs": 30},
    "ensemble": {"members": "linear,gbdt", "linear.strengths": [0.01], "gbdt.rounds": 15, "gbdt.feature_fraction": 1.0},
}
NAMES = np.array(["dalle3", "real", "sdxl", "sd21"])


def make_rows(n: int = 240, *, signal: float = 3.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw vectors, names of classes, and groups of four rows."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % 4
    X = rng.normal(size=(n, 6))
    X[np.arange(n), codes] += signal
    return X.astype(np.float32), NAMES[codes], np.arange(n) // 4


@pytest.mark.slow
@pytest.mark.parametrize("head", ["linear", "gbdt", pytest.param("mlp", marks=pytest.mark.slow)])
def test_without_a_real_class_it_passes_all_checks_of_scikit_learn(head: str) -> None:
    settings = QUICK["mlp"] if head == "mlp" else None
    told = check_estimator(DetectorClassifier(head, settings=settings), on_skip=None)
    skipped = {each["check_name"] for each in told if each["status"] == "skipped"}
    # It needs SCIPY_ARRAY_API to be set before scipy is imported, and is of estimators that take other arrays.
    assert len(told) > 40 and skipped <= {"check_array_api_input"}


@pytest.mark.parametrize("head", QUICK)
def test_with_a_real_class_columns_are_sorted_and_the_factors_are_those_of_the_head(head: str) -> None:
    X, y, groups = make_rows()
    found = DetectorClassifier(head, real="real", settings=QUICK[head]).fit(X, y, groups)
    proba, factors = found.predict_proba(X), found.head_.predict_proba(X).proba
    assert found.classes_.tolist() == sorted(NAMES) and [task.name for task in found.head_.tasks] == ["a", "b"]
    assert found.head_.tasks[1].classes == ("dalle3", "sd21", "sdxl")
    np.testing.assert_allclose(proba[:, 1], 1 - factors["a"], atol=1e-7)
    np.testing.assert_allclose(proba[:, [0, 2, 3]], factors["a"][:, None] * factors["b"], atol=1e-7)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    assert found.score(X, y) > 0.9 and proba.dtype == np.float32


def test_the_verdict_is_that_of_the_threshold_and_not_the_likeliest_class() -> None:
    X, y, groups = make_rows(signal=1.0)
    found = DetectorClassifier(real="real", settings=QUICK["linear"]).fit(X, y, groups)
    codes, numbers = np.searchsorted(found.classes_, y), np.unique(groups, return_inverse=True)[1]
    rows = hold_out(codes, numbers, share=0.2, calibrates=True, seed=0)
    factors = found.head_.predict_proba(X).proba
    is_other, held = (y != "real").astype(np.int64), rows.calibrate_rows
    scores = Scores(is_other[held], factors["a"][None, held], groups[held])
    assert found.threshold_ == choose_balanced(scores, prior=float(is_other[rows.fit_rows].mean()))
    others = np.array(found.head_.tasks[1].classes)[factors["b"].argmax(axis=1)]
    assert np.array_equal(found.predict(X), np.where(factors["a"] >= found.threshold_, others, "real"))
    assert (found.predict(X) != found.classes_[found.predict_proba(X).argmax(axis=1)]).any()


def test_one_class_beside_the_real_one_is_no_second_question() -> None:
    X, y, _ = make_rows()
    y = np.where(y == "real", 7, 3)
    found = DetectorClassifier(real=7).fit(X, y)
    assert found.classes_.tolist() == [3, 7] and len(found.head_.tasks) == 1 and found.score(X, y) > 0.9
    few = DetectorClassifier(real=7, held_out=0.5).fit(X[:6], np.array([3, 3, 7, 7, 7, 3]), groups=[0, 0, 1, 2, 2, 0])
    # All rows of 3 are of one group, so that none are left to calibrate with: 3 of the 5 that are fitted.
    assert few.threshold_ == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"real": "photo"}, r"^real is 'photo', which y does not have: its classes are 'dalle3', 'real', 'sd21', "),
        ({"head": "svm"}, r"^unknown kind of head 'svm'"),
        ({"settings": {"dim": 3}}, r"^unknown setting 'dim' of head 'linear'"),
        ({"held_out": 0.9}, r"^held_out is 0.9, expected a number from 0.01 to 0.5$"),
        ({"head": "mlp", "settings": {"loss": "joint"}}, r"^joint classes need a binary task"),
        (
            {"head": lambda _: object()},
            r"is of kind None, expected a name other than mlp, linear, lda, gbdt, ensemble$",
        ),
        ({"head": lambda _: object(), "settings": {"x": 1}}, r"^settings are those of a kind of heads"),
    ],
)
def test_what_cannot_be_fitted_is_told(changes: dict[str, Any], message: str) -> None:
    X, y, _ = make_rows(40)
    with pytest.raises(HeadsError, match=message):
        DetectorClassifier(**changes).fit(X, y)


@pytest.mark.slow
def test_it_is_searched_validated_and_chained_with_groups() -> None:
    X, y, groups = make_rows()
    made = DetectorClassifier(real="real", settings=QUICK["linear"])
    assert cross_val_score(made, X, y, params={"groups": groups}, cv=3).min() > 0.8
    with sklearn.config_context(enable_metadata_routing=True):
        asking = clone(made).set_fit_request(groups=True)
        scores = cross_val_score(asking, X, y, params={"groups": groups}, cv=GroupKFold(3))
        assert scores.min() > 0.8
        chain = make_pipeline(StandardScaler(), asking)
        grid = {"detectorclassifier__settings": [{"strengths": [1e-9]}, {"strengths": [1.0]}]}
        search = GridSearchCV(chain, grid, cv=GroupKFold(3)).fit(X, y, groups=groups)
    assert search.best_params_ == {"detectorclassifier__settings": {"strengths": [1.0]}}
    frame = pd.DataFrame(X, columns=[f"v{i}" for i in range(6)])
    named = clone(made).fit(frame, y)
    with pytest.raises(ValueError, match="feature names should match"):
        named.predict(frame.rename(columns={"v0": "w"}))
    with pytest.raises(ValueError, match="X has 5 features, but DetectorClassifier is expecting 6"):
        clone(made).fit(X, y).predict(X[:, :5])


def test_groups_reach_the_rows_that_are_held_out(tmp_path: Path) -> None:
    X, y, groups = make_rows(120, signal=0.5)
    alone, grouped = (DetectorClassifier(seed=1).fit(X, y, given).head_ for given in (None, groups))
    assert not np.array_equal(alone.predict_proba(X).proba["class"], grouped.predict_proba(X).proba["class"])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        DetectorClassifier().fit(X, y, groups[:-1])
