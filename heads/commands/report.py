"""How evaluations and comparisons are shown: the same tables for a terminal of 80 columns and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table

from featcache.console import printable
from heads.commands.render import console, safe

if TYPE_CHECKING:
    from heads.evaluation.comparison import Comparison
    from heads.evaluation.report import Report, ViewReport
    from heads.evaluation.slices import Slice
    from heads.statistics.intervals import Interval

__all__ = [
    "NAMES",
    "PlainTable",
    "comparison_tables",
    "escape",
    "figure_name",
    "markdown",
    "print_tables",
    "rates_table",
    "report_tables",
    "show_interval",
    "show_number",
]

NAMES = {
    "fpr": "false positive rate",
    "tpr": "true positive rate",
    "balanced_accuracy": "balanced accuracy",
    "precision": "precision of AI",
    "accuracy": "accuracy",
    "f1_binary": "F1 of AI",
    "f1_macro": "F1 macro",
    "f1_weighted": "F1 weighted",
    "unsure": "unsure",
    "auc": "AUC",
    "average_precision": "average precision",
    "tpr_at_fpr_0.01": "TPR at 1 % FPR",
    "tpr_at_fpr_0.05": "TPR at 5 % FPR",
    "partial_auc_0.05": "partial AUC, to 5 %",
    "nll": "log loss",
    "brier": "Brier score",
    "ece": "calibration error",
}
_TASKS = {"b": "B", "joint": "A+B"}
_SECTIONS = {"decisions": "Decisions", "ranking": "Ranking", "probabilities": "Probabilities"}
_OF_VIEWS = {
    "decisions": ("fpr", "tpr", "balanced_accuracy", "b_f1_macro"),
    "ranking": ("auc", "average_precision", "tpr_at_fpr_0.05"),
    "probabilities": ("nll", "brier", "ece", "b_nll"),
}
_SHORT = {"fpr": "FPR", "tpr": "TPR", "balanced_accuracy": "bal. acc.", "average_precision": "AP"}


@dataclass(frozen=True)
class PlainTable:
    """A table of texts; columns but the first are numbers.

    Attributes
    ----------
    title : str
    header : tuple of str
    rows : tuple of tuple of str
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def report_tables(report: Report, reference: Mapping[str, float] | None = None) -> list[PlainTable]:
    """Lay out a report.

    Parameters
    ----------
    report : Report
    reference : mapping, optional
        Metrics of calling everything AI, to stand beside the figures of one view.
    """
    if len(report.views) == 1:
        tables = list(_one_view(report.views[0], reference or {}))
    else:
        tables = list(_several_views(report.views))
    for view in report.views:
        named = f", view {view.view}" if len(report.views) > 1 else ""
        for by, values in view.rates.items():
            tables.append(rates_table(f"By {by}{named}", by, values))
    return tables


def comparison_tables(found: Comparison) -> list[PlainTable]:
    """Lay out a comparison: a table for each detector but the first, and each view."""
    first = found.names[0]
    tables = []
    for pair in dict.fromkeys((each.detector, each.view) for each in found.differences):
        rows = tuple(
            (
                figure_name(each.figure),
                show_number(each.first),
                show_number(each.other),
                "–" if math.isnan(each.difference.estimate) else f"{each.difference.estimate:+.3f}",
                _signed(each.difference),
                _p_value(each.p_value),
                each.verdict if each.verdict in ("better", "worse") else "not shown",
            )
            for each in found.differences
            if (each.detector, each.view) == pair
        )
        header = ("", "first", "other", "less", "95 % interval", "p", "")
        tables.append(PlainTable(f"{pair[0]} less {first}, view {pair[1]}", header, rows))
    return tables


def figure_name(name: str) -> str:
    """Return what people call a figure."""
    task, _, own = name.partition("_")
    if task in _TASKS:
        return f"{_TASKS[task]} {NAMES[own]}"
    return NAMES[name]


def show_interval(interval: Interval) -> str:
    """Return the ends of an interval, or a dash where nothing can be said."""
    if math.isnan(interval.low):
        return "–"
    return f"{interval.low:.3f} – {interval.high:.3f}"


def print_tables(tables: Sequence[PlainTable]) -> None:
    """Print tables for people."""
    for table in tables:
        shown = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 1, 0, 0))
        for number, title in enumerate(table.header):
            # Not cut: two names that differ at their ends must not look alike.
            shown.add_column(safe(title), justify="right" if number else "left", overflow="fold")
        for row in table.rows:
            shown.add_row(*(safe(cell) for cell in row))
        console.print()
        console.print(f"[bold]{safe(table.title)}[/]", soft_wrap=True)
        console.print(shown)


def markdown(tables: Sequence[PlainTable]) -> str:
    """Return tables as Markdown; nothing that names of others hold becomes markup."""
    parts = []
    for table in tables:
        lines = [table.header, tuple("---:" if number else "---" for number in range(len(table.header))), *table.rows]
        marked = [
            "| " + " | ".join(cell if number == 1 else escape(cell) for cell in line) + " |"
            for number, line in enumerate(lines)
        ]
        parts.append("\n".join([f"**{escape(table.title)}**", "", *marked, ""]))
    return "\n".join(parts)


def _one_view(view: ViewReport, reference: Mapping[str, float]) -> Iterator[PlainTable]:
    for section, figures in view.figures.items():
        beside = {name: show_number(value) for name, value in reference.items()} if section != "probabilities" else {}
        beside |= {name: f"{floor:.3f} by chance" for name, floor in view.floors.items()}
        rows = [
            (figure_name(name), show_number(interval.estimate), show_interval(interval), beside.get(name, ""))
            for name, interval in figures.items()
        ]
        header = ("", "found", "95 % interval", "always AI" if section != "probabilities" and reference else "")
        has_fourth = any(row[3] for row in rows)
        yield PlainTable(
            _SECTIONS[section], header if has_fourth else header[:3], tuple(r if has_fourth else r[:3] for r in rows)
        )
    words = list(view.confusion["real"])
    counts = tuple((name, *(f"{said[word]:,}" for word in words)) for name, said in view.confusion.items())
    yield PlainTable("Rows by class and verdict", ("", *(f"called {word}" for word in words)), counts)
    if view.decided is not None:
        decided = tuple(
            (figure_name(name), show_number(interval.estimate), show_interval(interval))
            for name, interval in view.decided.items()
            if name != "unsure"
        )
        yield PlainTable("Decisions where it is not unsure", ("", "found", "95 % interval"), decided)
    risks = tuple(
        (f"{share * 100:g} %", show_number(risk.estimate), show_interval(risk)) for share, risk in view.risk_coverage
    )
    yield PlainTable(
        "Errors of A where only the surest rows are decided", ("share decided", "wrong", "95 % interval"), risks
    )


def _several_views(views: Sequence[ViewReport]) -> Iterator[PlainTable]:
    for section, wanted in _OF_VIEWS.items():
        figures = views[0].figures[section]
        # Four columns have room; where verdicts may be unsure, that is the one to see.
        names = [name for name in wanted if name in figures and not ("unsure" in figures and name == "b_f1_macro")]
        names += ["unsure"] if "unsure" in figures else []
        rows = [(view.view, *(_short(view.figures[section][name]) for name in names)) for view in views]
        header = ["view", *(_SHORT.get(name, figure_name(name)) for name in names)]
        yield PlainTable(_SECTIONS[section], tuple(header), tuple(rows))
    flips = [(view.view, _short(view.flips)) for view in views if view.flips is not None]
    yield PlainTable(f"Verdicts on A that differ from those of view {views[0].view}", ("view", "share"), tuple(flips))


def rates_table(title: str, by: str, values: Mapping[str, Slice]) -> PlainTable:
    """Lay out the rates of rows by a slice, as `heads.evaluation.slices.measure_slices` returns them."""
    has_unsure = any("unsure" in rates for rates in values.values())
    names = ("fpr", "tpr", "unsure") if has_unsure else ("fpr", "tpr")
    rows = [
        (
            value,
            f"{rates['n']:,}",
            f"{rates['n_groups']:,}",
            *(_rate(rates.get(name), is_short=has_unsure) for name in names),
        )
        for value, rates in values.items()
    ]
    titles = ("real called AI", "AI called AI", "unsure")[: len(names)]
    return PlainTable(title, (by, "rows", "groups", *titles), tuple(rows))


def _rate(value: Interval | float | None, *, is_short: bool) -> str:
    if value is None:
        return ""
    assert not isinstance(value, int | float)
    return _short(value) if is_short else f"{value.estimate:.3f} ({show_interval(value)})"


def _short(interval: Interval) -> str:
    """Return a figure and its interval in fifteen columns."""
    if math.isnan(interval.low):
        return show_number(interval.estimate)
    low, high = (f"{end:.2f}".removeprefix("0") for end in (interval.low, interval.high))
    return f"{interval.estimate:.3f} {low}–{high}"


def _signed(interval: Interval) -> str:
    return "–" if math.isnan(interval.low) else f"{interval.low:+.3f} – {interval.high:+.3f}"


def _p_value(p: float) -> str:
    return "< .001" if p < 0.001 else f"{p:.3f}"


def show_number(value: float) -> str:
    """Return a figure with three digits, or a dash where it is undefined."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def escape(text: str) -> str:
    """Return a text that means itself in Markdown: of one line, without markup."""
    plain = printable(" ".join(text.split()))
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>|#!&" else sign for sign in plain)
