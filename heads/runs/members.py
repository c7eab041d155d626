"""Runs that are members of an ensemble: nothing is fitted, and each sees the vectors that it was fitted on."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from featcache import Selection
from heads.data.columns import Columns
from heads.data.division import divide_validation
from heads.data.features import Features
from heads.ensemble.config import EnsembleConfig, name_run
from heads.ensemble.head import EnsembleHead
from heads.ensemble.member import Member, Ranges
from heads.errors import HeadsError
from heads.head.balance import balance_of
from heads.head.kinds import HEADS
from heads.runs.record import TrainConfig
from heads.runs.run import Run, load_run

__all__ = ["MemberRuns"]

_COUNT_OR_FUSION = re.compile(r"[*:]")
_RECORD = "run.json"
_EXAMPLE = "heads or folders, e.g. lda,mlp or runs/first,runs/second"


@dataclass(frozen=True)
class MemberRuns:
    """Fitted runs whose predictions are to be averaged.

    Attributes
    ----------
    runs : tuple of Run
        None where all members are to be fitted.
    """

    runs: tuple[Run, ...]

    @classmethod
    def find(cls, settings: Mapping[str, Any], *, folds: int | None) -> tuple[Self, dict[str, Any]]:
        """Open the folders of runs, which are untrusted, that ``members`` of some settings names.

        Parameters
        ----------
        settings : mapping
            Of `heads.runs.fitting.parse_config`.
        folds : int or None
            Of ``heads train``.

        Returns
        -------
        MemberRuns
        settings : dict
            The same, but runs are named by what they are, not where.
        """
        folders = _split(settings.get("members"))
        if folders and folds is not None:
            raise HeadsError("--folds fits heads anew, and members that are runs are not: leave one of them out")
        runs = tuple(load_run(Path(folder)) for folder in folders)
        for run in runs:
            if isinstance(run.head, EnsembleHead):
                raise HeadsError(f"{run.path} is an ensemble itself: name its members, {_EXAMPLE}")
            if (balance := balance_of(run.record.config.settings)) != "none":
                raise HeadsError(f"{run.path} was fitted with balance {balance!r}, expected 'none' of runs to average")
            if run.tasks != runs[0].tasks:
                raise HeadsError(f"{run.path} has classes {_classes(run)}, {runs[0].path} has {_classes(runs[0])}")
        _check_different(runs)
        names = {"members": [name_run(run.record.digest) for run in runs]} if runs else {}
        return cls(runs), {**settings, **names}

    @property
    def views(self) -> tuple[str, ...]:
        """The views that any of them was fitted on; none where those were the selected one alone."""
        return tuple(dict.fromkeys(view for run in self.runs for view in run.record.views))

    @property
    def transductive(self) -> tuple[str, ...]:
        """The splits that any of them was fitted on with pseudo-labels."""
        return tuple(dict.fromkeys(split for run in self.runs for split in run.record.transductive))

    def fitting(self, features: Features, config: TrainConfig, selections: Mapping[str, Selection]) -> dict[str, Any]:
        """Return ``head`` and ``rule`` of `heads.runs.fitting.fit_run`, which calibrates; nothing without runs.

        Parameters
        ----------
        features : Features
            Rows of the splits ``train`` and ``valid``.
        config : TrainConfig
            With the columns that there are.
        selections : mapping of modality to Selection
            What stands in these.

        Raises
        ------
        HeadsError
            If a run takes vectors that are not among the columns, has other classes than the rows, or was selected on
            rows that are to calibrate.
        """
        if not self.runs:
            return {}
        columns, rule = features.columns(config.fusion), self.runs[0].record.division_rule
        self._check_rows(features, config.fusion, rule)
        members = [Member(run.head, _find_ranges(run, columns, selections)) for run in self.runs]
        own = EnsembleConfig.from_mapping(config.settings)
        return {"head": EnsembleHead(features.tasks, own, columns=columns, members=members), "rule": rule}

    def _check_rows(self, features: Features, fusion: str, rule: str) -> None:
        """Refuse rows of which those that are to calibrate may have chosen a run's epochs or strengths."""
        first = self.runs[0]
        if first.tasks != features.tasks:
            known = ", ".join(name for task in features.tasks[1:] for name in task.classes)
            raise HeadsError(f"{first.path} has classes {_classes(first)}, the training rows have {known or 'no more'}")
        kept = np.flatnonzero((features.split == "valid") & features.usable(fusion) & features.labelled)
        digest = divide_validation(features.select(kept), rule=rule).digest
        for run in self.runs:
            found = str(run.record.validation.get("digest"))
            if found != digest:
                raise HeadsError(
                    f"{run.path} was selected on other validation rows than these with --fusion {fusion} (digest "
                    f"{found[:12]}, expected {digest[:12]}): no row is known to be left for the threshold; fit the "
                    "members anew on these rows, e.g. --members lda,mlp"
                )


def _split(members: Any) -> list[str]:
    """Return the folders of runs that are named; none where kinds of heads are."""
    named = [part.strip() for part in members.split(",")] if isinstance(members, str) else []
    if "" in named:
        raise HeadsError(f"--members {members!r:.200} has an empty name in it, expected {_EXAMPLE}")
    folders = [name for name in named if _is_folder(name)]
    if folders and len(folders) < len(named):
        raise HeadsError(f"--members {members!r:.200} names kinds of heads and folders of runs, expected {_EXAMPLE}")
    return folders


def _is_folder(name: str) -> bool:
    """Whether a member is the folder of a run; what could be a kind of head is that."""
    if os.sep in name or name in (os.curdir, os.pardir):
        return True
    if _COUNT_OR_FUSION.split(name)[0] in HEADS:
        return False
    if not os.path.isfile(Path(name) / _RECORD):  # noqa: PTH113 (is_file raises for a name that is too long)
        kinds = ", ".join(kind for kind, found in HEADS.items() if not found.has_members)
        raise HeadsError(f"--members names {name!r:.80}, expected a kind of head ({kinds}) or the folder of a run")
    return True


def _check_different(runs: Sequence[Run]) -> None:
    """Refuse runs of which one is named twice, or is a copy of another: it would count twice."""
    seen: dict[str, Path] = {}
    for run in runs:
        first = seen.setdefault(run.record.digest, run.path)
        if first is not run.path:
            raise HeadsError(f"--members names the same run twice, as {first} and {run.path}: name each once")


def _find_ranges(run: Run, columns: Columns, selections: Mapping[str, Selection]) -> Ranges:
    """Return where the vectors that a run takes stand among some columns."""
    ranges: list[tuple[int, int]] = []
    for modality, wanted in run.selections.items():
        found = selections.get(modality)
        if found is None:
            raise HeadsError(f"{run.path} takes {modality} vectors, which are not among these: choose another --fusion")
        if (found.fingerprint, found.view) != (wanted.fingerprint, wanted.view):
            raise HeadsError(
                f"{run.path} takes {modality} vectors of {wanted.fingerprint[:12]} in view {wanted.view}, these are of "
                f"{found.fingerprint[:12]} in view {found.view}: --{modality}-encoder {wanted.fingerprint[:12]}"
            )
        start = columns.span([modality]).start
        stops = np.cumsum(found.widths)
        places = {
            name: (start + int(stop - width), start + int(stop))
            for name, width, stop in zip(found.outputs, found.widths, stops, strict=True)
        }
        missing = [name for name in wanted.outputs if name not in places]
        if missing:
            raise HeadsError(
                f"{run.path} takes {modality} output {missing[0]}, which is not among {', '.join(found.outputs):.200}: "
                f"--{modality}-outputs {','.join(wanted.outputs):.200}"
            )
        ranges += [places[name] for name in wanted.outputs]
    return _merge(ranges)


def _merge(ranges: Sequence[tuple[int, int]]) -> Ranges:
    """Join pieces that follow each other."""
    merged: list[tuple[int, int]] = []
    for start, stop in ranges:
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], stop)
        else:
            merged.append((start, stop))
    return tuple(merged)


def _classes(run: Run) -> str:
    return ", ".join(name for task in run.tasks for name in task.classes)[:200]
