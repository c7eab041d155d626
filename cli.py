"""The command lines ``featcache`` and ``heads``: two applications, one way to fail."""

from __future__ import annotations

import os
import sys

import typer

from featcache import commands as featcache_commands
from featcache.errors import FeatcacheError
from featcache.terminal import printable
from heads import commands as heads_commands

__all__ = ["featcache_app", "featcache_main", "heads_app", "heads_main"]


def _app(help_: str) -> typer.Typer:
    return typer.Typer(
        help=help_,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


featcache_app = _app("Run frozen encoders over a data set once; keep the embeddings.")
featcache_commands.register(featcache_app)
heads_app = _app("Train and use light heads on cached embeddings.")
heads_commands.register(heads_app)


def _main(app: typer.Typer) -> None:
    # Threads that spin while they wait make small fits many times slower on a busy machine. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
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
    _main(featcache_app)


def heads_main() -> None:
    """Run the command ``heads``."""
    _main(heads_app)
