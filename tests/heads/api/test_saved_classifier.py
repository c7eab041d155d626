"""Laws of classifiers on disk: what is read predicts the same bit for bit, and a spoilt folder is refused."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pytest

from heads import DetectorClassifier
from heads.errors import HeadsError
from heads.files.contents import Contents
from heads.head.protocol import Prediction
from tests.heads.api.test_classifier import QUICK, make_rows
from tests.heads.hostile import spoil


class Shares:
    """Its own head: how often a class occurred."""

    kind = "shares"

    def __init__(self, tasks: Any) -> None:
        self.tasks = tuple(tasks)

    def fit(self, X: Any, targets: Any, *, select: Any, seed: int = 0) -> Self:
        self.shares = (np.bincount(targets.y["class"]) / len(X)).tolist()
        return self

    def predict_proba(self, X: Any) -> Prediction:
        return Prediction({"class": np.tile(np.array(self.shares, dtype=np.float32), (len(X), 1))})


class SavedShares(Shares):
    def save(self, folder: Path) -> None:
        (folder / "shares.json").write_text(json.dumps([self.tasks[0].classes, self.shares]))

    @classmethod
    def load(cls, contents: Contents) -> Self:
        from heads.data.tasks import Task

        classes, shares = json.loads(contents.read("shares.json", limit=10_000))
        head = cls([Task("class", "multiclass", tuple(classes))])
        head.shares = shares
        return head


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    X, y, groups = make_rows()
    path = tmp_path_factory.mktemp("saved") / "linear"
    DetectorClassifier(real="real", settings=QUICK["linear"]).fit(X, y, groups).save(path)
    return path


@pytest.mark.parametrize("head", QUICK)
@pytest.mark.parametrize("real", [None, "real"])
def test_what_is_read_predicts_the_same_bit_for_bit(head: str, real: str | None, tmp_path: Path) -> None:
    X, y, _ = make_rows()
    frame = pd.DataFrame(X, columns=list("abcdef"))
    made = DetectorClassifier(head, real, settings=QUICK[head], held_out=0.3, seed=5).fit(frame, y)
    made.save(str(tmp_path / "c"))
    read = DetectorClassifier.load(str(tmp_path / "c"))
    assert read.get_params() == made.get_params() and read.threshold_ == made.threshold_
    assert np.array_equal(read.predict_proba(frame), made.predict_proba(frame))
    assert np.array_equal(read.predict(frame), made.predict(frame)) and read.feature_names_in_.tolist() == [*"abcdef"]
    endings = {path.suffix for path in (tmp_path / "c").rglob("*") if path.is_file()}
    assert endings <= {".json", ".safetensors", ".txt"}
    with pytest.raises(HeadsError, match="exists already"):
        made.save(tmp_path / "c")
    made.save(tmp_path / "c", overwrite=True)


@pytest.mark.parametrize("names", [["a", "b", "c"], [3, 1, 2], [2.0, 1.0, 3.0], [True, False, True]])
def test_classes_keep_their_type(names: list[Any], tmp_path: Path) -> None:
    X, _, _ = make_rows(60)
    y = np.array(names)[np.arange(60) % 3]
    DetectorClassifier(settings=QUICK["linear"]).fit(X, y).save(tmp_path / "c")
    read = DetectorClassifier.load(tmp_path / "c")
    assert read.classes_.dtype.kind == y.dtype.kind and read.classes_.tolist() == sorted(set(names))


def test_a_head_of_ones_own_is_kept_by_its_own_word(tmp_path: Path) -> None:
    X, y, _ = make_rows(60)
    with pytest.raises(HeadsError, match=r"^a head of kind 'shares' cannot be saved"):
        DetectorClassifier(Shares).fit(X, y).save(tmp_path / "c")
    made = DetectorClassifier(partial(SavedShares)).fit(X, y)
    made.save(tmp_path / "c")
    with pytest.raises(HeadsError, match=r"of kind 'shares', none of mlp, linear, lda, gbdt, ensemble: name its class"):
        DetectorClassifier.load(tmp_path / "c")
    read = DetectorClassifier.load(tmp_path / "c", head=SavedShares)
    assert np.array_equal(read.predict_proba(X), made.predict_proba(X))
    with pytest.raises(HeadsError, match="no part of what is to be replaced"):
        made.save(tmp_path / "c", overwrite=True)  # only files that heads itself writes are deleted


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("format", 2, "is no heads-classifier of format 1"),
        ("real", 4, "has real 4, expected the place of one of 4 classes"),
        ("real", None, "has a threshold without a real class"),
        ("threshold", 1.5, "has a malformed threshold: 1.5"),
        ("classes", {"dtype": "O", "values": ["a", "b"]}, "has malformed classes"),
        ("classes", {"dtype": "str", "values": ["b", "a"]}, "has classes that are not sorted"),
        ("classes", {"dtype": "str", "values": ["a", "b", "real", "z"]}, "name different classes"),
        ("files", {"head/../classifier.json": "0"}, "has a malformed files"),
        ("feature_names", ["a"], "has a malformed feature_names"),
        ("files", {}, "that classifier.json does not list"),
        ("more", 1, "has other keys than"),
    ],
)
def test_a_record_that_is_not_right_is_refused(
    saved: Path, tmp_path: Path, name: str, value: object, message: str
) -> None:
    shutil.copytree(saved, tmp_path / "c")
    record = json.loads((saved / "classifier.json").read_text())
    (tmp_path / "c" / "classifier.json").write_text(json.dumps(record | {name: value}))
    with pytest.raises(HeadsError, match=message):
        DetectorClassifier.load(tmp_path / "c")


@pytest.mark.parametrize("n", [60, pytest.param(700, marks=pytest.mark.soak)])
def test_a_spoilt_folder_is_used_or_refused(saved: Path, tmp_path: Path, n: int) -> None:
    X, n_refused = make_rows(8)[0], 0
    for seed in range(n):
        spoil(saved, tmp_path / "c", seed)
        try:
            DetectorClassifier.load(tmp_path / "c").predict(X)
        except (HeadsError, ValueError) as error:
            n_refused += 1
            assert "\n" not in str(error)
        shutil.rmtree(tmp_path / "c")
    assert n / 2 < n_refused < n
