"""How an audit is shown: what leaks worst in the first line, then tables of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from heads.commands.render import console, safe
from heads.commands.report import NAMES, PlainTable, print_tables, show_interval

if TYPE_CHECKING:
    from heads.audit.audit import Audit
    from heads.audit.labels import LabelAudit
    from heads.audit.tells import Tell

__all__ = ["headline", "print_audit"]

_SHOWN = 20
_TASKS = {"a": "real from AI", "b": "generators"}
_FIGURES = {"auc": "AUC", "f1_macro": "macro F1"}
_LABELS = {"a": "Labels real or AI", "b": "Labels of generators"}


def print_audit(found: Audit) -> None:
    """Print an audit for people."""
    about = found.about
    console.print(f"[bold]{safe(headline(found))}[/]", soft_wrap=True)
    origins = about["origins"]
    if origins is not None and origins["real"] and origins["ai"] and not origins["both"]:
        n = origins["real"] + origins["ai"]
        console.print(
            f"[yellow]No origin has both:[/] real and AI rows share none of their {n:,} origins, so that what a head "
            "learns may be where they come from"
        )
    where = f"{about['n']:,} rows of {' and '.join(about['splits'])} of {safe(about['cache'])}"
    console.print(f"{where}, in {about['n_groups']:,} groups, each scored by what was learnt of others")
    print_tables([_tells(found, task) for task in _TASKS if any(tell.task == task for tell in found.tells)])
    for labels in found.labels:
        title = f"{_LABELS[labels.task]}, by a linear head on {about['vectors']} vectors"
        if labels.is_told:
            print_tables(list(_labels(labels, title)))
            console.print(f"[dim]{_caveat(labels)}[/]")
        else:
            why = f"its balanced accuracy is {labels.head:.2f}, too little to say which are wrong"
            console.print(f"\n[bold]{safe(title)}[/]: {why}")
    _print_candidates(found)
    if found.notes:
        console.print()
    for what, why in found.notes:
        console.print(f"[dim]not told[/] {safe(what)}: {safe(why)}")


def headline(found: Audit) -> str:
    """Say in one line what leaks worst: of task A, or where there is none of task B."""
    for task, name in _TASKS.items():
        worst = found.worst(task)
        if worst is None:
            continue
        if worst.tells:
            return f"{worst.fact} alone tell {name}: {_figure(worst)}"
        return f"nothing surely tells {name}; {worst.fact} do most: {_figure(worst)}"
    return "there is nothing by which classes could be told"


def _figure(tell: Tell) -> str:
    found, chance = tell.found, "" if tell.figure == "auc" else f", by chance {tell.chance:.2f}"
    between = "" if found.low != found.low else f" ({found.low:.2f}–{found.high:.2f})"
    return f"{_FIGURES[tell.figure]} {found.estimate:.2f}{between}{chance}"


def _tells(found: Audit, task: str) -> PlainTable:
    own = [tell for tell in found.tells if tell.task == task]
    rows = tuple(
        (
            tell.fact,
            f"{tell.n:,}",
            f"{tell.found.estimate:.3f}",
            show_interval(tell.found),
            f"{tell.chance:.3f}",
            "< .001" if tell.p_value < 0.001 else f"{tell.p_value:.3f}",
            "tell" if tell.tells else "not shown",
        )
        for tell in own
    )
    header = ("", "rows", _FIGURES[own[0].figure], "95 % interval", "by chance", "p", "")
    return PlainTable(f"What tells {_TASKS[task]} alone", header, rows)


def _labels(labels: LabelAudit, title: str) -> Iterator[PlainTable]:
    rows = [(_name(each.name), each.n, each.n_candidates, each.wrong) for each in labels.classes]
    rows.append(("all", labels.n, len(labels.candidates), labels.wrong))
    header = ("", "rows", "look wrong", "share", "95 % interval")
    cells = [
        (name, f"{n:,}", f"{n_candidates:,}", f"{wrong.estimate:.3f}", show_interval(wrong))
        for name, n, n_candidates, wrong in rows
    ]
    yield PlainTable(title, header, tuple(cells))
    figures = tuple(
        (NAMES[name], f"{each.estimate:.3f}", show_interval(each)) for name, each in labels.ceilings.items()
    )
    yield PlainTable(
        "If all these are wrong, a head without an error would score", ("", "ceiling", "95 % interval"), figures
    )


def _caveat(labels: LabelAudit) -> str:
    text = (
        f"That head has a balanced accuracy of {labels.head:.2f}. What it gets wrong while it is sure looks like a "
        "wrong label: the weaker it is, the more the share is too high and the ceiling too low."
    )
    if labels.converter is None:
        return text
    right = f"(x − {labels.converter.subtract:.3f}) / {labels.converter.divide:.3f}"
    return f"{text} With so many wrong, spread evenly, an accuracy x stands for {right} on right labels."


def _print_candidates(found: Audit) -> None:
    lists = [labels.candidates for labels in found.labels if labels.is_told and labels.candidates]
    shown = [each for own in lists for each in own[: _SHOWN // len(lists)]]
    if shown:
        total = sum(map(len, lists))
        console.print(f"\n[bold]Labels that look wrong[/], the first {len(shown)} of {total:,} (--json has all)")
    for each in shown:
        words = f"{_name(each.labelled)}, looks like {_name(each.looks_like)} ({each.p_looks_like:.3f})"
        console.print(f"{safe(each.sample_id)}: {safe(words)}")
        if each.path and not each.path.endswith(each.sample_id):
            console.print(f"  [dim]{safe(each.path)}[/]")


def _name(name: str) -> str:
    return "AI" if name == "ai" else name
