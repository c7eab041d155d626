"""The TOML file of an ablation: the options of the command in the same words, for grids too long to type."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from heads.errors import HeadsError
from heads.files.folder import read_file
from heads.files.ranges import FINITE, Range

__all__ = ["load_grid_file", "parse_numbers", "parse_texts"]

_MAX_FILE = 1 << 20
_WHOLE = Range(int, 1, 2**31 - 1)
_RATE = Range(float, 0, FINITE)


def load_grid_file(path: Path) -> dict[str, Any]:
    """Read the options that a TOML file gives; lists may be TOML lists or comma-separated texts.

    ``head, fusion, dim, lr, weight_decay, seeds, folds, views, controls, screen, loss, device, memory, dataset``, the
    table ``set`` with further settings of the heads, and the tables ``text``, ``image`` and ``spectral`` with
    ``encoder``, ``outputs`` and ``view``.

    Raises
    ------
    HeadsError
        If it is no TOML, has an unknown key, or a value of another type.
    """
    try:
        values = tomllib.loads(read_file(path, _MAX_FILE).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise HeadsError(f"{path} is not a TOML file: {error}") from error
    options = {}
    for key, value in values.items():
        if key not in _PARSERS:
            raise HeadsError(f"{path} has an unknown key {key!r:.80}, expected among {', '.join(_PARSERS)}")
        options[key] = _PARSERS[key](value, f"{key} in {path}")
    return options


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
    allowed, numbers = _WHOLE if number is int else _RATE, []
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


def _integers(value: Any, where: str) -> tuple[int, ...]:
    return parse_numbers(value, where, number=int)


def _floats(value: Any, where: str) -> tuple[float, ...]:
    return parse_numbers(value, where, number=float)


def _integer(value: Any, where: str) -> int:
    _WHOLE.check(value, where)
    return int(value)


def _flag(value: Any, where: str) -> bool:
    if type(value) is not bool:
        raise HeadsError(f"{where} is {value!r:.80}, expected true or false")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise HeadsError(f"{where} is {value!r:.80}, expected a text")
    return value


def _settings(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict) or any(isinstance(item, (dict, list)) for item in value.values()):
        raise HeadsError(f"{where} is {value!r:.80}, expected a table of plain values")
    return value


def _choices(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict) or not set(value) <= {"encoder", "outputs", "view"}:
        raise HeadsError(f"{where} is {value!r:.80}, expected a table of encoder, outputs, view")
    return {name: _text(text, f"{name} of {where}") for name, text in value.items()}


_PARSERS: Mapping[str, Callable[[Any, str], Any]] = {
    "head": parse_texts,
    "fusion": parse_texts,
    "dim": _integers,
    "lr": _floats,
    "weight_decay": _floats,
    "seeds": _integer,
    "folds": _integer,
    "views": parse_texts,
    "controls": _flag,
    "screen": _flag,
    "loss": _text,
    "device": _text,
    "memory": _text,
    "dataset": _text,
    "set": _settings,
    "text": _choices,
    "image": _choices,
    "spectral": _choices,
}
