"""Laws of operating points for scores of another program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heads.errors import HeadsError
from heads.evaluation.detectors import read_scores
from heads.evaluation.file_points import calibrate_scores
from heads.verdicts.guarantees import Demand, allowed_errors
from tests.heads.synthetic import write_cache


def write_scores(path: Path, values: dict[str, float]) -> Path:
    path.write_text("sample_id,p_ai\n" + "".join(f"{name},{value}\n" for name, value in values.items()))
    return path


def test_the_point_is_of_all_valid_rows_that_have_a_score_and_of_no_others(tmp_path: Path) -> None:
    captions = {"train": 2, "valid": 130, "test": 2}
    store = write_cache(tmp_path / "cache", captions=captions, generators=("sdxl",), modalities=("image",))
    rng = np.random.default_rng(0)
    values = {str(name): float(rng.random()) for name in store.sample_id}
    del values["valid-000-sdxl"]
    found = calibrate_scores(read_scores("x", write_scores(tmp_path / "s.csv", values)), store, Demand(max_fpr=0.05))
    (promise,) = found.point.guarantees
    assert (found.n, found.n_missing, promise.n, promise.rows) == (259, 1, 130, "valid")
    real = [p for name, p in values.items() if name.startswith("valid") and name.endswith("real")]
    assert sum(p >= found.point.ai_from for p in real) == promise.n_errors == allowed_errors(130, 0.05, 0.95)
    others = {name: 1.0 for name in values if not name.startswith("valid")}
    again = read_scores("x", write_scores(tmp_path / "t.csv", values | others))
    assert calibrate_scores(again, store, Demand(max_fpr=0.05), name="mine").point.ai_from == found.point.ai_from
    with pytest.raises(HeadsError, match=r"needs 299 real rows .* found 130 among the valid rows"):
        calibrate_scores(again, store, Demand(max_fpr=0.01))
    with pytest.raises(HeadsError, match="--by origin needs a column"):
        calibrate_scores(again, store, Demand(max_fpr=0.1, by_origin=True))
