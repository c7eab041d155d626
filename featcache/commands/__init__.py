"""The commands of ``featcache``: each parses its options, makes one library call, and renders the result."""

from __future__ import annotations

import typer

from featcache.commands.bench import bench
from featcache.commands.diff import diff
from featcache.commands.export import export
from featcache.commands.extract.command import ExtractCommand
from featcache.commands.extract.command import extract as extract_command
from featcache.commands.failures import failures
from featcache.commands.gc import gc
from featcache.commands.repair import repair
from featcache.commands.status import status
from featcache.commands.verify import verify

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add all commands to an application."""
    app.command(cls=ExtractCommand)(extract_command)
    for command in (status, failures, verify, repair, gc, diff, export, bench):
        app.command()(command)
