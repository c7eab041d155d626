"""One head: fitted, saved in a folder, used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heads.runs.fitting import fit_run
    from heads.runs.run import Run, load_run, save_run

__all__ = ["Run", "fit_run", "load_run", "save_run"]

_HOMES = {
    "Run": "heads.runs.run",
    "fit_run": "heads.runs.fitting",
    "load_run": "heads.runs.run",
    "save_run": "heads.runs.run",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import what is asked for, so that no neighbour loads scikit-learn."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)
