"""The commands of ``heads``: each parses its options, makes one library call, and renders the result."""

from __future__ import annotations

import typer

from heads.commands.ablate import ablate
from heads.commands.audit import audit
from heads.commands.calibrate import calibrate
from heads.commands.card import card
from heads.commands.compare import compare
from heads.commands.detect import detect
from heads.commands.evaluate import evaluate
from heads.commands.logs import verify_log
from heads.commands.predict import predict
from heads.commands.pseudo_label import pseudo_label
from heads.commands.scan import scan
from heads.commands.train import train

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add all commands to an application."""
    commands = (train, audit, evaluate, compare, calibrate, predict, pseudo_label, ablate, detect, scan)
    for command in (*commands, verify_log, card):
        app.command(command.__name__.replace("_", "-"))(command)
