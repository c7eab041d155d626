"""Wrong usage: values that no run and no data could take are refused before anything is read, with exit code 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from featcache.errors import FeatcacheError

__all__ = ["usage_of"]


@contextmanager
def usage_of(option: str, value: object) -> Iterator[None]:
    """Raise BadParameter, which names the option, for what is wrong with its value; with None no error is its own."""
    try:
        yield
    except FeatcacheError as error:
        if value is None:
            raise
        raise typer.BadParameter(str(error), param_hint=option) from error
