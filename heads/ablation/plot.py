"""Pictures of results; needs matplotlib (the extra ``plot``), imported only when something is drawn."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from heads.ablation.controls import TEXT_SHUFFLED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from heads.ablation.comparison import Summary
    from heads.ablation.grid import Group

Styles = Mapping["Group", Mapping[str, Any]]

__all__ = ["plot_ablation"]

# Okabe and Ito, "Color Universal Design" (2008): distinct under each common colour blindness.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
_GREY = "#777777"


def plot_ablation(table: Sequence[Summary], *, form: Literal["png", "svg"]) -> bytes:
    """Draw score against seconds (the Pareto front is marked), and score against dimension with bands.

    Heads without a dimension are level lines on the right. What was only screened is left out, and so are controls with
    shuffled labels.

    Parameters
    ----------
    table : sequence of Summary
    form : {"png", "svg"}

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Shuffled labels are at chance, as the table shows: here they would only press the rest together.
    full = [s for s in table if s.stage == "full" and s.cell.control in (None, TEXT_SHUFFLED)]
    found = [summary for summary in full if summary.cell.control is None]
    styles = _styles(found)
    has_dims = any(summary.cell.dim is not None for summary in found)
    figure = Figure(figsize=(10.0 if has_dims else 6.4, 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2 if has_dims else 1, sharey=True, squeeze=False)[0]
    _draw_pareto(axes[0], full, styles)
    if has_dims:
        _draw_dims(axes[1], full, styles)
    n_seeds = max(summary.n_seeds for summary in found)
    figure.suptitle(f"mean of {n_seeds} seed{'s' if n_seeds > 1 else ''}{', ± 1 sd' if n_seeds > 1 else ''}")
    has_controls = any(summary.cell.control for summary in full)
    handles = _legend(styles, has_controls=has_controls)
    n_columns = 2 if any(summary.cell.outputs for summary in found) else 5  # with outputs the labels are long
    figure.legend(handles=handles, loc="outside lower center", ncols=n_columns, frameon=False)
    sink = io.BytesIO()
    # The names of clip paths are random otherwise, and a file that says when it was made is new each time.
    with matplotlib.rc_context({"svg.hashsalt": "ablation"}):
        figure.savefig(sink, format=form, metadata={"Date": None} if form == "svg" else None)
    return sink.getvalue()


def _styles(table: Sequence[Summary]) -> Styles:
    """Give each fusion, with its outputs, a colour and a marker, and each head a line."""
    names = list(dict.fromkeys(summary.cell.name for summary in table))
    heads = list(dict.fromkeys(summary.cell.head for summary in table))
    styles: dict[Group, Mapping[str, Any]] = {}
    for group, cell in {summary.cell.group: summary.cell for summary in table}.items():
        head, index = cell.head, names.index(cell.name)
        styles[group] = {
            "color": _COLOURS[index % len(_COLOURS)],
            "marker": _MARKERS[index % len(_MARKERS)],
            "linestyle": ("-", "--", ":")[heads.index(head) % 3],
            "label": cell.name if len(heads) == 1 else f"{head} {cell.name}",
            "fillstyle": "full" if heads.index(head) == 0 else "none",
        }
    return styles


def _draw_pareto(axes: Axes, table: Sequence[Summary], styles: Styles) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    best = _best_of_dims(table)
    for summary in table:
        style, x = _style(summary, styles), summary.seconds or 0.0
        if summary.cell.control is not None:
            axes.plot(x, summary.score, linestyle="", **style)
            continue
        style |= {"linestyle": "", "elinewidth": 0.8, "markersize": 6 if summary in best else 3}
        axes.errorbar(x, summary.score, yerr=_sd(summary), alpha=1.0 if summary in best else 0.35, **style)
    front: list[Summary] = []
    for summary in sorted(best, key=lambda s: (s.seconds or 0.0, -s.score)):
        if not front or summary.score > front[-1].score:
            front.append(summary)
    x_front = [summary.seconds or 0.0 for summary in front]
    y_front = [summary.score for summary in front]
    axes.plot(x_front, y_front, color=_GREY, linewidth=0.8, drawstyle="steps-post", zorder=0)
    axes.set_xscale("log")
    axes.margins(x=0.12, y=0.12)
    low, high = axes.get_xlim()
    cell = front[-1].cell
    text = f"{cell.head} {cell.name}" + (f", dim {cell.dim}" if cell.dim else "")
    # Into the picture: the best one is often the slowest too, at its edge.
    is_right = x_front[-1] ** 2 > low * high
    shift, side = (-6, "right") if is_right else (6, "left")
    axes.annotate(text, (x_front[-1], y_front[-1]), xytext=(shift, 6), textcoords="offset points", ha=side, fontsize=8)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("seconds a head; large: best learning rate of its dim; line: Pareto front")
    axes.set_ylabel("score: mean of A balanced accuracy\nand B macro F1")
    axes.grid(axis="y", alpha=0.3)


def _draw_dims(axes: Axes, table: Sequence[Summary], styles: Styles) -> None:
    """Draw, for each dimension, the configuration with the best learning rate and decay."""
    best = _best_of_dims(table)
    dims = sorted({summary.cell.dim for summary in best if summary.cell.dim is not None})
    for group, style in styles.items():
        own = [s for s in best if s.cell.group == group]
        line = sorted((s.cell.dim, s.score, _sd(s)) for s in own if s.cell.dim is not None)
        if not line:
            axes.axhline(own[0].score, color=style["color"], linestyle=style["linestyle"], linewidth=1)
            continue
        x, mean, sd = (list(values) for values in zip(*line, strict=True))
        axes.plot(x, mean, **style)
        low, high = ([m + sign * s for m, s in zip(mean, sd, strict=True)] for sign in (-1, 1))
        axes.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
    for summary in table:
        if summary.cell.control is not None and summary.cell.dim is not None:
            axes.plot(summary.cell.dim, summary.score, linestyle="", **_style(summary, styles))
    axes.set_xscale("log", base=2)
    axes.set_xticks(dims, [str(dim) for dim in dims])
    axes.set_xticks([], minor=True)
    axes.margins(y=0.12)  # the axis is shared: the larger margin counts
    axes.set_xlabel("hidden units (--dim), best learning rate of each")
    axes.grid(axis="y", alpha=0.3)


def _best_of_dims(table: Sequence[Summary]) -> list[Summary]:
    """Return the best line of each group and dimension, controls left out."""
    best: dict[tuple[Group, int | None], Summary] = {}
    for summary in sorted(table, key=lambda s: -s.score):
        if summary.cell.control is None:
            best.setdefault((summary.cell.group, summary.cell.dim), summary)
    return list(best.values())


def _style(summary: Summary, styles: Styles) -> dict[str, Any]:
    style = dict(styles[summary.cell.group])
    if summary.cell.control is None:
        return style
    return {"color": style["color"], "marker": "x"}


def _legend(styles: Styles, *, has_controls: bool) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **style) for style in styles.values()]
    control = Line2D([], [], color=_GREY, marker="x", linestyle="", label="with shuffled text")
    return [*handles, control] if has_controls else handles


def _sd(summary: Summary) -> float:
    return summary.scores["score_sd"] or 0.0
