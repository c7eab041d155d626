"""Finished trials of an ablation, each in a file of its own: an ablation that was interrupted goes on from there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as format_safetensors

from heads.errors import HeadsError
from heads.files import write_file
from heads.registry import read_bounded, read_tensors

__all__ = ["LEDGER_FOLDER", "PLAN", "Ledger", "TrialResult"]

PLAN = "plan.json"
LEDGER_FOLDER = "trials"
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
    """

    decisions: NDArray[np.int16]
    seconds: NDArray[np.float64]
    n_parameters: NDArray[np.int64]
    best_epoch: NDArray[np.int64]


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
            If another plan was begun there; the first difference is named.
        """
        path = folder / PLAN
        document = json.loads(json.dumps({"format": _FORMAT, "kind": "heads-ablation-plan", "plan": plan}))
        if path.is_file():
            _check_same(_read_plan(path), document["plan"], folder)
        else:
            write_file(path, json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n")
        return cls(folder / LEDGER_FOLDER)

    def find(self, name: str, *, n_heads: int, n_classes: tuple[int, ...], n_rows: int) -> TrialResult | None:
        """Return a finished trial; None if it is not there, or damaged: then it is to be done again.

        Parameters
        ----------
        name : str
            Digest of everything that the trial depends on.
        n_heads, n_rows : int
            Its size.
        n_classes : tuple of int
            Of each task: decisions are below.
        """
        path = self._folder / f"{name}.safetensors"
        if not path.is_file():
            return None
        shapes: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
            "decisions": (np.int16, (n_heads, len(n_classes), n_rows)),
            "seconds": (np.float64, (n_heads,)),
            "n_parameters": (np.int64, (n_heads,)),
            "best_epoch": (np.int64, (n_heads,)),
        }
        try:
            found = TrialResult(**read_tensors(path, shapes))
        except HeadsError:
            return None
        limits = np.array(n_classes)[None, :, None]
        is_sound = ((found.decisions >= 0) & (found.decisions < limits)).all() and (found.seconds >= 0).all()
        return found if is_sound else None

    def add(self, name: str, result: TrialResult) -> None:
        """Keep a finished trial."""
        arrays = {key: np.ascontiguousarray(value) for key, value in vars(result).items()}
        write_file(self._folder / f"{name}.safetensors", format_safetensors(arrays))

    def close(self) -> None:
        """Remove the trials: their results are in the tables."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _read_plan(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(read_bounded(path, _MAX_PLAN))
    except (ValueError, RecursionError) as error:
        raise HeadsError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict) or found.get("format") != _FORMAT or not isinstance(found.get("plan"), dict):
        raise HeadsError(f"{path} is no plan of an ablation of format {_FORMAT}: choose another --out")
    plan: Mapping[str, Any] = found["plan"]
    return plan


def _check_same(begun: Mapping[str, Any], asked: Mapping[str, Any], folder: Path) -> None:
    for name in sorted({*begun, *asked}):
        if begun.get(name) != asked.get(name):
            raise HeadsError(
                f"{folder} has an ablation that was begun with {name} {begun.get(name)!r:.120}, now it is "
                f"{asked.get(name)!r:.120}: ask for the same, choose another --out, or begin anew with --overwrite"
            )
