"""Finished trials of an ablation, each in a file of its own: an ablation that was interrupted goes on from there."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as format_safetensors

from heads.errors import HeadsError
from heads.files.contents import Contents
from heads.files.document import is_version, parse_document
from heads.files.folder import find_unfinished, read_file, remove_unfinished, write_file
from heads.head.saved import read_tensors

__all__ = [
    "LEDGER_FOLDER",
    "PLAN",
    "Ledger",
    "TrialResult",
    "begun_folds",
    "begun_plan",
    "ledger_files",
    "remove_ledger",
    "unfinished_in_ledger",
]

PLAN = "plan.json"
LEDGER_FOLDER = "trials"
_SUFFIX = ".safetensors"
_TRIAL = re.compile(r"[0-9a-f]{32}\.safetensors")
_FORMAT = 1
_MAX_PLAN = 16 * 2**20


@dataclass(frozen=True)
class TrialResult:
    """What is kept of heads that were fitted together.

    Attributes
    ----------
    decisions : int16 array (n_heads, n_tasks, n_rows)
        Class indices on the rows that are scored; of rows to which a task does not apply they mean nothing.
    seconds : float64 array (n_heads,)
        Each head's share of the time.
    n_parameters : int64 array (n_heads,)
        Numbers that were learnt; -1 where that has no meaning.
    best_epoch : int64 array (n_heads,)
        The epoch that was kept; 0 where the loss diverged before there was one, -1 where there are no epochs.
    p_ai : float32 array (n_heads, n_rows) or None
        Raw P(AI) on the same rows; None where nothing is held out.
    """

    decisions: NDArray[np.int16]
    seconds: NDArray[np.float64]
    n_parameters: NDArray[np.int64]
    best_epoch: NDArray[np.int64]
    p_ai: NDArray[np.float32] | None = None


class Ledger:
    """The folder of an ablation while it is under way.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def open(cls, folder: Path, plan: Mapping[str, Any]) -> Ledger:
        """Begin in a new or empty folder, or go on with what was begun there to the same plan.

        Raises
        ------
        HeadsError
            If another plan was begun there; the first difference is named. If its trials are behind a link.
        """
        path, ledger = folder / PLAN, cls(folder / LEDGER_FOLDER)
        ledger._check_folder()
        document = json.loads(json.dumps({"format": _FORMAT, "kind": "heads-ablation-plan", "plan": plan}))
        begun = begun_plan(folder)
        if begun is not None:
            _check_same(begun, document["plan"], folder)
        else:
            write_file(path, json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n")
        remove_unfinished(unfinished_in_ledger(folder))
        return ledger

    def find(
        self, name: str, *, n_heads: int, n_classes: tuple[int, ...], n_rows: int, has_p_ai: bool = False
    ) -> TrialResult | None:
        """Return a finished trial; None if it is not there, or damaged: then it is to be done again.

        Parameters
        ----------
        name : str
            Digest of everything that the trial depends on, 32 hexadecimal digits.
        n_heads, n_rows : int
            Its size.
        n_classes : tuple of int
            Of each task: decisions are below.
        has_p_ai : bool
            Whether P(AI) is kept with it.
        """
        file = name + _SUFFIX
        if not (self._folder / file).is_file():
            return None
        shapes: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
            "decisions": (np.int16, (n_heads, len(n_classes), n_rows)),
            "seconds": (np.float64, (n_heads,)),
            "n_parameters": (np.int64, (n_heads,)),
            "best_epoch": (np.int64, (n_heads,)),
        }
        if has_p_ai:
            shapes["p_ai"] = (np.float32, (n_heads, n_rows))
        try:
            found = TrialResult(**read_tensors(Contents(self._folder), file, shapes))
        except HeadsError:
            return None
        limits = np.array(n_classes)[None, :, None]
        is_sound = ((found.decisions >= 0) & (found.decisions < limits)).all() and (found.seconds >= 0).all()
        if found.p_ai is not None:
            is_sound &= ((found.p_ai >= 0) & (found.p_ai <= 1)).all()
        return found if is_sound else None

    def add(self, name: str, result: TrialResult) -> None:
        """Keep a finished trial."""
        self._check_folder()
        arrays = {key: np.ascontiguousarray(value) for key, value in vars(result).items() if value is not None}
        write_file(self._folder / (name + _SUFFIX), format_safetensors(arrays))

    def _check_folder(self) -> None:
        if self._folder.is_symlink():
            raise HeadsError(
                f"{self._folder} is a link, expected a folder of the ablation's own: remove the link, or choose "
                "another --out"
            )


def begun_plan(folder: Path) -> Mapping[str, Any] | None:
    """Return what an ablation was begun with that is under way in a folder; None if none is."""
    path = folder / PLAN
    return _read_plan(path) if os.path.lexists(path) else None


def begun_folds(folder: Path) -> int | None:
    """Return the folds of an ablation that is under way in a folder, 0 for none; None if none is under way."""
    plan = begun_plan(folder)
    folds = None if plan is None else plan.get("folds") or 0
    return folds if isinstance(folds, int) else None


def ledger_files(folder: Path) -> set[str]:
    """Return what lets an ablation in a folder go on, as relative paths; that of the trials' folder ends in ``/``."""
    trials = folder / LEDGER_FOLDER
    files = [] if trials.is_symlink() or not trials.is_dir() else list(trials.iterdir())
    kept = [path for path in files if _TRIAL.fullmatch(path.name) and (path.is_symlink() or not path.is_dir())]
    return {PLAN, f"{LEDGER_FOLDER}/", *(f"{LEDGER_FOLDER}/{path.name}" for path in kept)}


def unfinished_in_ledger(folder: Path) -> list[Path]:
    """Return what killed commands left unfinished of the plan and of trials."""
    return [*find_unfinished(folder, re.compile(re.escape(PLAN))), *find_unfinished(folder / LEDGER_FOLDER, _TRIAL)]


def remove_ledger(folder: Path) -> None:
    """Remove what would let an ablation go on; what else lies there, or behind links, stays."""
    for name in ledger_files(folder) - {PLAN, f"{LEDGER_FOLDER}/"}:
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # not there, a link, or with something in it that is not ours
        (folder / LEDGER_FOLDER).rmdir()
    (folder / PLAN).unlink(missing_ok=True)


def _read_plan(path: Path) -> Mapping[str, Any]:
    found = parse_document(read_file(path, _MAX_PLAN), str(path))
    is_ours = isinstance(found, dict) and is_version(found.get("format"), _FORMAT)
    if not is_ours or not isinstance(found.get("plan"), dict):
        raise HeadsError(f"{path} is no plan of an ablation of format {_FORMAT}: choose another --out")
    plan: Mapping[str, Any] = found["plan"]
    return plan


def _check_same(begun: Mapping[str, Any], asked: Mapping[str, Any], folder: Path) -> None:
    for name in sorted({*begun, *asked}):
        if begun.get(name) == asked.get(name):
            continue
        if name == "rows":  # digests, which tell nobody anything
            found = "other rows or vectors than there are now (data set, encoder, outputs, or what they hold)"
        else:
            found = f"{name} {begun.get(name)!r:.120}, now it is {asked.get(name)!r:.120}"
        raise HeadsError(
            f"{folder} has an ablation that was begun with {found}: ask for the same, choose another --out, or begin "
            "anew with --overwrite"
        )
