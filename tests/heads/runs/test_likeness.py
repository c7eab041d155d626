"""Laws of what a run keeps of its training pictures: it is read back as it was, with suspicion, and it is heard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from featcache import FeatureStore
from heads.errors import HeadsError
from heads.runs.likeness import MAX_BYTES, Likeness, parse_likeness
from heads.runs.predictions import predict, write_ct2
from heads.runs.run import Run, load_run
from heads.verdicts.novelty import NOVEL_UP_TO
from tests.heads.synthetic import Row, train_run, write_cache

UNSURE, WHY = "unsure", "unlike the training pictures"
Arrays = dict[str, np.ndarray]


def spoil(rows: list[Row]) -> None:
    """Move a few test pictures far away."""
    for row in [row for row in rows if row.split == "test"][:10]:
        row.image = row.image + 100


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    captions = {"train": 30, "valid": 200, "test": 16}
    folder = tmp_path_factory.mktemp("likeness") / "cache"
    return write_cache(folder, captions=captions, generators=("sd21", "sdxl"), edit=spoil)


@pytest.fixture(scope="module")
def run(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_run(store, tmp_path_factory.mktemp("likeness") / "run", head="linear")


def test_a_loaded_run_finds_the_same_pictures_novel(run: Run, store: FeatureStore) -> None:
    loaded, found = load_run(run.path), predict(run, store, "test").judgement
    assert loaded.likeness is not None and run.likeness is not None
    again = predict(loaded, store, "test").judgement
    assert found.novelty is not None and again.novelty is not None
    assert found.novelty.tolist() == again.novelty.tolist()
    assert len(run.likeness.novelty.held_out) == 100 and run.likeness.novelty.can_be_novel
    assert (run.path / "novelty.safetensors").stat().st_size <= MAX_BYTES


def test_pictures_far_away_are_novel_and_unsure_if_asked_for(run: Run, store: FeatureStore, tmp_path: Path) -> None:
    plain, careful = predict(run, store, "test"), predict(run, store, "test", abstain_novel=True)
    assert plain.judgement.is_unlike[:10].all() and plain.judgement.is_unlike[10:].mean() < 0.2
    for one, other, p in zip(plain.table()["pred_a"], careful.table()["pred_a"], plain.table()["novelty"], strict=True):
        assert other == (UNSURE if p <= NOVEL_UP_TO else one) and one != UNSURE
    assert set(careful.table()["pred_b"]) >= {UNSURE} and set(careful.table()["reason"]) == {None, WHY}
    with pytest.raises(HeadsError, match="--abstain novel leaves rows unsure"):
        write_ct2(careful, tmp_path / "answer.json")


def test_a_run_that_cannot_tell_says_nothing(run: Run, store: FeatureStore) -> None:
    early = replace(run, likeness=None)
    found = predict(early, store, "test", abstain_novel=True)
    assert "novelty" not in found.table() and UNSURE not in found.table()["pred_a"]
    assert not found.judgement.is_unlike.any()


def test_known_scores_are_those_of_both_parts_of_validation(run: Run) -> None:
    assert run.likeness is not None
    known, parts = run.likeness.known, [run.record.validation[name] for name in ("selecting", "calibrating")]
    assert len(known) == sum(part["n"] for part in parts) == 600 and len(np.unique(known.group)) == 200
    is_right = (known.p_ai >= run.threshold) == (known.y == 1)
    assert is_right.mean() == pytest.approx(np.mean([part["tasks"]["a"]["accuracy"] for part in parts]))


@pytest.mark.parametrize(
    "edit",
    [
        lambda arrays: arrays.pop("axes"),
        lambda arrays: arrays.update(more=np.zeros(1)),
        lambda arrays: arrays.update(axes=arrays["axes"].astype(np.float64)),
        lambda arrays: arrays.update(axes=arrays["axes"][:-1]),
        lambda arrays: arrays.update(axes=arrays["axes"][:, :0], centres=arrays["centres"][:, :0]),
        lambda arrays: arrays.update(centres=arrays["centres"][:, :-1]),
        lambda arrays: arrays.update(centres=arrays["centres"][:0]),
        lambda arrays: arrays.update(held_out=arrays["held_out"] * np.nan),
        lambda arrays: arrays.update(p_ai=arrays["p_ai"] + 1),
        lambda arrays: arrays.update(y=arrays["y"] + 5),
        lambda arrays: arrays.update(group=arrays["group"][:-1]),
    ],
)
def test_arrays_that_do_not_fit_are_refused(run: Run, edit: Callable[[Arrays], object]) -> None:
    data = (run.path / "novelty.safetensors").read_bytes()
    arrays = load(data)
    assert isinstance(parse_likeness(data, "x", n_columns=12), Likeness)
    edit(arrays)
    with pytest.raises(HeadsError, match=r"^x (holds|has)"):
        parse_likeness(save({name: np.ascontiguousarray(each) for name, each in arrays.items()}), "x", n_columns=12)
    with pytest.raises(HeadsError, match="not a safetensors file"):
        parse_likeness(data[:100], "x", n_columns=12)
