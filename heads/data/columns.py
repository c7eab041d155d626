"""The layout of a feature matrix: which output of which modality stands in which columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from featcache import Selection
from heads.errors import HeadsError
from heads.files.ranges import Range

__all__ = ["Block", "Columns"]

_MAX_BLOCKS = 4096
_WIDTH = Range(int, 1, 2**20)
_MAX_NAME = 200


@dataclass(frozen=True)
class Block:
    """Neighbouring columns that hold one output of one encoder.

    Attributes
    ----------
    modality, output : str
        Both ``""`` where nothing is known of the columns.
    width : int
        Number of columns.
    """

    modality: str
    output: str
    width: int


@dataclass(frozen=True)
class Columns:
    """The blocks of a matrix, from left to right; those of one modality are neighbours."""

    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        runs = [b.modality for i, b in enumerate(self.blocks) if i == 0 or b.modality != self.blocks[i - 1].modality]
        if not runs or len(set(runs)) != len(runs):
            raise HeadsError(f"columns are of {', '.join(runs) or 'nothing'}, expected each modality in one place")

    @classmethod
    def unknown(cls, width: int) -> Self:
        """Return the layout of columns of which nothing but the number is known."""
        return cls((Block("", "", width),))

    @classmethod
    def build(cls, outputs: Mapping[str, Mapping[str, int]]) -> Self:
        """Build from the widths of each modality's outputs, in this order."""
        return cls(tuple(Block(m, name, width) for m, widths in outputs.items() for name, width in widths.items()))

    @classmethod
    def of_selections(cls, selections: Mapping[str, Selection]) -> Self:
        """Build from what stands for each modality, in this order."""
        return cls.build({m: dict(zip(s.outputs, s.widths, strict=True)) for m, s in selections.items()})

    @classmethod
    def parse(cls, value: Any, where: str) -> Self:
        """Read what `to_json` made, from a file that is not trusted."""
        if not isinstance(value, list) or not 1 <= len(value) <= _MAX_BLOCKS:
            raise HeadsError(f"{where} has columns {value!r:.80}, expected a list of 1 to {_MAX_BLOCKS} blocks")
        for entry in value:
            if not isinstance(entry, list) or len(entry) != 3 or not _is_block(*entry):
                raise HeadsError(f"{where} has a block of columns {entry!r:.80}, expected [modality, output, width]")
        return cls(tuple(Block(*entry) for entry in value))

    def to_json(self) -> list[list[str | int]]:
        """Return ``[[modality, output, width], …]``."""
        return [[block.modality, block.output, block.width] for block in self.blocks]

    @property
    def is_known(self) -> bool:
        """Whether it is known of which modality each column is."""
        return "" not in self.modalities

    @property
    def width(self) -> int:
        """Number of columns."""
        return sum(block.width for block in self.blocks)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities from left to right."""
        return tuple(dict.fromkeys(block.modality for block in self.blocks))

    @property
    def widths(self) -> dict[str, int]:
        """Columns of each modality."""
        return {modality: sum(b.width for b in self._of(modality)) for modality in self.modalities}

    def span(self, modalities: Sequence[str]) -> slice:
        """Return where some neighbouring modalities stand.

        Raises
        ------
        HeadsError
            If one is not there, or they are not neighbours in this order.
        """
        places = [self.modalities.index(m) for m in modalities if m in self.modalities]
        if len(places) != len(modalities) or places != list(range(places[0], places[0] + len(places))):
            wanted, found = " + ".join(modalities), " + ".join(self.modalities)
            raise HeadsError(f"the columns are {found}, expected {wanted} among them in this order")
        widths = list(self.widths.values())
        start = sum(widths[: places[0]])
        return slice(start, start + sum(widths[place] for place in places))

    def of(self, modalities: Iterable[str]) -> Columns:
        """Return the layout of some modalities alone."""
        return Columns(tuple(block for modality in modalities for block in self._of(modality)))

    def _of(self, modality: str) -> tuple[Block, ...]:
        return tuple(block for block in self.blocks if block.modality == modality)


def _is_block(modality: Any, output: Any, width: Any) -> bool:
    names = all(isinstance(name, str) and len(name) <= _MAX_NAME for name in (modality, output))
    return names and _WIDTH.holds(width)
