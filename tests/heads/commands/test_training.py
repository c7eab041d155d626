"""Laws of what commands look up in the cache of training: what is not asked for is left out and told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from heads.commands.likeness_lines import print_effect
from heads.commands.training import Training
from heads.errors import HeadsError
from heads.runs.judge_options import JudgeOptions
from tests.heads.synthetic import train_run, write_cache


def test_without_the_cache_the_effect_size_is_left_out_and_it_is_said_what_to_type(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = write_cache(tmp_path / "cache", captions={"train": 12, "valid": 8, "test": 4})
    run, rows = train_run(store, tmp_path / "run", head="linear"), np.arange(len(store))
    gone = replace(run, record=replace(run.record, source={"cache": str(tmp_path / "gone"), "dataset": "synthetic"}))
    training = Training.find(gone, None)
    found = training.effect_size(store, rows, {"share": 0.5})
    assert found is not None and found["auc"] is None and "--train-cache DIR" in found["note"]
    assert training.effect_size(store, rows, None) is None
    assert training.with_neighbours(JudgeOptions(), None) == JudgeOptions()
    told = Training.find(run, None).effect_size(store, rows, {"share": 0.5})
    assert told is not None and told["note"] is None and told["auc"]["estimate"] > 0
    assert Training.find(run, None).effect_size(store, rows[:1], {"share": 0.5}) == {
        **dict.fromkeys(("n", "n_known", "share", "auc", "dataset")),
        "note": "of too few groups of rows nothing can be said",
    }
    for given, is_needed in ((tmp_path / "nowhere", False), (None, True)):
        with pytest.raises(HeadsError, match="is not there"):
            Training.find(gone, given, is_needed=is_needed)
    for each in (None, found, {**told, "n_known": 1000}):
        print_effect(each)
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == "  How far they are from calibrating rows is left out:" and second.strip() == found["note"]
    assert third.startswith("  Told from 1,000 calibrating rows: AUC 0.") and len(third) <= 80
