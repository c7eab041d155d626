"""What ``heads ablate`` is asked for, in the words of its options: by the command line, by a file, or by both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from heads.ablation.grid import Grid
from heads.data.held_out import parse_axis
from heads.errors import HeadsError
from heads.files.ranges import FINITE, Range

__all__ = ["FOLDS", "WHOLE", "AblationRequest", "parse_numbers", "parse_texts", "split_outputs"]

WHOLE = Range(int, 1, 2**31 - 1)
"""Numbers of seeds, folds and hidden units."""

FOLDS = 5
"""Folds where neither their number nor what to hold out is asked for."""

_RATE = Range(float, 0, FINITE)

Texts = str | Sequence[str]
Numbers = str | Sequence[float]


@dataclass(frozen=True)
class AblationRequest:
    """The options of an ablation; None where one is not given.

    Attributes
    ----------
    head, fusion, views : str or sequence of str
        Lists may be comma-separated texts.
    dim, lr, weight_decay : str or sequence of numbers
    seeds : int
    folds : int
        0 asks for none.
    controls, screen : bool
    hold_out : {"generator", "origin"}
    select : {"score", "held-out"}
    loss, device, memory, dataset : str
    set : mapping
        Further settings of the heads.
    text, image, spectral : mapping of str to str
        ``encoder``, ``outputs`` and ``view``: which of the stored vectors are meant. ``outputs`` with ``;`` between
        them are compared.
    """

    head: Texts | None = None
    fusion: Texts | None = None
    dim: Numbers | None = None
    lr: Numbers | None = None
    weight_decay: Numbers | None = None
    seeds: int | None = None
    folds: int | None = None
    views: Texts | None = None
    controls: bool | None = None
    screen: bool | None = None
    hold_out: str | None = None
    select: str | None = None
    loss: str | None = None
    device: str | None = None
    memory: str | None = None
    dataset: str | None = None
    set: Mapping[str, object] | None = None
    text: Mapping[str, str] | None = None
    image: Mapping[str, str] | None = None
    spectral: Mapping[str, str] | None = None

    def over(self, other: AblationRequest) -> AblationRequest:
        """Return these options, and those of another request where one is not given here."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(other, **{name: value for name, value in given.items() if value is not None})

    @property
    def settings(self) -> dict[str, object]:
        """What all heads have in common: the loss, and the further settings."""
        return {"loss": self.loss, **(self.set or {})}

    @property
    def choices(self) -> dict[str, Mapping[str, str]]:
        """Which of the stored vectors are meant, by modality."""
        tables = {"text": self.text, "image": self.image, "spectral": self.spectral}
        return {modality: table for modality, table in tables.items() if table}

    @property
    def _n_folds(self) -> int | None:
        if self.folds is None:
            return FOLDS if self.hold_out is None else None
        return self.folds or None

    def grid(self, settings: Mapping[str, object], *, outputs: Mapping[str, tuple[str, ...]] | None = None) -> Grid:
        """Return the grid that is asked for, with some common settings and outputs that are compared."""
        return Grid(
            heads=Grid.heads if self.head is None else parse_texts(self.head, "--head"),
            fusions=Grid.fusions if self.fusion is None else parse_texts(self.fusion, "--fusion"),
            dims=Grid.dims if self.dim is None else parse_numbers(self.dim, "--dim", number=int),
            lrs=_rates(self.lr, "--lr"),
            weight_decays=_rates(self.weight_decay, "--weight-decay"),
            seeds=Grid.seeds if self.seeds is None else self.seeds,
            folds=self._n_folds,
            controls=self.controls is not False,
            screen=self.screen is True,
            settings=settings,
            outputs=outputs or {},
            hold_out=None if self.hold_out is None else parse_axis(self.hold_out),
            select=self.select or Grid.select,
        )


def parse_texts(value: Any, where: str) -> tuple[str, ...]:
    """Return the texts of a comma-separated text, or of a list of texts."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, Sequence) or not all(isinstance(part, str) and part.strip() for part in parts):
        raise HeadsError(f"{where} is {value!r:.80}, expected names like 'image,concat'")
    return tuple(part.strip() for part in parts)


def parse_numbers(value: Any, where: str, *, number: type[int] | type[float]) -> tuple[Any, ...]:
    """Return the positive numbers of a comma-separated text, of a list, or one number; 0 is none for whole ones.

    Parameters
    ----------
    value : object
    where : str
        What it is, for messages.
    number : {int, float}
    """
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
    allowed, numbers = WHOLE if number is int else _RATE, []
    for part in parts:
        try:
            found: Any = number(part) if isinstance(part, str) else part
        except ValueError:
            found = None
        if not allowed.holds(found):
            what = "whole numbers like 32,64" if number is int else "numbers like 3e-4,1e-3"
            raise HeadsError(f"{where} is {value!r:.80}, expected {what}")
        numbers.append(number(found))
    return tuple(numbers)


def split_outputs(
    choices: Mapping[str, Mapping[str, str]],
) -> tuple[dict[str, dict[str, str]], dict[str, tuple[str, ...]]]:
    """Tell outputs that are compared, ``A;B``, from those of all cells.

    Returns
    -------
    choices : dict of modality to dict
        The same with the first of the outputs that are compared.
    outputs : dict of modality to tuple of str
        The outputs that are compared.
    """
    chosen = {modality: dict(values) for modality, values in choices.items()}
    compared: dict[str, tuple[str, ...]] = {}
    for modality, values in chosen.items():
        requests = tuple(part.strip() for part in values.get("outputs", "").split(";"))
        if len(requests) > 1:
            compared[modality], values["outputs"] = requests, requests[0]
    return chosen, compared


def _rates(value: Numbers | None, option: str) -> tuple[float, ...]:
    """Return learning rates or decays; without any, each head has its own."""
    return () if value is None else parse_numbers(value, option, number=float)
