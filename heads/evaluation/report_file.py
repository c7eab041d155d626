"""What ``heads evaluate --out`` wrote, read again by whoever tells its figures; the file is not trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heads.errors import HeadsError
from heads.evaluation.slices import Slice
from heads.files.document import is_version, parse_document
from heads.files.folder import read_file
from heads.files.ranges import Range
from heads.runs.set_statement import SET_STATES
from heads.statistics.intervals import Interval

__all__ = ["SECTIONS", "ReportFile", "ViewFigures", "read_reports"]

SECTIONS = ("decisions", "ranking", "probabilities")
_RATES = ("fpr", "tpr", "unsure")
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
    rates : mapping of slice to mapping of value to Slice
        By generator, origin, format or size, as far as it was asked for: ``n``, ``n_groups`` and rates.
    """

    view: str
    n: int
    n_groups: int
    figures: Mapping[str, Mapping[str, Interval]]
    rates: Mapping[str, Mapping[str, Slice]] = field(default_factory=dict)


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
    promises : tuple of mapping
        As `heads.evaluation.promises.keep_promises` gives them; early reports have none.
    set_told : mapping or None
        ``statement``, ``effect_size`` and ``set_state``; None where nothing was said of the set.
    n_unseen : int
        Rows of a generator that the head does not know.
    """

    run_digest: str | None
    dataset: str
    split: str
    point: str
    prior: float | None
    views: tuple[ViewFigures, ...]
    promises: tuple[Mapping[str, Any], ...] = ()
    set_told: Mapping[str, Any] | None = None
    n_unseen: int = 0


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
        promises=tuple(map(_parse_promise, about.get("promises", ()))),
        set_told=_parse_set(about) if about.get("set_state") is not None else None,
        n_unseen=_count(about.get("n_unseen", 0)),
    )


def _parse_promise(found: Any) -> Mapping[str, Any]:
    if found["rate"] not in ("fpr", "fnr") or not (found["contradicts"] is None or _is_bool(found["contradicts"])):
        raise ValueError("no promise")
    observed = None if found["observed"] is None else _parse_interval(found["observed"]).to_dict()
    counts = {name: _count(found[name]) for name in ("n", "n_errors")}
    if found["contradicts"] is not None and (observed is None or observed["low"] is None):
        raise ValueError("nothing was observed")
    told = {"dataset": _text(found["dataset"]), "budget": _number(found["budget"]), "observed": observed}
    return {"rate": found["rate"], "contradicts": found["contradicts"], **counts, **told}


def _parse_set(about: Any) -> Mapping[str, Any]:
    statement, effect = about["statement"], about["effect_size"]
    if about["set_state"] not in SET_STATES or not _is_bool(statement["is_unlike"]):
        raise ValueError("no statement")
    figures = {name: _number(statement[name]) for name in ("distance", "null", "share")}
    compared = {name: _text(statement["compared_with"][name]) for name in ("dataset", "rows", "view")}
    auc = None if effect is None or effect["auc"] is None else {"estimate": _number(effect["auc"]["estimate"])}
    return {
        "statement": {"n": _count(statement["n"]), **figures, "compared_with": compared},
        "effect_size": {"auc": auc},
        "set_state": about["set_state"],
    }


def _parse_view(view: Any) -> ViewFigures:
    figures = {
        section: {_text(name): _parse_interval(each) for name, each in view[section].items()} for section in SECTIONS
    }
    rates = {
        _text(by): {_text(value): _parse_slice(found) for value, found in values.items()}
        for by, values in view.get("by", {}).items()
    }
    return ViewFigures(_text(view["view"]), _count(view["n"]), _count(view["n_groups"]), figures, rates)


def _parse_slice(found: Any) -> Slice:
    rates = {name: _parse_interval(found[name]) for name in _RATES if name in found}
    return {"n": _count(found["n"]), "n_groups": _count(found["n_groups"]), **rates}


def _parse_interval(found: Any) -> Interval:
    estimate, low, high, level = (
        math.nan if found[name] is None else _number(found[name]) for name in ("estimate", "low", "high", "level")
    )
    return Interval(estimate, low, high, level, _count(found["n_groups"]))


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


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
