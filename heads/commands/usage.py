"""Wrong usage: values that no run and no data could take are refused before anything is read, with exit code 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import typer

from featcache.commands.usage import usage_of
from heads.files.ranges import Range
from heads.files.table import TABLE_ENDINGS, check_table_ending

__all__ = ["check_memory", "check_out_table", "usage_of", "within"]


def check_memory(value: str | None) -> str | None:
    """Raise BadParameter unless the value is an amount of memory."""
    if value is not None:
        from featcache import parse_memory

        with usage_of("--memory", value):
            parse_memory(value)
    return value


def within(allowed: Range) -> Callable[[float | None], float | None]:
    """Return the callback of an option that refuses what is no such number."""

    def check(value: float | None) -> float | None:
        if value is not None and not allowed.holds(value):
            raise typer.BadParameter(f"{value:g} is not {allowed}")
        return value

    return check


def check_out_table(out: Path, *others: str) -> None:
    """Raise BadParameter unless there is a table format for the ending of ``out``; ``others``: what else there is."""
    if out.suffix.lower() not in TABLE_ENDINGS:
        message = f"{out} ends in {out.suffix!r}, expected one of {', '.join((*TABLE_ENDINGS, *others))}"
        raise typer.BadParameter(message, param_hint="--out")
    check_table_ending(out)
