"""What is shown while something takes long."""

from __future__ import annotations

import pytest

from heads.commands import render


@pytest.mark.parametrize(("seconds", "shown"), [(0.0, True), (3600.0, False)])
def test_a_log_gets_a_line_of_what_takes_long(
    seconds: float, shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(render, "_LOG_SECONDS", seconds)
    with render.show_grid() as grid, render.show_steps() as steps:
        counts = {"done": 1.0, "total": 4.0, "n_done": 2, "n_total": 8}
        grid({**counts, "what": "mlp concat, seed 0", "epoch": 3, "eta": 120.0})
        steps({"epoch": 3, "loss": 0.25, "score": None})
    found = capsys.readouterr()
    lines = "2/8 heads  mlp concat, seed 0 epoch 3  about 2 min left\ntraining  epoch 3  loss 0.2500\n"
    assert (found.err, found.out) == (lines if shown else "", "")
