"""The command lines ``featcache`` and ``heads``: two applications, one way to fail."""

from __future__ import annotations

import os
import platform
import re
import signal
import sys
import threading
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from types import FrameType
from typing import Annotated, Any


def _stop(_number: int, _frame: FrameType | None) -> None:
    os.write(2, b"interrupted before anything was begun\n")
    os._exit(130)


# What follows takes a moment, in which Ctrl-C would print a traceback of imports.
_before = (
    {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    if threading.current_thread() is threading.main_thread()
    else {}
)

import typer  # noqa: E402
from typer.core import TyperGroup  # noqa: E402

from featcache import commands as featcache_commands  # noqa: E402
from featcache.console import printable  # noqa: E402
from featcache.errors import FeatcacheError  # noqa: E402
from heads import commands as heads_commands  # noqa: E402

for _number, _handler in _before.items():
    signal.signal(_number, _handler)

__all__ = ["featcache_app", "featcache_main", "heads_app", "heads_main"]

_LIBRARIES = ("torch", "transformers", "h5py", "numpy")
_VERSION = typer.Option(
    "--version", callback=lambda is_asked: _print_version(is_asked), is_eager=True, help="Print versions and exit."
)
_CHOICE = re.compile(r"(?:Value error, )?(?P<given>'.*?') is not one of (?P<choices>'.*')\.?")


class _Commands(TyperGroup):
    """Commands whose options say which of their values was probably meant, and whose switches show no type."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options of all commands."""
        return _without_types_of_switches(super().get_params(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by its name; None if there is none."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _without_types_of_switches(command.get_params(ctx))
        return command

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            if found := _CHOICE.fullmatch(error.message):
                error.message = _refusal(found["given"], found["choices"])
            raise


def _without_types_of_switches(params: list[Any]) -> list[Any]:
    """Have help pages show no ``<bool>`` behind options that take no value: there typer shows what is to be typed."""
    for param in params:
        if getattr(param, "is_flag", False) and param.metavar is None:
            param.metavar = ""
    return params


def _refusal(given: str, choices: str) -> str:
    """Say that a value is none of the choices, both as they were quoted, and which comes close."""
    close = get_close_matches(given.lower(), choices.split(", "), n=1)
    return f"{given} is not one of {choices}" + (f". Did you mean {close[0]}?" if close else "")


def _print_version(is_asked: bool) -> None:
    if is_asked:
        libraries = ", ".join(f"{name} {_version(name)}" for name in _LIBRARIES)
        typer.echo(f"featcache {_version('featcache')} (Python {platform.python_version()}, {libraries})")
        raise typer.Exit


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def _app(help_: str) -> typer.Typer:
    app = typer.Typer(
        cls=_Commands,
        help=help_,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback(help=help_)
    def before(version: Annotated[bool, _VERSION] = False) -> None:
        pass

    return app


featcache_app = _app("Run frozen encoders over a data set once; keep the embeddings.")
featcache_commands.register(featcache_app)
heads_app = _app("Train and use light heads on cached embeddings.")
heads_commands.register(heads_app)


def _main(app: typer.Typer) -> None:
    try:
        app()
    except (FeatcacheError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)
        sys.stderr.write(f"error: {printable(error)}\n")
        sys.exit(1)


def featcache_main() -> None:
    """Run the command ``featcache``."""
    # The threads of a forward wait for each other often and not long: they turn for about as long as it takes to sleep
    # and wake up. GNU's OpenMP by itself has them turn so long that on a busy machine a forward takes twice the time.
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}  # read when torch is loaded
    _main(featcache_app)


def heads_main() -> None:
    """Run the command ``heads``."""
    # Threads that spin while they wait make small fits many times slower on a busy machine. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _main(heads_app)
