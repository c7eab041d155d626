"""Boosted trees over principal components."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heads.gbdt.config import GbdtConfig
    from heads.gbdt.head import GbdtHead

__all__ = ["GbdtConfig", "GbdtHead"]

_HOMES = {"GbdtConfig": "heads.gbdt.config", "GbdtHead": "heads.gbdt.head"}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import what is asked for, so that no neighbour loads LightGBM."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)
