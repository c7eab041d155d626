"""What the commands share in talking to people and machines."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from featcache.console import console, human_seconds, notes, print_json, safe, show_checks

if TYPE_CHECKING:
    from featcache import Selection
    from heads.head.protocol import Progress as Callback

__all__ = [
    "console",
    "metric_name",
    "next_command",
    "notes",
    "print_json",
    "probability",
    "safe",
    "score",
    "score_table",
    "show_checks",
    "show_grid",
    "show_steps",
    "vectors_of",
]

_LOG_SECONDS = 30.0
_SHOWN_OUTPUTS = 3
_TINY = 1e-6
_NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1_binary": "F1 of AI",
    "f1_macro": "F1 macro",
    "f1_weighted": "F1 weighted",
    "auc": "AUC",
    "average_precision": "average precision",
    "fpr": "false positive rate",
    "tpr": "true positive rate",
}
_TITLES = {"a": "A  real or AI", "b": "B  which generator", "joint": "A+B  verdict"}


def next_command(*words: object, **options: object) -> None:
    """Say what is natural to type next: words, and options of which those that are None are left out."""
    given = [word for name, value in options.items() if value is not None for word in (f"--{name}", value)]
    line = " ".join(shlex.quote(str(word)) for word in (*words, *given))
    console.print(f"Next: [bold]{safe(line)}[/]", soft_wrap=True)


def vectors_of(selection: Selection) -> str:
    """Say which vectors of a modality are meant: outputs, and the view where it is not the clean one."""
    names = selection.outputs
    shown = ", ".join(names) if len(names) <= _SHOWN_OUTPUTS else f"{names[0]} … {names[-1]} ({len(names)} outputs)"
    return shown if selection.view == "clean" else f"{shown}, view {selection.view}"


def score(value: float | None) -> str:
    """Return a score with three digits, or a dash where it is undefined."""
    return "–" if value is None else f"{value:.3f}"


def probability(p: float, digits: int = 3) -> str:
    """Return a probability with so many digits, or with as many more as tell it from 0 and from 1."""
    least = min(p, 1 - p)
    if 0 < least < 10**-digits:
        digits = 1 - math.floor(math.log10(least))
        return f"{p:.1e}" if p < _TINY else f"{p:.{digits}f}"
    return f"{p:.{digits}f}"


def metric_name(key: str) -> str:
    """Return what a figure is called for people."""
    return _NAMES.get(key, key)


def score_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """Set results beside each other: one column each, one line a metric, 80 columns wide at most.

    Parameters
    ----------
    results : mapping of title to mapping
        ``{"tasks": {name: metrics}, "joint": metrics}``; what a column lacks is left blank.
    """
    table = Table("task", "score", box=None, header_style="dim", pad_edge=False)
    for title in results:
        table.add_column(title, justify="right")
    sections = {
        title: {**found["tasks"], **({"joint": found["joint"]} if "joint" in found else {})}
        for title, found in results.items()
    }
    names = dict.fromkeys(name for section in sections.values() for name in section)
    for name in names:
        metrics = dict.fromkeys(metric for section in sections.values() for metric in section.get(name, {}))
        for index, metric in enumerate(metrics):
            values = [
                score(found[name][metric]) if metric in found.get(name, {}) else "" for found in sections.values()
            ]
            table.add_row("" if index else _TITLES.get(name, safe(name)), metric_name(metric), *values)
    return table


@contextmanager
def show_steps() -> Iterator[Callback]:
    """Show training steps on standard error while the block runs: a line every half minute if it is no terminal."""

    def describe(record: Mapping[str, Any]) -> str:
        return "training  " + "  ".join(
            f"{name} {_short(value)}" for name, value in record.items() if value is not None
        )

    if not notes.is_terminal:
        yield _lines_for_a_log(describe)
        return
    with Progress(TextColumn("{task.description}"), TimeElapsedColumn(), console=notes, transient=True) as bars:
        task = bars.add_task("training", total=None)
        yield lambda record: bars.update(task, description=describe(record))


@contextmanager
def show_grid() -> Iterator[Callback]:
    """Show how much of a grid is done and how long the rest may take, where and as `show_steps` does."""

    def describe(record: Mapping[str, Any]) -> str:
        heads = f"{record['n_done']}/{record['n_total']} heads  " if record["n_total"] else ""
        epoch = "" if record["epoch"] is None else f" epoch {record['epoch']}"
        rest = "" if record["eta"] is None else f"  about {human_seconds(record['eta'])} left"
        return f"{heads}{safe(record['what'])}{epoch}{rest}"

    if not notes.is_terminal:
        yield _lines_for_a_log(describe)
        return
    columns = (BarColumn(bar_width=20), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=notes, transient=True) as bars:
        task = bars.add_task("", total=None)
        yield lambda record: bars.update(
            task, completed=record["done"], total=record["total"] or None, description=describe(record)
        )


def _lines_for_a_log(describe: Callable[[Mapping[str, Any]], str]) -> Callback:
    """Return what prints a line of a record, if the last one was half a minute ago."""
    last = time.monotonic()

    def update(record: Mapping[str, Any]) -> None:
        nonlocal last
        if time.monotonic() - last >= _LOG_SECONDS:
            last = time.monotonic()
            notes.print(describe(record), soft_wrap=True, highlight=False)

    return update


def _short(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else safe(value)
