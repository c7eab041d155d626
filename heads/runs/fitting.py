"""Fit one head: select on one part of validation, choose the threshold on the other, never look at test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from heads.data.columns import Columns
from heads.data.division import CLASS_RULE, divide_validation
from heads.data.features import Features
from heads.data.fusion import FUSIONS, STRUCTURED
from heads.data.row_source import ArrayRows, RowSource, StoredRows
from heads.data.tasks import IntArray, Targets, Task
from heads.errors import HeadsError
from heads.head.balance import fitted_share
from heads.head.kinds import config_class, find_kind, make_head
from heads.head.protocol import Device, Head, Progress
from heads.head.threads import blas_on_one_thread
from heads.runs.blocks import predict_rows
from heads.runs.likeness import Likeness, build_likeness, know_scores
from heads.runs.record import TrainConfig
from heads.runs.validation import calibrate, summarise
from heads.verdicts.maps import PRIOR
from heads.verdicts.record import VerdictRules

__all__ = ["FittedRun", "build_head", "fit_run", "parse_config"]


@dataclass(frozen=True)
class FittedRun:
    """A fitted head and how it came about.

    Attributes
    ----------
    config : TrainConfig
    head : Head
    threshold : float
    threshold_note : str or None
        Why the threshold was not chosen on the calibrating rows.
    verdicts : VerdictRules
        The share of AI rows among those that were fitted, maps to probabilities, and the rule of the threshold.
    validation : mapping
        ``rule``, ``digest``, ``note`` (which class the head could not be selected by; None: none), and for
        ``selecting`` and ``calibrating`` each ``n``, ``score`` (the mean of ``task_scores``: A's balanced accuracy at
        0.5, B's macro F1) and the metrics at ``threshold``.
    rows : mapping of str to int
        ``train``, ``valid``: rows used; ``*_refused``: a modality is missing; ``*_unlabelled``: no task
        applies; ``unseen``: rows of a generator that training does not show; ``pseudo``: extra training rows.
    likeness : Likeness
        What tells pictures that are unlike those of training.
    """

    config: TrainConfig
    head: Head
    threshold: float
    threshold_note: str | None
    verdicts: VerdictRules
    validation: Mapping[str, Any]
    rows: Mapping[str, int]
    likeness: Likeness


def parse_config(values: Mapping[str, Any]) -> TrainConfig:
    """Read a flat mapping into a `TrainConfig` with every setting of its head; unknown keys are refused.

    Parameters
    ----------
    values : mapping
        ``head``, ``fusion``, ``seed``, ``preset`` and the settings of the head (``dim``, ``loss``, ``lr`` …).
        ``loss="multitask"`` is what every head but ``mlp`` does anyway, and is accepted for each.
    """
    own = {name: values[name] for name in ("head", "fusion", "seed", "preset") if name in values}
    settings = {name: value for name, value in values.items() if name not in own}
    config = TrainConfig(**own)
    if "members" in settings and not find_kind(config.head).has_members:
        raise HeadsError(
            f"members {settings['members']!r:.80} are of head 'ensemble', head is {config.head!r}: --head ensemble"
        )
    if not find_kind(config.head).is_network:
        if config.fusion in STRUCTURED:
            plain = next(name for name in FUSIONS if FUSIONS[name] == FUSIONS[config.fusion] and name not in STRUCTURED)
            raise HeadsError(
                f"fusion {config.fusion!r} is a network of head 'mlp', head is {config.head!r}: "
                f"--fusion {plain} gives it the same columns"
            )
        loss = settings.pop("loss", "multitask")
        if config.preset is not None or loss != "multitask":
            what = f"preset {config.preset!r}" if config.preset is not None else f"loss {loss!r}"
            raise HeadsError(f"{what} is of head 'mlp', head is {config.head!r}")
    return TrainConfig(**own, settings=asdict(_head_config(config, settings)))


def build_head(
    tasks: Sequence[Task],
    config: TrainConfig,
    *,
    columns: Columns | None = None,
    device: Device = "cpu",
    memory: str | None = None,
) -> Head:
    """Return a head that is to be fitted.

    Parameters
    ----------
    tasks : sequence of Task
    config : TrainConfig
        As `parse_config` returns it.
    columns : Columns, optional
        What stands where in X: a fusion with a structure has to know.
    device, memory
        As of `fit_run`.
    """
    options, kind = dict[str, Any](), find_kind(config.head)
    if kind.is_network or kind.has_members:
        options = {"columns": columns, "device": device, "memory": memory}
    elif device != "cpu" or memory is not None:
        raise HeadsError(f"device and memory are settings of head 'mlp', head is {config.head!r}")
    return make_head(config.head, tasks, _head_config(config, config.settings), **options)


@blas_on_one_thread()
def fit_run(
    features: Features,
    config: TrainConfig,
    *,
    stored: StoredRows | None = None,
    extra: Features | None = None,
    head: Head | None = None,
    rule: str = CLASS_RULE,
    device: Device = "cpu",
    memory: str | None = None,
    progress: Progress | None = None,
) -> FittedRun:
    """Fit a head on the rows of split ``train``.

    Parameters
    ----------
    features : Features
        Rows of the splits ``train`` and ``valid``; rows of other splits are refused.
    config : TrainConfig
        As `parse_config` returns it.
    stored : StoredRows, optional
        The vectors of the rows of ``features``, which then needs none itself. With several views head ``mlp`` learns
        from a random one per row and epoch, another head from all of them; it selects and calibrates on all.
    extra : Features, optional
        Further training rows, whose targets were made by another head. Not together with ``stored``.
    head : Head, optional
        What is fitted; default: a new head by ``config``.
    rule : str
        By which validation is divided (see `heads.data.division`).
    device : {"cpu", "cuda"}
        Where head ``mlp`` is trained.
    memory : str, optional
        How much the matrix of head ``mlp`` may take, e.g. ``"2GB"``: what does not fit is read in every epoch.
    progress : callable, optional
        Called after each training step with its record.
    """
    stray = sorted({*features.split.tolist()} - {"train", "valid"})
    if stray:
        raise HeadsError(f"training was given rows of split {stray[0]!r}, expected 'train' and 'valid' alone")
    train, train_counts = _usable(features, "train", config.fusion)
    valid, valid_counts = _usable(features, "valid", config.fusion)
    columns = features.columns(config.fusion)
    if head is None:
        head = build_head(features.tasks, config, columns=columns, device=device, memory=memory)
    counts = {
        **train_counts,
        **valid_counts,
        "unseen": int(features.unseen.sum()),
        "pseudo": len(extra) if extra else 0,
    }
    kept = np.concatenate([train, valid])
    used = features.select(kept)
    division = divide_validation(features.select(valid), rule=rule)
    rows = {name: len(train) + np.flatnonzero(getattr(division, name)) for name in ("selecting", "calibrating")}
    source, targets, added = _gather(used, stored and stored.select(kept), config.fusion, extra)
    fit_rows = np.concatenate([np.arange(len(train)), added])
    head.fit_rows(source, targets, fit_rows, rows["selecting"], seed=config.seed, progress=progress)
    views = [predict_rows(head, source, rows["calibrating"], view=view) for view in range(source.n_views)]
    predictions = {"selecting": predict_rows(head, source, rows["selecting"]), "calibrating": views[0]}
    parts = {name: used.select(chosen) for name, chosen in rows.items()}
    threshold, note, verdicts = calibrate(views, parts["calibrating"], prior=_prior(targets, fit_rows, config))
    validation = summarise(parts, predictions, division=division, threshold=threshold)
    held, known = parts["calibrating"], know_scores(parts, predictions)
    likeness = build_likeness(source, targets, fit_rows, held=held, held_rows=rows["calibrating"], known=known)
    return FittedRun(config, head, threshold, note, verdicts, validation, counts, likeness)


def _head_config(config: TrainConfig, settings: Mapping[str, Any]) -> Any:
    own, kind = config_class(config.head), find_kind(config.head)
    given = asdict(own.paper()) if config.preset == "paper" else {}
    fusion = {"fusion": config.fusion} if kind.is_network or kind.has_members else {}
    return own.from_mapping({**given, **settings, **fusion})


def _usable(features: Features, split: str, fusion: str) -> tuple[IntArray, dict[str, int]]:
    """Return the rows of a split that can be used, and why others cannot."""
    of_split, usable = features.split == split, features.usable(fusion)
    kept = np.flatnonzero(of_split & usable & features.labelled)
    counts = {
        split: len(kept),
        f"{split}_refused": int((of_split & ~usable).sum()),
        f"{split}_unlabelled": int((of_split & usable & ~features.labelled).sum()),
    }
    if split == "train" and not len(kept):
        raise HeadsError(
            f"none of the {int(of_split.sum())} rows of split 'train' can be used: {counts['train_refused']} "
            f"lack a modality that fusion {fusion!r} needs, {counts['train_unlabelled']} have no label"
            + _other_fusions(features.select(of_split & features.labelled))
        )
    return kept, counts


def _gather(
    used: Features, stored: StoredRows | None, fusion: str, extra: Features | None
) -> tuple[RowSource, Targets, IntArray]:
    """Return where vectors are read, their targets, and which rows are the extra ones."""
    n_extra = len(extra) if extra else 0
    if stored is not None:
        if n_extra:
            raise HeadsError("extra rows cannot join rows that stay in the store")
        return stored, used.targets, np.arange(0)
    X, targets = used.matrix(fusion), used.targets
    if extra is not None and n_extra:
        X, targets = np.concatenate([X, extra.matrix(fusion)]), targets.join(extra.targets)
    return ArrayRows(X), targets, np.arange(len(used), len(X))


def _prior(targets: Targets, fit_rows: IntArray, config: TrainConfig) -> float | None:
    """Return what raw scores stand for: the share of AI rows, as they weigh, among those fitted; None of one class."""
    of_fit, name = targets.select(fit_rows), next(iter(targets.y))
    y = of_fit.y[name][of_fit.applies[name]]
    share = float(np.mean(y == 1)) if len(y) else 0.0
    return fitted_share(share, config.settings) if PRIOR.holds(share) else None


def _other_fusions(features: Features) -> str:
    """Say which fusions the rows could be used with."""
    plain = {name: needs for name, needs in FUSIONS.items() if name not in STRUCTURED}
    able = {name: int(features.usable(name).sum()) for name, needs in plain.items() if {*needs} <= {*features.present}}
    named = [f"--fusion {name} could use {n}" for name, n in able.items() if n]
    return "".join(f"; {text}" for text in named)
