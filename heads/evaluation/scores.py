"""Score a run on one split: tasks A and B, the verdict, and the reference that calls everything AI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from featcache import FeatureStore
from heads.data.tasks import joint_tasks
from heads.errors import HeadsError
from heads.head.metrics import Metrics, always_ai, score_prediction
from heads.runs.run import Run, load_run_features

__all__ = ["EvalResult", "evaluate"]


@dataclass(frozen=True)
class EvalResult:
    """Scores of a run on one split.

    Attributes
    ----------
    split : str
    n, n_refused, n_unlabelled, n_unseen, n_unsure : int
        Rows scored; rows without a modality that the head needs; rows without any label; of the rows scored,
        those of a generator that the head does not know (they count for A, not for B), and those that the operating
        point leaves unsure: ``tasks`` and ``joint`` count them as not called AI.
    threshold : float
        On P(AI).
    transductive : bool
        Whether the head was trained on pseudo-labels of this split: then these are no scores on unseen data.
    tasks, joint, reference : mapping
        Metrics by name; None where one is undefined. B is scored over the AI rows whose generator is known,
        ``joint`` by the verdict rule over all rows whose class is known.
    """

    split: str
    n: int
    n_refused: int
    n_unlabelled: int
    n_unseen: int
    n_unsure: int
    threshold: float
    transductive: bool
    tasks: Mapping[str, Metrics]
    joint: Metrics
    reference: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return what ``heads evaluate --json`` prints."""
        return asdict(self)


def evaluate(run: Run, store: FeatureStore, split: str, *, point: str | None = None) -> EvalResult:
    """Score ``run`` on the rows of ``split``, at an operating point; unsure rows count as not called AI.

    Classes of the store are mapped to those of the run by name: the store may have some of them, others, or
    another order.

    Raises
    ------
    FingerprintMismatch
        If the store's vectors come from another producer.
    HeadsError
        If no row of the split can be scored.
    """
    features = load_run_features(run, store, splits=(split,))
    usable = features.usable(run.fusion)
    scored = usable & features.labelled
    if not scored.any():
        raise HeadsError(
            f"none of the {len(features)} rows of split {split!r} can be scored: {int((~usable).sum())} lack "
            f"a modality that fusion {run.fusion!r} needs, others have no label (heads predict needs none)"
        )
    rows = features.select(scored)
    chosen, prediction = run.point(point), run.predict(rows)
    metrics = score_prediction(prediction, rows.targets, tasks=run.tasks, threshold=chosen.ai_from)
    a = joint_tasks(run.tasks)[0].name
    known = rows.targets.y[a][rows.targets.applies[a]]
    return EvalResult(
        split=split,
        n=len(rows),
        n_refused=int((~usable).sum()),
        n_unlabelled=int((usable & ~scored).sum()),
        n_unseen=int(rows.unseen.sum()),
        n_unsure=int(chosen.is_unsure(prediction.proba[run.tasks[0].name]).sum()),
        threshold=chosen.ai_from,
        transductive=split in run.record.transductive,
        tasks=metrics["tasks"],
        joint=metrics["joint"],
        reference={"always_ai": {"tasks": {a: always_ai(known)}}},
    )
