"""Pictures of results; needs matplotlib (the extra ``plot``), imported only when something is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_ablation"]

# Okabe and Ito, "Color Universal Design" (2008): distinct under each common colour blindness.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P")


def plot_ablation(summary: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw score against dimension, one line a fusion with a band of one standard deviation over seeds.

    Heads without a dimension get one point a fusion.

    Parameters
    ----------
    summary : sequence of mapping
        As `heads.ablation.AblationResult.summary` returns it.
    path : Path
        The PNG to be written.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    fusions = list(dict.fromkeys(str(record["fusion"]) for record in summary))
    has_dims = any(record["dim"] is not None for record in summary)
    for index, fusion in enumerate(fusions):
        records = [record for record in summary if record["fusion"] == fusion]
        style: dict[str, Any] = {
            "color": _COLOURS[index % len(_COLOURS)],
            "marker": _MARKERS[index % len(_MARKERS)],
        }
        if has_dims:
            _draw_line(axes, sorted(records, key=lambda record: int(record["dim"])), style, fusion)
        else:
            axes.errorbar([fusion], [records[0]["score"]], yerr=[records[0]["score_sd"] or 0.0], capsize=4, **style)
    if has_dims:
        dims = sorted({int(record["dim"]) for record in summary})
        axes.set_xscale("log", base=2)
        axes.set_xticks(dims, [str(dim) for dim in dims])
        axes.set_xticks([], minor=True)
        axes.legend(title="fusion", frameon=False)
    axes.set_xlabel("hidden units (--dim)" if has_dims else "fusion")
    axes.set_ylabel("validation score\n(mean of A balanced accuracy, B macro F1)")
    n_seeds = max(int(record["n_seeds"]) for record in summary)
    axes.set_title(f"mean of {n_seeds} seed{'s' if n_seeds > 1 else ''}{', band: ± 1 sd' if n_seeds > 1 else ''}")
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(path, format="png")


def _draw_line(axes: Axes, records: Sequence[Mapping[str, Any]], style: Mapping[str, Any], label: str) -> None:
    dims = [int(record["dim"]) for record in records]
    means = [float(record["score"]) for record in records]
    spread = [float(record["score_sd"] or 0.0) for record in records]
    axes.plot(dims, means, label=label, **style)
    low = [mean - sd for mean, sd in zip(means, spread, strict=True)]
    high = [mean + sd for mean, sd in zip(means, spread, strict=True)]
    axes.fill_between(dims, low, high, color=style["color"], alpha=0.15, linewidth=0)
