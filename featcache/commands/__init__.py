"""The commands of ``featcache``: each parses its options, makes one library call, and renders the result."""

from __future__ import annotations

import typer

from featcache.commands.export import export
from featcache.commands.extract import extract
from featcache.commands.status import status
from featcache.commands.verify import verify

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add all commands to an application."""
    for command in (extract, status, verify, export):
        app.command()(command)
