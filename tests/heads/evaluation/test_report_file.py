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


PROMISE = {
    "rate": "fpr",
    "budget": 0.01,
    "dataset": "photos",
    "n": 190,
    "n_errors": 3,
    "observed": INTERVAL.to_dict(),
    "contradicts": False,
}
SET = {
    "statement": {
        "n": 40,
        "distance": 0.2,
        "null": 0.1,
        "share": 0.5,
        "is_unlike": True,
        "compared_with": {"dataset": "photos", "rows": "validation", "view": "clean"},
    },
    "effect_size": {"auc": {"estimate": 0.9, "low": None, "high": None}, "dataset": "photos", "note": None},
    "set_state": "scores-unlike",
}


def told_report() -> dict[str, Any]:
    """The same with what later versions say of rows."""
    report = make_report()
    report["about"] |= {"promises": [PROMISE], "n_unseen": 100, **SET}
    report["views"][0]["by"] = {"generator": {"sdxl": {"n": 9, "n_groups": 7, "tpr": INTERVAL.to_dict(), "nll": 0.1}}}
    return report


def test_what_is_told_of_rows_is_read_and_early_reports_tell_nothing(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps([told_report(), make_report()]))
    found, early = read_reports(tmp_path / "r.json")
    assert (found.promises, found.n_unseen) == ((PROMISE,), 100) and (early.promises, early.n_unseen) == ((), 0)
    assert found.set_told is not None and found.set_told["set_state"] == "scores-unlike" and early.set_told is None
    assert found.views[0].rates == {"generator": {"sdxl": {"n": 9, "n_groups": 7, "tpr": INTERVAL}}}
    assert early.views[0].rates == {}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda report: report["about"].update(promises=[{**PROMISE, "rate": "x"}]),
        lambda report: report["about"].update(promises=[{**PROMISE, "contradicts": 1}]),
        lambda report: report["about"].update(promises=[{**PROMISE, "observed": None}]),
        lambda report: report["about"].update(promises=7),
        lambda report: report["about"].update(n_unseen="many"),
        lambda report: report["about"].update(set_state="fine"),
        lambda report: report["about"].update(statement=None),
        lambda report: report["about"].update(effect_size={"auc": 0.5}),
        lambda report: report["views"][0].update(by=[1]),
        lambda report: report["views"][0]["by"]["generator"].update(sdxl={"n": 1}),
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
    report = told_report()
    spoil(report)
    (tmp_path / "r.json").write_text(json.dumps(report))
    with pytest.raises(HeadsError, match=r"r\.json (is no report|is not JSON)"):
        read_reports(tmp_path / "r.json")
