"""Networks, many trained in one pass."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heads.mlp.config import MlpConfig
    from heads.mlp.head import MlpHead

__all__ = ["MlpConfig", "MlpHead"]

_HOMES = {"MlpConfig": "heads.mlp.config", "MlpHead": "heads.mlp.head"}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import what is asked for, so that no neighbour loads torch."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)
