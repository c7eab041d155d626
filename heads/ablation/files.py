"""The folder of an ablation: tables for people and programs, plots, and what is there while it is under way."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from heads.ablation.ablation import AblationResult
from heads.ablation.ledger import PLAN, ledger_files, remove_ledger, unfinished_in_ledger
from heads.ablation.plot import plot_ablation
from heads.errors import HeadsError
from heads.files.folder import check_strangers, find_unfinished, remove_unfinished, write_file

__all__ = ["ablation_document", "prepare_ablation_out", "write_ablation"]

_MARKER = "ablation.json"
_TABLES = ("ablation.csv", "heads.csv", "ablation.parquet", "ablation.png", "ablation.svg")
_OWN = re.compile("|".join(map(re.escape, (_MARKER, *_TABLES))))
_FORMAT = 2
_COMPARED_FORMAT = 3  # where outputs are compared: cells have more columns
_HELD_OUT_FORMAT = 4  # where rows are held out: there is one key more


def prepare_ablation_out(out: Path, *, overwrite: bool = False) -> None:
    """Raise if an ablation must not be written to ``out``; else remove what killed ablations left unfinished there.

    A folder in which an ablation was begun and not finished may be used again: it goes on there, or begins anew with
    ``overwrite``. With that a finished one is replaced when the new one is whole, not before. A folder with files that
    no ablation has is not overwritten.
    """
    if not os.path.lexists(out):
        return
    if out.is_symlink() or not out.is_dir():
        raise HeadsError(f"{out} is no folder: choose another --out")
    unfinished = [*find_unfinished(out, _OWN), *unfinished_in_ledger(out)]
    names = {path.name for path in out.iterdir()} - {path.name for path in unfinished}
    if names and not names & {_MARKER, PLAN}:
        raise HeadsError(f"{out} is neither empty nor the folder of an ablation: choose another --out")
    if overwrite:
        left = {path.relative_to(out).as_posix() for path in unfinished}
        check_strangers(out, {_MARKER, *_TABLES, *ledger_files(out), *left})
    elif _MARKER in names and PLAN not in names:
        raise HeadsError(f"{out} has a finished ablation: choose another --out, or replace it with --overwrite")
    remove_unfinished(unfinished)
    if overwrite:
        remove_ledger(out)


def ablation_document(result: AblationResult) -> dict[str, Any]:
    """Return what ``ablation.json`` holds and ``heads ablate --json`` prints."""
    held_out = {} if result.held_out is None else {"held_out": result.held_out.to_dict()}
    compared = _COMPARED_FORMAT if result.grid.outputs else _FORMAT
    return {
        "format": _HELD_OUT_FORMAT if held_out else compared,
        "kind": "heads-ablation",
        "grid": result.grid.to_dict(),
        "conditions": dict(result.conditions),
        "n_rows": dict(result.n_rows),
        "best": result.best().to_dict(),
        "findings": [finding.to_dict() for finding in result.findings],
        "table": [summary.to_dict() for summary in result.table],
        "heads": [head.to_dict() for head in result.heads],
        **held_out,
    }


def write_ablation(result: AblationResult, out: Path) -> list[str]:
    """Write an ablation's files, ``ablation.json`` last: with it the folder is complete.

    ``ablation.csv`` and, with pyarrow, ``ablation.parquet``: a line a configuration. ``heads.csv``: a line a head.
    With matplotlib ``ablation.png`` and ``ablation.svg``.

    Returns
    -------
    list of str
        What could not be written, and why.
    """
    document, notes = ablation_document(result), []
    write_file(out / "ablation.csv", _csv(document["table"]))
    write_file(out / "heads.csv", _csv(document["heads"]))
    try:
        write_file(out / "ablation.parquet", _parquet(document["table"]))
    except ImportError:
        notes.append("no ablation.parquet: pyarrow is not installed (pip install 'featcache[parquet]')")
        (out / "ablation.parquet").unlink(missing_ok=True)  # it would be that of an ablation before
    for form in ("png", "svg"):
        try:
            write_file(out / f"ablation.{form}", plot_ablation(result.table, form=form))
        except ImportError:
            notes.append("no plot: matplotlib is not installed (pip install 'featcache[plot]')")
            (out / f"ablation.{form}").unlink(missing_ok=True)
    text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)
    write_file(out / _MARKER, text.encode() + b"\n")
    # The results are whole now: what would let the ablation go on has served.
    remove_ledger(out)
    return list(dict.fromkeys(notes))


def _csv(records: Sequence[Mapping[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


def _parquet(records: Sequence[Mapping[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list(records[0])
    table = {name: [record[name] for record in records] for name in names}
    whole = ("dim", "n_seeds", "n_parameters")
    texts = ("head", "fusion", "control", "stage")
    types = {
        name: pa.string()
        if name in texts or name.endswith("_outputs")
        else pa.int64()
        if name in whole
        else pa.float64()
        for name in names
    }
    sink = io.BytesIO()
    pq.write_table(pa.table({name: pa.array(table[name], types[name]) for name in names}), sink)
    return sink.getvalue()
