"""What commands print of operating points and of sets of generators: what is decided, and what is promised of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from heads.commands.render import console, metric_name, probability, safe, score

if TYPE_CHECKING:
    from rich.console import Console

    from heads.data.tasks import Task
    from heads.verdicts.points import Guarantee, OperatingPoint
    from heads.verdicts.sets import GeneratorSets

__all__ = [
    "called_words",
    "kept",
    "other_notes",
    "other_views",
    "print_folds",
    "print_kept",
    "print_point",
    "print_promises",
    "print_sets",
    "told_point",
]

_CALLED = {"fpr": ("real", "AI"), "fnr": ("AI", "real")}


def told_point(point: OperatingPoint) -> dict[str, Any]:
    """Return what ``--json`` says of a point: the point, and the least number of draws for each budget."""
    return {**point.to_json(), "least_n": {g.rate: _needed(g) for g in point.guarantees}}


def print_point(point: OperatingPoint, *, n_points: int, column: str | None = None) -> None:
    """Say what an operating point decides and what it promises; of a column of scores exactly: nothing keeps it."""
    if column is not None:
        unsure = f", real where {column} < {point.real_below!r}, unsure between" if point.abstains else ""
        told = f"Operating point [bold]{safe(point.name)}[/]: AI where {column} >= {point.ai_from!r}{unsure}"
    else:
        unsure = f", real below {probability(point.real_below, 4)}, unsure between" if point.abstains else ""
        told = (
            f"Operating point [bold]{safe(point.name)}[/], view {safe(point.view)}: AI from a raw P(AI) of "
            f"{probability(point.ai_from, 4)} on{unsure}"
        )
    console.print(told)
    for each in point.guarantees:
        _print_guarantee(each)
    if len(point.guarantees) > 1 and not point.abstains:
        console.print("One threshold keeps both; bounds are of the errors allowed, not of those made")
    console.print(
        "[dim]This holds for pictures like those of these rows"
        + (", and for each point of a run by itself[/]" if n_points > 1 else "[/]")
    )


def print_promises(
    point: OperatingPoint,
    views: Sequence[str],
    *,
    dataset: str | None = None,
    split: str | None = None,
    on: Console = console,
) -> None:
    """Say in a line each what was promised of a point, and of what that is looked at it was not.

    Parameters
    ----------
    point : OperatingPoint
    views : sequence of str
        That are looked at.
    dataset, split : str, optional
        Of the rows that are looked at, if they are of a cache.
    on : Console
    """
    for each in point.guarantees:
        on.print(f"[dim]Promised: {_promise(each)}[/]")
        says = "" if len(point.guarantees) > 1 else "; “{}” says: not called {}".format(*_CALLED[each.rate])
        on.print(f"[dim]{_expected(each)}{says}[/]", highlight=False)
    for note in other_notes(point, views, dataset=dataset, split=split):
        on.print(f"[yellow]Note:[/] {safe(note)}")


def other_notes(
    point: OperatingPoint, views: Sequence[str], *, dataset: str | None = None, split: str | None = None
) -> list[str]:
    """Return how what is looked at differs from what a point promises something of; as of `print_promises`."""
    return list(filter(None, (other_views(point, views), _other_rows(point, dataset, split))))


def print_kept(found: Sequence[Mapping[str, Any]]) -> None:
    """Say of each promise whether labelled rows contradict it.

    Parameters
    ----------
    found : sequence of mapping
        As `heads.evaluation.promises.keep_promises` returns them.
    """
    for each in found:
        if told := kept(each):
            console.print(f"[dim]{safe(told)}[/]", highlight=False)


def kept(found: Mapping[str, Any]) -> str | None:
    """Return what labelled rows say of a promise; None where there are none, or too few groups for an interval."""
    if found["contradicts"] is None:
        return None
    wrong, called = _CALLED[found["rate"]]
    observed, n = found["observed"], found["n"]
    if found["contradicts"]:
        says = f"above {_percent(found['budget'])}: these rows contradict the promise"
    elif observed["estimate"] <= found["budget"]:
        says = f"within {_percent(found['budget'])}"
    else:
        says = f"{n:,} rows cannot contradict {_percent(found['budget'])}"
    interval = f"95 %: {_range(observed['low'], observed['high'])}"
    return f"Found: {found['n_errors']:,} of {n:,} {wrong} rows called {called} ({interval}); {says}"


def called_words(point: OperatingPoint) -> tuple[str, str]:
    """Return how pictures above and below the threshold are counted: what nothing bounds is no finding."""
    rates = {each.rate for each in point.guarantees}
    return ("not called real" if rates == {"fnr"} else "AI", "not called AI" if rates == {"fpr"} else "real")


def other_views(point: OperatingPoint, views: Sequence[str]) -> str | None:
    """Return of which of the views that are looked at a point promises nothing, in words."""
    others = [view for view in views if view != point.view]
    if not (point.guarantees and others):
        return None
    return f"this was promised for view {point.view}, not for {', '.join(others)}"


def _other_rows(point: OperatingPoint, dataset: str | None, split: str | None) -> str | None:
    """Return how rows that are looked at differ from those that a point was made on, or that they are these."""
    if not point.guarantees or dataset is None:
        return None
    made = point.guarantees[0]
    if made.dataset != dataset:
        return f"this was promised for pictures like those of data set {made.dataset}, not for those of {dataset}"
    if split != "valid":
        return None
    which = "these are" if made.rows == "valid" else "some of these are"
    return f"{which} the rows that it was calibrated on: they do not tell whether the promise is kept"


def _print_guarantee(found: Guarantee) -> None:
    wrong, called = _CALLED[found.rate]
    console.print(f"• A{_promise(found)[1:]}")
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 2))
    table.add_column(f"{wrong} {found.unit}s", overflow="fold")
    for title in ("n", f"called {called}", "upper bound", "least n"):
        table.add_column(title, justify="right", no_wrap=True)
    needed = f"{_needed(found):,}"
    rows = found.origins or (found,)
    for row in rows:
        where = f"{found.rows} of {found.dataset}" if row is found else getattr(row, "origin", "") or "(no origin)"
        table.add_row(safe(where), f"{row.n:,}", f"{row.n_errors:,}", f"{100 * row.bound:.2f} %", needed)
    console.print(table)
    if found.expected is None:
        console.print(f"  There are no {called} rows that tell how many of them are called {called}")
        return
    interval = "" if found.low is None or found.high is None else f" (95 %: {_range(found.low, found.high)})"
    console.print(f"  Expected: {100 * found.expected:.1f} % of {called} pictures are called {called}{interval}")


def print_sets(sets: GeneratorSets, tasks: Sequence[Task], *, mean_size: float) -> None:
    """Say of which generators sets hold what they promise, on how many draws that rests, and how large sets are."""
    from heads.verdicts.sets import least_draws

    classes = tasks[1].classes
    sure = [f"{name} ({n:,})" for name, cut, n in zip(classes, sets.cuts, sets.n, strict=True) if cut is not None]
    few = [f"{name} ({n:,})" for name, cut, n in zip(classes, sets.cuts, sets.n, strict=True) if cut is None]
    console.print(
        f"• Sets of generators, view {safe(sets.view)}: of AI pictures by {safe(', '.join(sure))} each, at least "
        f"{100 * sets.coverage:.4g} % have their generator in the set{_condition(sets)}"
    )
    console.print(
        f"  (n): {sets.unit}s, {safe(sets.rows)} of {safe(sets.dataset)}; on average a set has {mean_size:.2f} of "
        f"{len(classes)} generators"
    )
    if few:
        console.print(
            f"  [yellow]Nothing is promised[/] for {safe(', '.join(few))}: fewer than {least_draws(sets.coverage)} "
            f"{sets.unit}s"
        )


def print_folds(folds: Mapping[str, Any]) -> None:
    """Say what cross-fitted scores estimate."""
    console.print(
        f"Cross-fitted on {folds['n']:,} rows in {folds['groups']:,} groups: {folds['k']} heads beside this one"
    )
    table = Table("task", "score", box=None, header_style="dim", pad_edge=False)
    for title in ("estimate", "95 % interval"):
        table.add_column(title, justify="right", no_wrap=True)
    for task, figures in folds["metrics"].items():
        for index, (name, found) in enumerate(figures.items()):
            limits = f"{score(found['low'])} to {score(found['high'])}"
            table.add_row(
                "" if index else safe(task.upper()), safe(metric_name(name)), score(found["estimate"]), limits
            )
    console.print(table)


def _promise(found: Guarantee) -> str:
    wrong, called = _CALLED[found.rate]
    each = "each origin of " if found.origins else ""
    return (
        f"at most {_percent(found.budget)} of {wrong} pictures like those of {each}data set {safe(found.dataset)} are "
        f"called {called}, with {_percent(found.confidence)} confidence{_condition(found)}"
    )


def _expected(promised: Guarantee) -> str:
    """Return what a promise costs: how many pictures of the other class are called rightly."""
    called = _CALLED[promised.rate][1]
    if promised.expected is None:
        return f"Of {called} pictures there were none among those rows to tell how many are called {called}"
    interval = "" if promised.low is None or promised.high is None else f" ({_range(promised.low, promised.high)})"
    return f"Of {called} pictures like these {100 * promised.expected:.1f} % are called {called}{interval}"


def _condition(found: Guarantee | GeneratorSets) -> str:
    return f", {safe(found.note)}" if found.note else ""


def _needed(found: Guarantee) -> int:
    from heads.statistics.intervals import least_n

    return least_n(found.budget, 1 - (1 - found.confidence) / max(1, len(found.origins)))


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _range(low: float, high: float) -> str:
    return f"{100 * low:.1f}–{100 * high:.1f} %"
