"""Ensembles: heads of other kinds, whose predictions are averaged."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heads.ensemble.config import EnsembleConfig
    from heads.ensemble.head import EnsembleHead

__all__ = ["EnsembleConfig", "EnsembleHead"]

_HOMES = {"EnsembleConfig": "heads.ensemble.config", "EnsembleHead": "heads.ensemble.head"}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import what is asked for, and no member's framework."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)
