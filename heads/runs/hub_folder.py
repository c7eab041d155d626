"""A run and its card as one folder that can be given away: nothing in it says where things lie on this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from heads.errors import HeadsError
from heads.files.contents import Contents
from heads.files.folder import new_folder
from heads.runs.record import Producer
from heads.runs.run import Run, save_run
from heads.runs.run_files import PSEUDO_FILE, known_files

__all__ = ["CARD", "RUN_FOLDER", "prepare_run", "write_hub_folder"]

CARD, RUN_FOLDER = "README.md", "run"
_MARKER = f"{RUN_FOLDER}/run.json"
_MAX_FILE = 2**30
_ABSOLUTE = re.compile(r"[/\\~]|[A-Za-z]:[/\\]")


def prepare_run(run: Run) -> Run:
    """Return a run as it is given away: of every path its record keeps the last name, and what decides is as it was.

    Its digest is another one, because its record is.
    """
    record = run.record
    pseudo = None if record.pseudo is None else {**record.pseudo, "teacher": _last(str(record.pseudo.get("teacher")))}
    return replace(
        run,
        record=replace(
            record,
            source={**record.source, "cache": _last(record.source["cache"])},
            producers={modality: _without_paths(producer) for modality, producer in record.producers.items()},
            pseudo=pseudo,
            files={name: digest for name, digest in record.files.items() if name != PSEUDO_FILE},
        ),
    )


def write_hub_folder(run: Run, card: str, *, out: Path, overwrite: bool = False) -> None:
    """Write ``README.md`` and ``run/``: whole or not at all.

    Parameters
    ----------
    run : Run
        What `prepare_run` returned. Its files are copied, but for pseudo-labels, which name samples.
    card : str
        Markdown.
    out : Path
        The folder to be made.
    overwrite : bool
        Replace such a folder; one with other files in it is refused.

    Raises
    ------
    HeadsError
        If ``out`` is taken, or a file of the run is no longer what was recorded.
    """
    if out.resolve() == run.path.resolve():
        raise HeadsError(f"{out} is the run itself, and a run never changes: name another --out")
    contents = Contents(run.path, run.record.files)
    files = {name: contents.read(name, limit=_MAX_FILE) for name in run.record.files}
    with new_folder(out, marker=_MARKER, known=_known, overwrite=overwrite) as draft:
        (draft / CARD).write_text(card, encoding="utf-8")
        save_run(run.record, run.head, out=draft / RUN_FOLDER, attachments=files)


def _known(out: Path) -> set[str]:
    return {CARD, f"{RUN_FOLDER}/", *(f"{RUN_FOLDER}/{name}" for name in known_files(out / RUN_FOLDER))}


def _without_paths(producer: Producer) -> Producer:
    document: Mapping[str, Any] = producer.document
    source = document.get("source")
    if not isinstance(source, dict):
        return producer
    is_folder = bool(source.get("path"))
    told = {
        name: _last(value) if isinstance(value, str) and (is_folder or _ABSOLUTE.match(value)) else value
        for name, value in source.items()
    }
    return replace(producer, document={**document, "source": told | ({"path": None} if "path" in source else {})})


def _last(path: str) -> str:
    """Return the last name of a path, of whatever system; of a root there is none."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] or "unnamed"
