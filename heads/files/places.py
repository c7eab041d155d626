"""Paths that another wrote down, such as that of the cache of a run: they may be anywhere, closed to this user too."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["is_same", "is_there"]


def is_there(path: Path) -> bool:
    """Tell whether there is something at a path, as far as this user may look."""
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises PermissionError


def is_same(one: Path, other: Path) -> bool:
    """Tell whether two paths lead to one place, as far as this user may look."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False
