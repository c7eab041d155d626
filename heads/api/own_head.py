"""Which head a classifier is fitted with: one of a kind of `heads`, or one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from heads.data.tasks import Targets, Task
from heads.errors import InputError
from heads.head.kinds import HEADS, config_class, make_head
from heads.head.protocol import FloatArray, Prediction

__all__ = ["HeadMaker", "OwnHead", "SavedHead", "build_head"]


class OwnHead(Protocol):
    """The part of the protocol of heads that a classifier needs; see `heads.head.protocol.Head`."""

    @property
    def kind(self) -> str:
        """Its name, that of no kind of `heads`."""
        ...

    def fit(self, X: FloatArray, targets: Targets, *, select: tuple[FloatArray, Targets], seed: int = 0) -> Self:
        """Fit on ``X`` (n, d) float32; choose epochs, strengths and the like on the rows of ``select`` only."""
        ...

    def predict_proba(self, X: FloatArray) -> Prediction:
        """Return the class probabilities of ``X``."""
        ...


@runtime_checkable
class SavedHead(Protocol):
    """A head that can be written into a folder."""

    def save(self, folder: Path) -> None:
        """Write the fitted head into an existing empty folder; no pickle."""
        ...


HeadMaker = Callable[[Sequence[Task]], OwnHead]
"""What makes a head for tasks: as a rule its class."""


def build_head(head: str | HeadMaker, tasks: Sequence[Task], settings: Mapping[str, Any] | None) -> OwnHead:
    """Return a head that is to be fitted.

    Raises
    ------
    HeadsError
        If there is no such kind, or it has no such settings; if one's own head has settings, no name, or that of a
        kind.
    """
    if isinstance(head, str):
        return make_head(head, tasks, config_class(head).from_mapping(dict(settings or {})))
    if settings:
        raise InputError("settings are those of a kind of heads: give your own head its own, e.g. by functools.partial")
    own = head(tasks)
    kind = getattr(own, "kind", None)
    if not isinstance(kind, str) or kind in HEADS:
        raise InputError(f"the head {own!r:.80} is of kind {kind!r:.40}, expected a name other than {', '.join(HEADS)}")
    return own
