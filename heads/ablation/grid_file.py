"""The TOML file of an ablation: the options of the command in the same words, for grids too long to type."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from heads.ablation.request import WHOLE, AblationRequest, parse_numbers, parse_texts
from heads.errors import HeadsError
from heads.files.folder import read_file

__all__ = ["load_grid_file"]

_MAX_FILE = 1 << 20


def load_grid_file(path: Path) -> AblationRequest:
    """Read the options that a TOML file gives; lists may be TOML lists or comma-separated texts.

    ``head, fusion, dim, lr, weight_decay, seeds, folds, views, controls, screen, hold_out, select, loss, device,
    memory, dataset``, the table ``set`` with further settings of the heads, and the tables ``text``, ``image`` and
    ``spectral`` with ``encoder``, ``outputs`` and ``view``.

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
    return AblationRequest(**options)


def _integers(value: Any, where: str) -> tuple[int, ...]:
    return parse_numbers(value, where, number=int)


def _floats(value: Any, where: str) -> tuple[float, ...]:
    return parse_numbers(value, where, number=float)


def _integer(value: Any, where: str) -> int:
    WHOLE.check(value, where)
    return int(value)


def _whole_or_none(value: Any, where: str) -> int:
    return 0 if type(value) is int and value == 0 else _integer(value, where)


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
    "folds": _whole_or_none,
    "views": parse_texts,
    "controls": _flag,
    "screen": _flag,
    "hold_out": _text,
    "select": _text,
    "loss": _text,
    "device": _text,
    "memory": _text,
    "dataset": _text,
    "set": _settings,
    "text": _choices,
    "image": _choices,
    "spectral": _choices,
}
