"""What an ablation shows: which differences its rows bear out, by as many as were looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.ablation.grid import Cell, CellOutputs, name_outputs
from heads.statistics.intervals import Interval, bound, difference_p_value, holm
from heads.statistics.resampling import standard_error

__all__ = ["Contrast", "Finding", "Resampled", "find_edges", "weigh"]

Resampled = Mapping[Cell, NDArray[np.float64]]

_LEVEL = 0.95


@dataclass(frozen=True)
class Finding:
    """What may be said of a fusion, or of outputs.

    Attributes
    ----------
    head, fusion : str
    verdict : {"gain", "no gain", "not from the text", "worse", "leak", "edge"}
    sentence : str
        The same for people, with the figures.
    outputs : CellOutputs
    """

    head: str
    fusion: str
    verdict: str
    sentence: str
    outputs: CellOutputs = ()

    @classmethod
    def of(cls, cell: Cell, verdict: str, sentence: str) -> Finding:
        """Say something of a configuration."""
        return cls(cell.head, cell.fusion, verdict, sentence, cell.outputs)

    def to_dict(self) -> dict[str, Any]:
        """Return the record of this finding in ``ablation.json``."""
        outputs = name_outputs(self.outputs)
        return {"head": self.head, "fusion": self.fusion, **outputs, "verdict": self.verdict, "sentence": self.sentence}


@dataclass(frozen=True)
class Contrast:
    """Two configurations that are set against each other.

    Attributes
    ----------
    cell, against : Cell
    without : Cell or None
        The first one with shuffled text, which a gain by text must beat too; None where there is none.
    """

    cell: Cell
    against: Cell
    without: Cell | None = None


def weigh(contrasts: Sequence[Contrast], resampled: Resampled, *, n_groups: int) -> Iterator[Finding]:
    """Say of each difference whether it is a gain.

    Parameters
    ----------
    contrasts : sequence of Contrast
        All that are looked at. Their p-values are adjusted together, so that chance makes a difference of any of them
        in at most one ablation of twenty.
    resampled : mapping of Cell to float64 array (1 + n_resamples,)
        Scores on the rows as they are, and on the same resamples of groups.
    n_groups : int
    """
    differences = [resampled[contrast.cell] - resampled[contrast.against] for contrast in contrasts]
    p_values = [difference_p_value(float(values[0]), standard_error(values[1:]), n_groups) for values in differences]
    for contrast, values, p in zip(contrasts, differences, holm(p_values), strict=True):
        gain = bound(values, n_groups, level=_LEVEL)
        among = f" (p = {p:.3f} among {len(contrasts)}, by Holm)" if len(contrasts) > 1 else ""
        verdict, words = _decide(contrast, gain, resampled, is_sure=p < 1 - _LEVEL)
        said = f"{contrast.cell.head} {contrast.cell.name}: {_show(gain)} against {contrast.against.name}"
        yield Finding.of(contrast.cell, verdict, f"{said}{words}{among}")


def find_edges(cell: Cell, axes: Mapping[str, Sequence[float]]) -> Iterator[Finding]:
    """Say of which axes the best configuration has the smallest or the largest value: the best may lie beyond.

    Parameters
    ----------
    cell : Cell
    axes : mapping of str to sequence of float
        The values of a grid by the name of a setting; axes of fewer than three have nothing but ends.
    """
    for name, values in axes.items():
        own = getattr(cell, name)
        if own is not None and len(values) > 2 and own in (min(values), max(values)):
            end, option = "smallest" if own == min(values) else "largest", f"--{name.replace('_', '-')}s"
            said = f"{cell.head} {cell.name}: its best {name} {own:g} is the {end} of the grid"
            yield Finding.of(cell, "edge", f"{said}: try others by {option}")


def _decide(contrast: Contrast, gain: Interval, resampled: Resampled, *, is_sure: bool) -> tuple[str, str]:
    """Return a verdict and how it is put."""
    is_fusion = contrast.cell.fusion != contrast.against.fusion
    if not is_sure:
        return "no gain", f": no {'gain' if is_fusion else 'difference'} that these rows could show"
    if gain.estimate < 0:
        return "worse", ": worse than the picture alone" if is_fusion else ": worse"
    if contrast.without is None:
        return "gain", ": a gain"
    shuffled = resampled[contrast.without]
    beyond = bound(resampled[contrast.cell] - shuffled, gain.n_groups, level=_LEVEL)
    if beyond.low > 0:
        return "gain", f", {_show(beyond)} against shuffled text: a gain"
    without = bound(shuffled - resampled[contrast.against], gain.n_groups, level=_LEVEL)
    return "not from the text", f", but {_show(without)} with shuffled text: no gain that comes from the text"


def _show(interval: Interval) -> str:
    return f"{interval.estimate:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
