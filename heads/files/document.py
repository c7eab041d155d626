"""JSON documents that somebody else wrote: bounded in values, depth and digits, so that nothing later overflows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, NoReturn

from heads.errors import HeadsError
from heads.files.ranges import Range

__all__ = ["is_version", "parse_document"]

_MAX_VALUES = 2**20
_MAX_DEPTH = 64
_MAX_DIGITS = 300  # fewer than those of the largest float


def parse_document(data: bytes, where: str) -> Any:
    """Read JSON that is not trusted.

    Parameters
    ----------
    data : bytes
        UTF-8, of bounded size.
    where : str
        Name of the document, for messages.

    Raises
    ------
    HeadsError
        If it is no JSON, has numbers that are not finite or of more than 300 digits, text that is no Unicode, more
        than a million values, or more than 64 levels.
    """
    n_values = data.count(b",") + data.count(b"[") + data.count(b"{")  # at least, and their memory is bounded by that
    if n_values > _MAX_VALUES:
        raise HeadsError(f"{where} has {n_values:,} values, expected at most {_MAX_VALUES:,}")
    try:
        value = json.loads(
            data.decode("utf-8"), parse_int=_parse_int, parse_float=_parse_float, parse_constant=_refuse_constant
        )
        _check_text_and_depth(value)
    except (ValueError, RecursionError) as error:
        raise HeadsError(f"{where} is not JSON: {error}") from error
    return value


def is_version(value: Any, version: int) -> bool:
    """Return whether a value of a document is this version of its format."""
    return Range(int, version, version).holds(value)


def _parse_int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _parse_float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits:.40} is beyond the largest number")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _check_text_and_depth(value: Any) -> None:
    level = [value]
    for _ in range(_MAX_DEPTH):
        for item in level:
            if isinstance(item, str) and not item.isascii():
                item.encode("utf-8")  # half a pair of surrogates cannot be written again
        level = [item for parent in level for item in _items(parent)]
        if not level:
            return
    raise ValueError(f"more than {_MAX_DEPTH} levels")


def _items(parent: Any) -> Iterable[Any]:
    if isinstance(parent, dict):
        return (*parent, *parent.values())
    return parent if isinstance(parent, list) else ()
