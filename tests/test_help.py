"""Help can be read on a terminal of 80 columns: nothing is cut, and options stand in panels."""

from __future__ import annotations

from enum import StrEnum
from typing import get_args, get_type_hints

import pytest
import typer
from typer.core import TyperOption
from typer.main import get_command
from typer.testing import CliRunner

from cli import featcache_app, heads_app

APPS = {"featcache": featcache_app, "heads": heads_app}
COMMANDS = [
    (program, info.name or str(getattr(info.callback, "__name__", "")).replace("_", "-"))
    for program, app in APPS.items()
    for info in app.registered_commands
]
MOST_OPTIONS = 9


def options_of(app: typer.Typer, name: str) -> list[TyperOption]:
    command = get_command(app)
    found = command.commands[name]  # type: ignore[attr-defined]
    return [option for option in found.params if isinstance(option, TyperOption) and not option.hidden]


def choices_of(app: typer.Typer, name: str) -> list[str]:
    """Return the values of all options that take one of some."""
    callback = next(
        info.callback
        for info in app.registered_commands
        if info.callback and name in (info.name, info.callback.__name__)
    )
    kinds = [kind for hint in get_type_hints(callback).values() for kind in (hint, *get_args(hint))]
    return [str(value) for kind in kinds if isinstance(kind, type) and issubclass(kind, StrEnum) for value in kind]


@pytest.mark.parametrize(("program", "name"), COMMANDS)
def test_help_has_every_word_whole(program: str, name: str) -> None:
    app = APPS[program]
    result = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert result.exit_code == 0 and all(len(line) <= 80 for line in result.stdout.splitlines())
    words = set(result.stdout.split())
    for option in options_of(app, name):
        said = [*option.opts, *option.secondary_opts, *(option.help or "").split()]
        assert words.issuperset(said), (option.name, set(said) - words)
    assert all(any(choice in word for word in words) for choice in choices_of(app, name))


@pytest.mark.parametrize("words", [(program,) for program in APPS] + COMMANDS)
def test_no_type_is_shown_behind_an_option_that_takes_no_value(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(APPS[words[0]], [*words[1:], "--help"], env={"COLUMNS": "80"}).stdout
    assert "--help" in shown and "<bool>" not in shown


@pytest.mark.parametrize(("program", "name"), COMMANDS)
def test_no_panel_of_options_is_long(program: str, name: str) -> None:
    panels = [option.rich_help_panel for option in options_of(APPS[program], name)]
    assert max(map(panels.count, panels)) <= MOST_OPTIONS
