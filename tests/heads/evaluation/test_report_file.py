"""Laws of reports that are read again: figures as they were written, or one line that says that it is no report."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heads.errors import HeadsError
from heads.evaluation.report_file import SECTIONS, read_reports
from heads.statistics.intervals import Interval

INTERVAL = Interval(0.5, 0.25, 0.75, 0.95, 7)
UNKNOWN = Interval(0.5, math.nan, math.nan, 0.95, 1)


def make_report(digest: str | None = "d" * 64, view: str = "clean") -> dict[str, Any]:
    """What ``heads evaluate --out`` writes, of one figure a section."""
    about = {"run_digest": digest, "dataset": "photos", "split": "test", "point": {"name": "balanced"}, "prior": 0.5}
    figures = {section: {"auc": INTERVAL.to_dict(), "nll": UNKNOWN.to_dict()} for section in SECTIONS}
    return {
        "format": 1,
        "kind": "heads-evaluation",
        "about": about,
        "views": [{"view": view, "n": 9, "n_groups": 7, **figures}],
    }


def test_figures_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps([make_report(), make_report(None, "jpeg:50")]))
    first, second = read_reports(path)
    assert (first.dataset, first.split, first.point, first.prior) == ("photos", "test", "balanced", 0.5)
    assert (first.run_digest, second.run_digest) == ("d" * 64, None)
    (view,) = second.views
    assert (view.view, view.n, view.n_groups) == ("jpeg:50", 9, 7)
    assert view.figures["ranking"]["auc"] == INTERVAL
    assert view.figures["ranking"]["nll"].to_dict() == UNKNOWN.to_dict()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda report: report.update(format=2),
        lambda report: report.update(kind="heads-run"),
        lambda report: report.pop("about"),
        lambda report: report.update(views=[7]),
        lambda report: report["about"].update(split=None),
        lambda report: report["about"].update(point="balanced"),
        lambda report: report["views"][0].update(ranking=[]),
        lambda report: report["views"][0].update(n=True),
        lambda report: report["views"][0]["ranking"].update(auc={**INTERVAL.to_dict(), "estimate": "1"}),
        lambda report: report["views"][0]["ranking"].update(auc={**INTERVAL.to_dict(), "low": 10**400}),
    ],
)
def test_what_is_malformed_is_refused(spoil: Callable[[dict[str, Any]], Any], tmp_path: Path) -> None:
    report = make_report()
    spoil(report)
    (tmp_path / "r.json").write_text(json.dumps(report))
    with pytest.raises(HeadsError, match=r"r\.json (is no report|is not JSON)"):
        read_reports(tmp_path / "r.json")
