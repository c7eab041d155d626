"""The bench of ablations runs through."""

from __future__ import annotations

import pytest

from benchmarks import bench_ablate
from benchmarks.bench_ablate import Shape, bench_screen


@pytest.mark.slow
def test_screening_is_measured_and_says_what_it_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_ablate, "time_plain_loop", lambda shape: 1.0)
    measures = bench_screen(Shape({"train": 60, "valid": 30}, 16, (4, 8), 2, 1), 1, None)
    assert len(measures) == 3 and measures[0].name.startswith("12 heads")
    assert "; full grid: dim " in measures[-1].note
