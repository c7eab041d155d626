"""Laws of detectors: a run and a file of its own answers say the same; what is no score is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featcache import FeatureStore
from heads.errors import HeadsError
from heads.evaluation.detectors import RunDetector, read_scores
from heads.evaluation.truth import read_truth
from heads.runs.predictions import predict, write_table
from heads.runs.run import Run
from tests.heads.synthetic import Row, train_run, write_cache


def edit(rows: list[Row]) -> None:
    test = [row for row in rows if row.split == "test"]
    test[3].picture = None
    test[4].label = None
    test[5].label = "ai"
    test[6].sample_id = 'a,"b"\nc'


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return write_cache(tmp_path_factory.mktemp("detectors") / "cache", edit=edit)


@pytest.fixture(scope="module")
def run(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_run(store, tmp_path_factory.mktemp("detectors") / "run", head="linear")


def test_the_truth_is_of_the_labelled_rows(store: FeatureStore) -> None:
    truth = read_truth(store, "test")
    assert (len(truth), truth.n_unlabelled, truth.n_groups) == (95, 1, 16)
    assert truth.generator[4] == "unknown" and truth.y[4] == 1
    assert set(truth.slices) == {"generator", "origin", "format", "size"}
    assert {*truth.slices["origin"].tolist()} == {"unknown"}


def test_a_truth_without_labels_is_refused(tmp_path: Path) -> None:
    def forget(rows: list[Row]) -> None:
        for row in rows:
            row.label = row.label if row.split != "test" else None

    with pytest.raises(HeadsError, match="none of the 96 rows of split 'test' is known to be real or AI"):
        read_truth(write_cache(tmp_path / "cache", edit=forget), "test")


def test_a_run_and_the_file_of_its_answers_say_the_same(run: Run, store: FeatureStore, tmp_path: Path) -> None:
    truth = read_truth(store, "test")
    own = RunDetector(run, store).score(truth, "clean", prior=None)
    write_table(predict(run, store, "test"), tmp_path / "p.csv")
    found = read_scores("other", tmp_path / "p.csv").score(truth, "clean", prior=None)
    assert own.rows.tolist() == found.rows.tolist() == [i for i in range(95) if i != 3]
    assert own.generators == found.generators and own.of_generator is not None and found.of_generator is not None
    assert np.allclose(own.raw, found.raw) and np.allclose(own.of_generator, found.of_generator, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,p_ai\na,1\n", "no column 'sample_id'"),
        ("sample_id,p_ai,p_ai\na,1,1\n", "two columns 'p_ai'"),
        ("sample_id,p_ai\n", "has no scores"),
        ("sample_id,p_ai\na,\n", "has no scores"),
        ("sample_id,p_ai\na,0.5\na,0.6\n", "two scores of sample 'a'"),
        ("sample_id,p_ai\na,nan\n", "p_ai of sample 'a' is 'nan', expected a number from 0 to 1"),
        ("sample_id,p_ai\na,1.5\n", "expected a number from 0 to 1"),
        ("sample_id,p_ai,p_sdxl\na,1\n", "p_sdxl of sample 'a' is None"),
        ('sample_id,p_ai\n"a,1\n', "no CSV file"),
        ("sample_id,p_ai\n\xff,1\n", "no CSV file"),
    ],
)
def test_what_is_no_score_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(HeadsError, match=message) as caught:
        read_scores("s", tmp_path / "s.csv")
    assert "\n" not in str(caught.value)


def test_scores_of_other_rows_are_refused(store: FeatureStore, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("sample_id,p_ai\nother,0.5\n")
    found = read_scores("s", tmp_path / "s.csv")
    with pytest.raises(HeadsError, match="has no score of any of the 95 labelled rows"):
        found.score(read_truth(store, "test"), "clean", prior=None)
    with pytest.raises(HeadsError, match=r"cannot be moved to 0\.1"):
        found.score(read_truth(store, "test"), "clean", prior=0.1)
    assert found.point(None).ai_from == 0.5
    with pytest.raises(HeadsError, match=r"no operating point 'strict', only 0\.5"):
        found.point("strict")
