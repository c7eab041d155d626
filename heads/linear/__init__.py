"""Linear heads: a path of strengths, solved exactly."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heads.linear.head import LinearConfig, LinearHead

__all__ = ["LinearConfig", "LinearHead"]

_HOMES = {"LinearConfig": "heads.linear.head", "LinearHead": "heads.linear.head"}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import what is asked for, so that no neighbour loads scikit-learn."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)
