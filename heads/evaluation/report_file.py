"""What ``heads evaluate --out`` wrote, read again by whoever tells its figures; the file is not trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heads.errors import HeadsError
from heads.files.document import is_version, parse_document
from heads.files.folder import read_file
from heads.files.ranges import Range
from heads.statistics.intervals import Interval

__all__ = ["SECTIONS", "ReportFile", "ViewFigures", "read_reports"]

SECTIONS = ("decisions", "ranking", "probabilities")
_MAX_BYTES = 24 * 2**20
_COUNT, _NUMBER = Range(int, 0, 2**63 - 1), Range(float, -1e15, 1e15)


@dataclass(frozen=True)
class ViewFigures:
    """Figures of one view.

    Attributes
    ----------
    view : str
    n, n_groups : int
        Rows that were scored, and sets of rows that belong together.
    figures : mapping of section to mapping of name to Interval
        Of `SECTIONS`.
    """

    view: str
    n: int
    n_groups: int
    figures: Mapping[str, Mapping[str, Interval]]


@dataclass(frozen=True)
class ReportFile:
    """A detector on a split.

    Attributes
    ----------
    run_digest : str or None
        Of the run; None of scores of another program.
    dataset, split, point : str
        The last is the name of the operating point.
    prior : float or None
        Share of AI at which probabilities were judged.
    views : tuple of ViewFigures
    """

    run_digest: str | None
    dataset: str
    split: str
    point: str
    prior: float | None
    views: tuple[ViewFigures, ...]


def read_reports(path: Path) -> tuple[ReportFile, ...]:
    """Read the reports of one file, of each detector one.

    Raises
    ------
    HeadsError
        If it is no such file.
    """
    found = parse_document(read_file(path, _MAX_BYTES), str(path))
    try:
        return tuple(_parse(each) for each in (found if isinstance(found, list) else [found]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise HeadsError(f"{path} is no report: heads evaluate RUN --out {path} writes one") from error


def _parse(document: Any) -> ReportFile:
    if not is_version(document["format"], 1) or document["kind"] != "heads-evaluation":
        raise ValueError("another format")
    about = document["about"]
    digest, prior = about["run_digest"], about["prior"]
    return ReportFile(
        run_digest=None if digest is None else _text(digest),
        dataset=_text(about["dataset"]),
        split=_text(about["split"]),
        point=_text(about["point"]["name"]),
        prior=None if prior is None else _number(prior),
        views=tuple(_parse_view(view) for view in document["views"]),
    )


def _parse_view(view: Any) -> ViewFigures:
    figures = {
        section: {_text(name): _parse_interval(each) for name, each in view[section].items()} for section in SECTIONS
    }
    return ViewFigures(_text(view["view"]), _count(view["n"]), _count(view["n_groups"]), figures)


def _parse_interval(found: Any) -> Interval:
    estimate, low, high, level = (
        math.nan if found[name] is None else _number(found[name]) for name in ("estimate", "low", "high", "level")
    )
    return Interval(estimate, low, high, level, _count(found["n_groups"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _number(value: Any) -> float:
    if not _NUMBER.holds(value):
        raise ValueError("no number")
    return float(value)


def _count(value: Any) -> int:
    if not _COUNT.holds(value):
        raise ValueError("no count")
    return int(value)
