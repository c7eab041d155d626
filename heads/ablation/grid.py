"""What an ablation is asked to do: a grid of configurations, seeds and folds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from typing import Any

from heads.ablation.controls import CONTROLS, LABELS_SHUFFLED
from heads.data.folds import MIN_FOLDS
from heads.data.fusion import FUSIONS, STRUCTURED, fusion_modalities, takes_outputs
from heads.data.held_out import Axis
from heads.errors import HeadsError
from heads.files.ranges import Range
from heads.head.kinds import HEADS, differs_by_seed, find_kind

__all__ = ["SELECTS", "Cell", "CellOutputs", "Grid", "Group", "name_outputs"]

_MAX_HEADS = 1_000_000
_SEEDS = Range(int, 1, _MAX_HEADS)
_FOLDS = Range(int, MIN_FOLDS, _MAX_HEADS)

SELECTS = ("score", "held-out")
"""What a configuration may be chosen by."""

CellOutputs = tuple[tuple[str, str | None], ...]
"""Each modality whose outputs a grid compares, and which of them a cell takes: None where its fusion takes none."""

Group = tuple[str, str, CellOutputs]
"""Head, fusion and outputs: what is compared, whatever the settings."""


@dataclass(frozen=True)
class Cell:
    """One configuration: what is compared; fitted once a seed and fold.

    Attributes
    ----------
    head : str
        A key of `heads.head.kinds.HEADS`.
    fusion : str
        A key of `heads.data.fusion.FUSIONS`.
    dim : int or None
        Hidden units; None for heads without.
    lr, weight_decay : float or None
        None stands for the head's default.
    control : str or None
        Which of `heads.ablation.controls.CONTROLS` this is.
    outputs : CellOutputs
        Empty where the grid compares no outputs.
    """

    head: str
    fusion: str
    dim: int | None = None
    lr: float | None = None
    weight_decay: float | None = None
    control: str | None = None
    outputs: CellOutputs = ()

    @property
    def settings(self) -> dict[str, Any]:
        """What `heads.runs.fitting.parse_config` takes, seed and common settings left out."""
        named = {"head": self.head, "fusion": self.fusion, "dim": self.dim, "lr": self.lr}
        named["weight_decay"] = self.weight_decay
        return {name: value for name, value in named.items() if value is not None}

    @property
    def group(self) -> Group:
        """Head, fusion and outputs: cells of a group have the same columns."""
        return self.head, self.fusion, self.outputs

    @property
    def name(self) -> str:
        """Fusion, and the outputs where they are compared, for people."""
        chosen = [(modality, outputs) for modality, outputs in self.outputs if outputs is not None]
        named = [outputs if len(chosen) == 1 else f"{modality} {outputs}" for modality, outputs in chosen]
        return " ".join([self.fusion, " + ".join(named)]).rstrip()

    def to_dict(self) -> dict[str, Any]:
        """Return the columns of a table that tell cells apart."""
        plain = {name: value for name, value in vars(self).items() if name != "outputs"}
        return {"head": self.head, "fusion": self.fusion, **name_outputs(self.outputs), **plain}


@dataclass(frozen=True)
class Grid:
    """A request.

    Attributes
    ----------
    heads, fusions : tuple of str
        Heads other than ``mlp`` take the fusions that put vectors side by side, and pass the others by.
    dims : tuple of int
    lrs, weight_decays : tuple of float
        Empty: the head's default. Like ``dims`` they matter to ``mlp`` alone.
    seeds : int
        Seeds 0 to n - 1; ``linear`` has nothing random and is fitted once.
    folds : int or None
        Folds over ``train`` and ``valid``; None scores on the calibrating part of ``valid``, which selects nothing.
    controls : bool
        Fit the best configuration of each fusion on shuffled data too.
    screen : bool
        Look for the promising configurations first, and fit only these in full.
    settings : mapping
        What all heads have in common: ``epochs``, ``loss`` …
    outputs : mapping of modality to tuple of str
        Requests of outputs that are compared, two or more; the others are set against the first. Fusions that
        map each output alike (`heads.data.fusion.LAYERED`) pass by what names a single output.
    hold_out : str or None
        Of `heads.data.held_out.HOLD_OUTS`: fit once more without each generator, or origin, and judge these rows.
    select : {"score", "held-out"}
        What the best configuration is best at: its score, or what is held out (`held_scores.HeldLine.merit`).
    """

    heads: tuple[str, ...] = ("mlp",)
    fusions: tuple[str, ...] = ("concat", "image", "text")
    dims: tuple[int, ...] = (32, 64, 128, 256, 512)
    lrs: tuple[float, ...] = ()
    weight_decays: tuple[float, ...] = ()
    seeds: int = 3
    folds: int | None = None
    controls: bool = True
    screen: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hold_out: Axis | None = None
    select: str = SELECTS[0]

    def __post_init__(self) -> None:
        for name, known in (("heads", HEADS), ("fusions", FUSIONS)):
            for value in getattr(self, name):
                if value not in known:
                    raise HeadsError(f"unknown {name[:-1]} {value!r}, expected one of {', '.join(known)}")
        for name in ("heads", "fusions", "dims", "lrs", "weight_decays"):
            values = getattr(self, name)
            if len(set(values)) != len(values) or not (values or name in ("lrs", "weight_decays")):
                raise HeadsError(f"expected one of {name} or more, each once, found {list(values)!r}")
        self._check_outputs()
        _SEEDS.check(self.seeds, "seeds")
        if self.folds is not None:
            _FOLDS.check(self.folds, "folds")
        if self.hold_out is not None and self.folds is not None:
            raise HeadsError("--hold-out divides train and valid by itself: leave --folds out")
        if self.select not in SELECTS:
            raise HeadsError(f"unknown figure {self.select!r:.80} to select by, expected one of {', '.join(SELECTS)}")
        if self.select != SELECTS[0] and self.hold_out is None:
            raise HeadsError(f"--select {self.select} needs --hold-out generator or origin")
        if self.n_heads > _MAX_HEADS:
            raise HeadsError(f"the grid has {self.n_heads:,} heads, expected at most {_MAX_HEADS:,}")
        if not self.cells:
            heads, fusions = " and ".join(self.heads), " and ".join(self.fusions)
            raise HeadsError(f"head {heads} cannot take fusion {fusions}: that is a network of its own, use head mlp")

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All configurations but controls, head by head and fusion by fusion."""
        cells: list[Cell] = []
        for head, fusion in product(self.heads, self.fusions):
            for outputs in self.outputs_of(fusion):
                if find_kind(head).is_network:
                    values = product(self.dims, self.lrs or (None,), self.weight_decays or (None,))
                    cells += [Cell(head, fusion, dim, lr, decay, outputs=outputs) for dim, lr, decay in values]
                elif fusion not in STRUCTURED:
                    cells.append(Cell(head, fusion, outputs=outputs))
        return tuple(cells)

    @property
    def n_heads(self) -> int:
        """Heads to be fitted, controls left out."""
        return sum(len(self.seeds_of(cell.head)) for cell in self.cells) * (self.folds or 1)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that the fusions need, each once."""
        return tuple(dict.fromkeys(m for fusion in self.fusions for m in fusion_modalities(fusion)))

    def seeds_of(self, head: str) -> range:
        """Return the seeds of a kind of head: of one without randomness the first alone."""
        return range(self.seeds if differs_by_seed(head, self.settings) else 1)

    def controls_of(self, fusion: str) -> tuple[str, ...]:
        """Return the controls of a fusion: text is shuffled where it stands beside something else."""
        if not self.controls:
            return ()
        modalities = fusion_modalities(fusion)
        return CONTROLS if "text" in modalities and len(modalities) > 1 else (LABELS_SHUFFLED,)

    def outputs_of(self, fusion: str) -> list[CellOutputs]:
        """Return the outputs that cells of a fusion take, the first ones first; nothing to choose is one choice."""
        needed = fusion_modalities(fusion)
        choices: list[list[tuple[str, str | None]]] = []
        for modality, requests in self.outputs.items():
            known = [(modality, request) for request in requests if takes_outputs(fusion, request)]
            choices.append([*known] if modality in needed else [(modality, None)])
        return list(product(*choices))

    def first_of(self, cell: Cell) -> Cell:
        """Return the cell with the same settings and the first outputs that its fusion takes."""
        return replace(cell, outputs=self.outputs_of(cell.fusion)[0], control=None)

    def counterpart(self, cell: Cell, fusion: str) -> Cell:
        """Return the cell of another fusion with the same settings and outputs; the first where ``cell`` has none."""
        own, needed = dict(cell.outputs), fusion_modalities(fusion)
        outputs = tuple((m, (own[m] or requests[0]) if m in needed else None) for m, requests in self.outputs.items())
        return replace(cell, fusion=fusion, outputs=outputs, control=None)

    def to_dict(self) -> dict[str, Any]:
        """Return what ``ablation.json`` says of the request."""
        values = asdict(self) | {"settings": dict(self.settings)}
        # Early plans and documents lack these.
        unless: dict[str, object] = {"outputs": {}, "hold_out": None, "select": SELECTS[0]}
        return {name: value for name, value in values.items() if name not in unless or value != unless[name]}

    def _check_outputs(self) -> None:
        for modality, requests in self.outputs.items():
            if modality not in self.modalities:
                used = " and ".join(self.modalities)
                raise HeadsError(f"{modality} outputs are compared, but only {used} vectors are used")
            if len(requests) < 2 or len(set(requests)) != len(requests):
                raise HeadsError(
                    f"expected two {modality} outputs or more to compare, each once, found {list(requests)!r}"
                )
        for fusion in self.fusions:
            if not self.outputs_of(fusion):
                found = " nor ".join(self.outputs["image"])
                raise HeadsError(f"fusion {fusion!r} needs several outputs, neither {found} has: add layers:all")


def name_outputs(outputs: CellOutputs) -> dict[str, str | None]:
    """Return which outputs a cell takes, as columns of a table: ``image_outputs`` …"""
    return {f"{modality}_outputs": request for modality, request in outputs}
