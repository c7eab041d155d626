"""Linear discriminants that do not see how views of a picture differ: moments, and a search of two strengths."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heads.lda.config import LdaConfig
    from heads.lda.head import LdaHead

__all__ = ["LdaConfig", "LdaHead"]

_HOMES = {"LdaConfig": "heads.lda.config", "LdaHead": "heads.lda.head"}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import what is asked for, so that no neighbour loads SciPy."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)
