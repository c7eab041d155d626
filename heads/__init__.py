"""Train light fusion heads on cached embeddings.

>>> from heads import Detector
>>> detector = Detector.load("runs/first")          # doctest: +SKIP
>>> detector.detect("a.jpg").verdict                # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heads.api.classifier import DetectorClassifier
    from heads.api.detector import Detector
    from heads.runs.run import load_run

__all__ = ["Detector", "DetectorClassifier", "load_run"]

_HOMES = {
    "Detector": "heads.api.detector",
    "DetectorClassifier": "heads.api.classifier",
    "load_run": "heads.runs.run",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import what is asked for: nobody waits for scikit-learn who judges with a run."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found = getattr(import_module(_HOMES[name]), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
