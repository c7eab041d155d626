"""Many heads on the same rows, compared."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heads.ablation.ablation import AblationResult, ablate
    from heads.ablation.grid import Grid
    from heads.ablation.study_rows import StudyRows

__all__ = ["AblationResult", "Grid", "StudyRows", "ablate"]

_HOMES = {
    "AblationResult": "heads.ablation.ablation",
    "Grid": "heads.ablation.grid",
    "StudyRows": "heads.ablation.study_rows",
    "ablate": "heads.ablation.ablation",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import what is asked for, so that no neighbour loads scikit-learn."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)
