"""What a model card says of reports: figures, promises, and what the pictures of each were."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from heads.commands.guarantee_lines import kept
from heads.commands.likeness_lines import describe_set, describe_statement
from heads.commands.report import (
    PlainTable,
    escape,
    figure_name,
    markdown,
    rates_table,
    show_interval,
    show_number,
)
from heads.evaluation.report_file import SECTIONS

if TYPE_CHECKING:
    from heads.evaluation.report_file import ReportFile, ViewFigures

__all__ = ["describe_figures", "plain", "table"]

_LINKS = re.compile(r"[~$@]|:(?=//)|(?<=www)\.", re.I)


def describe_figures(reports: Sequence[ReportFile]) -> str:
    """Return the figures of reports, each with what its rows say of promises and of themselves."""
    if not reports:
        return "None were given (`heads evaluate RUN --out F.json`, `heads card RUN --report F.json`)."
    parts = []
    for report in reports:
        parts += [_of_view(report, view) for view in report.views]
        told = [f"- {plain(each)}" for each in _told(report)]
        parts += ["\n".join([*told, ""])] if told else []
    note = "A: real or AI. B: which generator, of AI pictures. A+B: real, or which generator."
    return "\n".join([*parts, note])


def plain(text: str) -> str:
    """Return a name of somebody else's that means itself in Markdown, and becomes no link."""
    return _unlinked(escape(text))


def table(title: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a table as Markdown, in which names become no links."""
    lines = markdown([PlainTable(title, header, tuple(rows))]).split("\n")
    return "\n".join(_unlinked(line) if line.strip("|-: ") else line for line in lines)


def _of_view(report: ReportFile, view: ViewFigures) -> str:
    where = f"Split {report.split} of {report.dataset}, view {view.view}"
    rows = [
        (_name(name), show_number(found.estimate), show_interval(found))
        for section in SECTIONS
        for name, found in view.figures[section].items()
    ]
    title = f"{where}: {view.n:,} rows in {view.n_groups:,} groups, point {report.point}"
    parts = [table(title, ("", "found", "95 % interval"), rows)]
    for by, values in view.rates.items():
        rates = rates_table(f"{where}, by {by}", by, values)
        parts.append(table(rates.title, rates.header, rates.rows))
    return "\n".join(parts)


def _told(report: ReportFile) -> Iterator[str]:
    """Say of the rows of a report what its figures alone do not."""
    others = sorted({each["dataset"] for each in report.promises} - {report.dataset})
    if others:
        yield (
            f"What point {report.point} promises is of pictures like those of data set {', '.join(others)}, not of "
            f"those of {report.dataset}"
        )
    yield from filter(None, map(kept, report.promises))
    if report.set_told is not None:
        headline, rest = describe_set(report.set_told)
        yield f"{headline}{rest and f': {rest}'}; {describe_statement(report.set_told['statement'])}"
        auc = (report.set_told["effect_size"] or {}).get("auc")
        if auc is not None:
            yield f"Told from calibrating rows: AUC {auc['estimate']:.3f}; 0.5 is chance. It is no alarm"
    if report.n_unseen:
        yield f"{report.n_unseen:,} rows are of a generator that this head does not know: they count for A alone"


def _name(name: str) -> str:
    try:
        return figure_name(name)
    except KeyError:  # of another version
        return name


def _unlinked(text: str) -> str:
    return _LINKS.sub(lambda found: "\\" + found[0], text)
