"""What the commands share in talking to people and machines."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from featcache.project import load_project
from featcache.terminal import printable

__all__ = ["cache_folder", "console", "notes", "print_json", "safe"]

console = Console(highlight=False, emoji=False)
notes = Console(stderr=True, highlight=False, emoji=False)


def safe(text: object) -> str:
    """Return untrusted text, harmless to the terminal and to rich's markup."""
    return escape(printable(text))


def print_json(value: Any) -> None:
    """Write one JSON object to standard output."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=True, allow_nan=False) + "\n")


def cache_folder(given: Path | None) -> Path:
    """Return the cache that is meant: the argument, else the project's, else ``./cache``."""
    return given or load_project().cache or Path("cache")
