"""Laws of labels that look wrong: flipped ones are found and counted, and ceilings are what right answers score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from heads.audit.evidence import Vectors
from heads.audit.labels import audit_labels, confident_classes
from heads.audit.noise import Converter
from heads.audit.rows import AuditRows, read_rows
from heads.data.tasks import Targets
from heads.errors import HeadsError
from heads.head.metrics import balanced_accuracy, binary_metrics
from tests.heads.audit.made_up import write_store
from tests.heads.synthetic import Row

N_FLIPPED = 24


def flip(rows: list[Row]) -> None:
    """Label two in 25 of the rows that are not of test as their opposites."""
    for number, row in enumerate(row for row in rows if row.split != "test"):
        if number % 25 in (0, 7):
            row.label = "sdxl" if row.label == "real" else "real"


@pytest.fixture(scope="module")
def flipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[AuditRows, Vectors]:
    store = write_store(tmp_path_factory.mktemp("labels") / "cache", edit=flip)
    rows = read_rows(store)
    arrays = store.read(rows.numbers, selections={"image": store.select("image")})
    return rows, Vectors("image", arrays.present["image"], arrays.features["image"])


def truth(rows: AuditRows) -> np.ndarray:
    return np.array([not name.endswith("-real") for name in rows.features.sample_id.tolist()], np.int64)


def test_labels_that_were_flipped_are_found_and_counted(flipped: tuple[AuditRows, Vectors]) -> None:
    rows, vectors = flipped
    task = rows.features.tasks[0]
    paths = np.array([f"/there/{name}.png" for name in rows.features.sample_id.tolist()])
    found = audit_labels(vectors, rows, paths, task)
    assert found is not None and found.is_told
    y = rows.y(task)
    wrong = {*rows.features.sample_id[truth(rows) != y].tolist()}
    assert len(wrong) == N_FLIPPED
    named = [each.sample_id for each in found.candidates]
    assert {*named} <= wrong and len(named) >= 17
    margins = [each.p_looks_like - each.p_labelled for each in found.candidates]
    assert margins == sorted(margins, reverse=True)
    assert found.wrong.low <= N_FLIPPED / 300 <= found.wrong.high
    first = found.candidates[0]
    assert first.path == f"/there/{first.sample_id}.png" and first.p_looks_like > first.p_labelled
    assert sum(each.n for each in found.classes) == found.n == 300
    assert sum(each.n_candidates for each in found.classes) == len(named)


def test_ceilings_are_what_right_answers_score_on_these_labels(flipped: tuple[AuditRows, Vectors]) -> None:
    rows, vectors = flipped
    task = rows.features.tasks[0]
    found = audit_labels(vectors, rows, np.full(len(rows), ""), task)
    assert found is not None
    y, right = rows.y(task), truth(rows)
    scores = binary_metrics(y, right.astype(np.float64), 0.5)
    for name in ("accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "auc"):
        assert found.ceilings[name].estimate == pytest.approx(scores[name], abs=0.05), name
    assert balanced_accuracy(y, right) == pytest.approx(scores["auc"])


def test_a_head_that_knows_nothing_tells_no_share(flipped: tuple[AuditRows, Vectors]) -> None:
    rows, _ = flipped
    noise = np.random.default_rng(0).normal(size=(len(rows), 4)).astype(np.float32)
    for task in rows.features.tasks:
        found = audit_labels(Vectors("noise", np.ones(len(rows), np.bool_), noise), rows, np.full(len(rows), ""), task)
        assert found is not None and not found.is_told


def test_a_head_is_sure_of_what_it_is_as_sure_of_as_in_the_rows_of_the_class() -> None:
    y = np.array([0, 0, 1, 1, 1])
    proba = np.array([[0.9, 0.1, 0], [0.5, 0.5, 0], [0.2, 0.8, 0], [0.4, 0.6, 0], [0.8, 0.2, 0]])
    thresholds, sure = confident_classes(y, proba)
    np.testing.assert_allclose(thresholds, [0.7, 1.6 / 3, np.nan])
    assert sure.tolist() == [0, 3, 1, 1, 0]


@pytest.mark.parametrize(
    ("wrong", "n_classes", "measured", "clean"),
    [(0.5, 6, 0.4888, 0.972), (0.5, 6, 0.1, 0.0), (0.0, 2, 0.7, 0.7), (0.1, 2, 0.9, 1.0)],
)
def test_an_accuracy_on_wrong_labels_is_converted(wrong: float, n_classes: int, measured: float, clean: float) -> None:
    converter = Converter.build(wrong, n_classes)
    assert converter is not None and converter.convert(measured) == pytest.approx(clean)


def test_the_converter_holds_where_wrong_labels_spread_evenly() -> None:
    rng = np.random.default_rng(0)
    n, k = 200_000, 5
    y = rng.integers(0, k, n)
    said = np.where(rng.random(n) < 0.8, y, (y + rng.integers(1, k, n)) % k)
    labels = np.where(rng.random(n) < 0.3, (y + rng.integers(1, k, n)) % k, y)
    converter = Converter.build(0.3, k)
    assert converter is not None and converter.convert(float((said == labels).mean())) == pytest.approx(0.8, abs=0.01)


def test_labels_no_better_than_chance_stand_for_nothing() -> None:
    assert Converter.build(0.5, 2) is None and Converter.build(0.8, 5) is None
    with pytest.raises(HeadsError, match="share of wrong labels is"):
        Converter.build(1.5, 2)


def test_one_class_has_no_wrong_labels_to_tell(flipped: tuple[AuditRows, Vectors]) -> None:
    rows, vectors = flipped
    targets = Targets({"a": np.zeros(len(rows), np.int64)}, {"a": np.ones(len(rows), np.bool_)})
    alone = replace(rows, features=replace(rows.features, targets=targets))
    assert audit_labels(vectors, alone, np.full(len(rows), ""), rows.features.tasks[0]) is None
