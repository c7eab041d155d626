"""Laws of operating points for scores of other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heads.errors import HeadsError
from heads.evaluation.calibrating import calibrate_scores
from heads.evaluation.detectors import ScoreFile
from heads.evaluation.truth import read_truth
from heads.statistics.intervals import clopper_pearson_upper
from heads.verdicts.guarantees import Demand
from tests.heads.synthetic import write_cache


def test_a_budget_is_kept_on_the_valid_rows_that_have_a_score(tmp_path: Path) -> None:
    store = write_cache(tmp_path / "cache", captions={"train": 2, "valid": 90, "test": 2})
    truth = read_truth(store, "valid")
    order = np.argsort(truth.sample_id)
    raw = np.random.default_rng(0).random(len(truth))
    scores = ScoreFile("theirs", tmp_path, truth.sample_id[order], raw[order], raw[order], None, ())
    point = calibrate_scores(scores, store, Demand(max_fpr=0.1))
    (promised,) = point.guarantees
    real = raw[truth.y == 0]
    assert point.name == "fpr-0.1" and (promised.rows, promised.n) == ("valid", 90)
    assert promised.n_errors == (real >= point.ai_from).sum()
    assert (
        promised.bound == pytest.approx(float(clopper_pearson_upper(promised.n_errors, 90))) and promised.bound <= 0.1
    )
    assert clopper_pearson_upper(promised.n_errors + 1, 90) > 0.1
    with pytest.raises(HeadsError, match="299"):
        calibrate_scores(scores, store, Demand(max_fpr=0.01))
