"""Commands whose options are the fields of a frozen dataclass, so that two of them can share some."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

__all__ = ["takes"]

_Request = TypeVar("_Request")


def takes(kind: type[_Request]) -> Callable[[Callable[[_Request], None]], Callable[..., None]]:
    """Give a command the fields of a dataclass as its options, in their order.

    A field that is a dataclass itself stands for its own fields, in its place. The types of all others are as typer
    takes them; every one has a default.
    """

    def wrap(command: Callable[[_Request], None]) -> Callable[..., None]:
        def run(**given: object) -> None:
            command(_build(kind, given))

        parameters = list(_parameters(kind))
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return run

    return wrap


def _parameters(kind: type[Any]) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        if is_dataclass(hints[field.name]):
            yield from _parameters(hints[field.name])
        else:
            how = inspect.Parameter.KEYWORD_ONLY
            yield inspect.Parameter(field.name, how, default=field.default, annotation=hints[field.name])


def _build(kind: type[_Request], given: Mapping[str, object]) -> _Request:
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{n: _build(hints[n], given) if is_dataclass(hints[n]) else given[n] for n in names})
