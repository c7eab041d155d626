"""What ``heads ablate`` prints: the best configurations, the controls, and what they allow to be said."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from heads.commands.held_out_tables import print_held_out
from heads.commands.render import console, next_command, safe, score
from heads.data.fusion import fusion_modalities

if TYPE_CHECKING:
    from heads.ablation.ablation import AblationResult
    from heads.ablation.comparison import Summary
    from heads.ablation.grid import Group
    from heads.statistics.intervals import Interval

__all__ = ["print_ablation"]

_COLOURS = {"gain": "green", "leak": "red", "worse": "dim"}


def print_ablation(
    result: AblationResult,
    folder: Path,
    cache: Path,
    *,
    choices: Mapping[str, Mapping[str, str]],
    dataset: str | None = None,
) -> None:
    """Print a finished ablation; ``choices`` and ``dataset`` say what it used, where not the default."""
    rows, grid = result.n_rows, result.grid
    n_full = len([s for s in result.table if s.stage == "full" and not s.cell.control])
    looked = f" of {len(grid.cells)}, the others screened" if n_full < len(grid.cells) else ""
    noun = "configuration" if n_full == 1 else "configurations"
    console.print(f"{n_full} {noun}{looked}; {rows['fit']:,} rows fit, {rows['scored']:,} are scored")
    if rows["refused"]:
        console.print(f"[yellow]{rows['refused']:,}[/] rows refused: without labels or without some vector")
    if len(result.conditions["views"]) > 1:
        console.print(f"Fitted on views {safe(', '.join(result.conditions['views']))}; scored on the first")
    console.print(_table(result))
    shuffled = "; ~text, ~labels: with shuffled text or labels" if grid.controls else ""
    versus = "vs first: with the first outputs and" if grid.outputs else "vs image: with"
    console.print(
        f"[dim]Scores are of {result.conditions['scored_on']}; ± sd over seeds{shuffled}; {versus} the same "
        "settings, 95 % interval over groups. All lines are in ablation.csv[/]"
    )
    for finding in result.findings:
        colour = _COLOURS.get(finding.verdict, "yellow")
        console.print(f"[{colour}]•[/] {safe(finding.sentence)}")
    if result.held_out is not None:
        print_held_out(result.held_out, [summary.cell for summary in result.ranked()], select=result.grid.select)
    console.print(f"Tables and plot: [bold]{safe(folder)}[/]", soft_wrap=True)
    next_command("heads", "train", cache, *_train_words(result, choices), dataset=dataset)


def _train_words(result: AblationResult, choices: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the options that train the best configuration again."""
    from heads.ablation.study import settings_of

    best = result.best()
    words = ["--head", best.cell.head, "--fusion", best.cell.fusion]
    words += ["--dim", str(best.cell.dim)] if best.cell.dim else []
    for name in ("lr", "weight_decay"):
        value = getattr(best.cell, name)
        words += ["--set", f"{name}={value:g}"] if value is not None else []
    for name, value in settings_of(best.cell.head, result.grid.settings).items():
        words += ["--set", f"{name}={json.dumps(value) if not isinstance(value, str) else value}"]
    views = result.conditions.get("views") or ()
    words += ["--views", ",".join(views)] if len(views) > 1 else []
    compared = {modality: {"outputs": request} for modality, request in best.cell.outputs}
    for modality, chosen in choices.items():
        if modality in fusion_modalities(best.cell.fusion):
            meant = {**chosen, **compared.get(modality, {})}
            words += [word for name, value in meant.items() for word in ("--set", f"{modality}.{name}={value}")]
    return words


def _table(result: AblationResult) -> Table:
    shown = _shown(result.table)
    has_heads = len({summary.cell.head for summary in shown}) > 1
    has_rates = len({summary.cell.lr for summary in shown} - {None}) > 1
    has_parts = not (has_heads and has_rates)  # 80 columns have no room for all
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("head fusion" if has_heads else "fusion")
    versus = "vs first" if result.grid.outputs else "vs image"
    titles = ("dim", *(("lr",) if has_rates else ()), "score", *(("A", "B") if has_parts else ()), versus, "s")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for summary in shown:
        cell = summary.cell
        name = f"{cell.head} {cell.name}" if has_heads else cell.name
        name = f"  ~{cell.control.removesuffix('-shuffled')}" if cell.control else name
        values = _values(summary)
        row = [str(cell.dim or "") if title == "dim" else values[title] for title in titles]
        table.add_row(safe(name), *row, style="dim" if cell.control else "")
    return table


def _shown(table: Sequence[Summary]) -> list[Summary]:
    """Return the best line of each group and dimension, and the controls after the group that they are of."""
    best: dict[tuple[Group, int | None, str | None], Summary] = {}
    for summary in table:
        if summary.stage == "full":
            cell = summary.cell
            key = (cell.group, cell.dim if cell.control is None else None, cell.control)
            if key not in best or best[key].score < summary.score:
                best[key] = summary
    groups = list(dict.fromkeys(s.cell.group for s in best.values()))
    # Stable: within a group the lines stay as they came, controls last.
    return sorted(best.values(), key=lambda s: (groups.index(s.cell.group), s.cell.control or ""))


def _values(summary: Summary) -> dict[str, str]:
    scores, lr = summary.scores, summary.cell.lr
    sd = scores["score_sd"]
    return {
        "lr": "" if lr is None else f"{lr:g}",
        "score": score(summary.score) + ("" if sd is None else f" ± {sd:.3f}"),
        "A": score(scores["a_balanced_accuracy"]),
        "B": score(scores["b_f1_macro"]),
        "vs image": _show(summary.difference),
        "vs first": _show(summary.from_first),
        "s": "" if summary.seconds is None else f"{summary.seconds:.1f}",
    }


def _show(difference: Interval | None) -> str:
    if difference is None:
        return ""
    bounds = "" if math.isnan(difference.low) else f" {difference.low:+.3f}…{difference.high:+.3f}"
    return f"{difference.estimate:+.3f}{bounds}"
