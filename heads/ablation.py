"""A grid of heads, one by one, on the same rows: validation scores by fusion and dimension, over seeds."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from heads.errors import HeadsError
from heads.features import Features
from heads.files import check_out, new_folder
from heads.head import Head, Progress
from heads.plot import plot_ablation
from heads.train import fit_run, library_versions, parse_config

__all__ = ["AblationResult", "AblationRow", "ablate", "check_ablation_out", "write_ablation"]

_MARKER = "ablation.json"
_SCORES = ("score", "a_balanced_accuracy", "b_f1_macro", "calibrating_score")


@dataclass(frozen=True)
class AblationRow:
    """One fitted head.

    Attributes
    ----------
    fusion : str
    dim : int or None
        None for a head without a hidden layer.
    seed : int
    score : float
        Mean of the next two, on the selecting part of validation: the part that also chose the epoch.
    a_balanced_accuracy, b_f1_macro : float or None
        At the threshold 0.5; over the AI rows.
    calibrating_score : float or None
        The same score on the calibrating part, which chose nothing of it.
    n_parameters : int or None
        Numbers that were learnt; None where that has no meaning (trees).
    seconds : float
        Of the fit and its scores, on this machine.
    """

    fusion: str
    dim: int | None
    seed: int
    score: float
    a_balanced_accuracy: float | None
    b_f1_macro: float | None
    calibrating_score: float | None
    n_parameters: int | None
    seconds: float


@dataclass(frozen=True)
class AblationResult:
    """A whole grid.

    Attributes
    ----------
    rows : tuple of AblationRow
    config : mapping
        What all heads have in common.
    n_rows : mapping of str to int
        ``train`` and ``valid`` rows used, ``refused`` ones that lack a modality which a fusion needs.
    machine, versions : mapping
    """

    rows: tuple[AblationRow, ...]
    config: Mapping[str, Any]
    n_rows: Mapping[str, int]
    machine: Mapping[str, Any]
    versions: Mapping[str, str]

    def summary(self) -> list[dict[str, Any]]:
        """Return mean and standard deviation over the seeds, one record a fusion and dimension."""
        records = []
        for fusion, dim in dict.fromkeys((row.fusion, row.dim) for row in self.rows):
            rows = [row for row in self.rows if (row.fusion, row.dim) == (fusion, dim)]
            record: dict[str, Any] = {"fusion": fusion, "dim": dim, "n_seeds": len(rows)}
            for name in _SCORES:
                record[name], record[f"{name}_sd"] = _mean_sd([getattr(row, name) for row in rows])
            record["n_parameters"] = rows[0].n_parameters
            record["seconds"] = statistics.fmean(row.seconds for row in rows)
            records.append(record)
        return records

    def to_dict(self) -> dict[str, Any]:
        """Return what ``ablation.json`` holds and ``heads ablate --json`` prints."""
        return {"format": 1, "kind": "heads-ablation", **asdict(self), "summary": self.summary()}


def ablate(
    features: Features,
    config: Mapping[str, Any],
    *,
    fusions: Sequence[str],
    dims: Sequence[int],
    seeds: Sequence[int],
    progress: Progress | None = None,
) -> AblationResult:
    """Fit a head for every fusion, dimension and seed, all on the rows that every fusion can use.

    Parameters
    ----------
    features : Features
        Rows of the splits ``train`` and ``valid``; test is never read.
    config : mapping
        Settings for `heads.train.parse_config`; ``fusion``, ``dim`` and ``seed`` come from the grid.
    fusions, dims, seeds : sequence
        The grid; ``dims`` matters to the head ``mlp`` alone.
    progress : callable, optional
        Called after each head with ``done``, ``total`` and the fields of its `AblationRow`.
    """
    for name, values in (("fusion", fusions), ("dimension", dims), ("seed", seeds)):
        if not values or len(set(values)) != len(values):
            raise HeadsError(f"expected one {name} or more, each once, found {list(values)!r}")
    usable = np.all([features.usable(fusion) for fusion in fusions], axis=0)
    common = features.select(usable)
    sizes: Sequence[int | None] = dims if config.get("head", "mlp") == "mlp" else [None]
    grid = list(product(fusions, sizes, seeds))
    rows: list[AblationRow] = []
    counts: Mapping[str, int] = {}
    for fusion, dim, seed in grid:
        own = {"fusion": fusion, "seed": seed, **({} if dim is None else {"dim": dim})}
        row, counts = _fit_row(common, {**config, **own}, dim)
        rows.append(row)
        if progress is not None:
            progress({"done": len(rows), "total": len(grid), **asdict(row)})
    n_rows = {"train": counts["train"], "valid": counts["valid"], "refused": int((~usable).sum())}
    return AblationResult(tuple(rows), dict(config), n_rows, _machine(), library_versions())


def check_ablation_out(out: Path, *, overwrite: bool = False) -> None:
    """Raise if an ablation must not be written to ``out``: worth knowing before the work."""
    check_out(out, marker=_MARKER, overwrite=overwrite)


def write_ablation(result: AblationResult, out: Path, *, overwrite: bool = False) -> str | None:
    """Write ``ablation.csv`` (a line a head), ``summary.csv``, ``ablation.json`` and ``ablation.png``.

    Returns
    -------
    str or None
        Why there is no plot, if there is none.
    """
    note = None
    with new_folder(out, marker=_MARKER, overwrite=overwrite) as draft:
        (draft / "ablation.csv").write_bytes(_table([asdict(row) for row in result.rows]))
        (draft / "summary.csv").write_bytes(_table(result.summary()))
        text = json.dumps(result.to_dict(), indent=1, allow_nan=False, ensure_ascii=False)
        (draft / _MARKER).write_text(text + "\n", encoding="utf-8")
        try:
            plot_ablation(result.summary(), draft / "ablation.png")
        except ImportError:
            note = "no plot: matplotlib is not installed (pip install 'featcache[plot]')"
    return note


def _fit_row(features: Features, values: Mapping[str, Any], dim: int | None) -> tuple[AblationRow, Mapping[str, int]]:
    config = parse_config(values)
    start = time.perf_counter()
    fitted = fit_run(features, config)
    seconds = time.perf_counter() - start
    selecting, calibrating = fitted.validation["selecting"], fitted.validation["calibrating"]
    row = AblationRow(
        fusion=config.fusion,
        dim=dim,
        seed=config.seed,
        score=selecting["score"],
        a_balanced_accuracy=selecting["task_scores"]["a"],
        b_f1_macro=selecting["task_scores"].get("b"),
        calibrating_score=calibrating["score"],
        n_parameters=_count_parameters(fitted.head),
        seconds=seconds,
    )
    return row, fitted.rows


def _count_parameters(head: Head) -> int | None:
    """Count the learnt numbers in a head's safetensors, the standardisation left out."""
    from safetensors import safe_open

    with tempfile.TemporaryDirectory() as folder:
        head.save(Path(folder))
        counts = []
        for path in Path(folder).glob("*.safetensors"):
            with safe_open(path, framework="numpy") as tensors:
                names = [name for name in tensors.keys() if not name.startswith("scaler.")]  # noqa: SIM118
                learnt = [tensors.get_tensor(name) for name in names]
                counts += [array.size for array in learnt if array.dtype.kind == "f"]
    return sum(counts) or None


def _mean_sd(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Return the mean and the sample standard deviation; None where undefined."""
    known = [value for value in values if value is not None]
    if not known:
        return None, None
    return statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None


def _table(records: Sequence[Mapping[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


def _machine() -> dict[str, Any]:
    return {"platform": platform.platform(), "machine": platform.machine(), "cpus": os.cpu_count()}
