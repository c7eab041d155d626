"""Settings that were chosen from a grid and stand at its edge: a better one may lie beyond."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["edge_notes"]

_LEAST = 3  # values: of two each stands at an edge


def edge_notes(task: str, setting: str, value: float, values: Sequence[float]) -> list[str]:
    """Say in at most one sentence that the value that was chosen for a task is the first or last of its grid.

    Parameters
    ----------
    task : str
    setting : str
        The setting that lists the values.
    value : float
    values : sequence of float
        0 is the end of what there can be: nothing is said of it.
    """
    grid = sorted(set(values))
    if len(grid) < _LEAST or value == 0 or value not in (grid[0], grid[-1]):
        return []
    end, beyond = ("largest", value * 10) if value == grid[-1] else ("smallest", value / 10)
    more = ",".join(f"{each:g}" for each in sorted([*grid, beyond]))
    return [
        f"task {task!r} takes the {end} of its {setting}, {value:g}: {beyond:g} may be better, --set {setting}=[{more}]"
    ]
