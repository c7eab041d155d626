"""The options of a command are the fields of its request, in their order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import typer
from typer.testing import CliRunner

from featcache.commands.takes import takes


@dataclass(frozen=True)
class Shared:
    size: Annotated[int, typer.Option(min=1)] = 3
    loud: Annotated[bool, typer.Option("--loud")] = False


@dataclass(frozen=True)
class Asked:
    name: Annotated[str | None, typer.Argument()] = None
    shared: Shared = field(default_factory=Shared)
    last: Annotated[str, typer.Option()] = "z"


def call(*arguments: str) -> tuple[int, list[Asked], str]:
    found: list[Asked] = []
    app = typer.Typer()

    @app.command()
    @takes(Asked)
    def greet(request: Asked) -> None:
        """Say something."""
        found.append(request)

    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, found, result.output


def test_a_request_is_what_was_given_and_else_the_defaults() -> None:
    assert call()[1] == [Asked()]
    given = call("ann", "--last", "y", "--loud", "--size", "5")[1]
    assert given == [Asked("ann", Shared(5, True), "y")]


def test_the_help_has_the_fields_of_both_in_order() -> None:
    code, found, said = call("--help")
    places = [said.index(word) for word in ("Say something.", "--size", "--loud", "--last")]
    assert code == 0 and not found and places == sorted(places)


def test_what_an_option_refuses_is_refused() -> None:
    code, found, said = call("--size", "0")
    assert code == 2 and not found and "--size" in said
