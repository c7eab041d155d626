"""Which files a run's folder has: looked at with suspicion before any is read."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from heads.errors import HeadsError
from heads.files.contents import Contents
from heads.files.folder import file_size, find_waiting, read_file
from heads.head.kinds import is_head_file
from heads.runs.likeness import LIKENESS_FILE
from heads.runs.record import RunRecord, parse_record

__all__ = [
    "FOLDS_FILE",
    "HEAD_FOLDER",
    "MAX_FILE",
    "PSEUDO_FILE",
    "RECORD_FILE",
    "check_files",
    "known_files",
    "open_contents",
    "read_record",
]

RECORD_FILE, HEAD_FOLDER = "run.json", "head"
PSEUDO_FILE = "pseudo_labels.csv"
"""The attachment of a run that was fitted on pseudo-labels."""
FOLDS_FILE = "folds.safetensors"
"""The attachment of a run with cross-fitted scores."""
MAX_FILE = 2**30
"""Bytes of a file."""

_IN_HEAD = f"{HEAD_FOLDER}/"
_MAX_RECORD = 24 * 2**20
_MAX_FILES = 128
_MAX_TOTAL = 2**31


def read_record(path: Path) -> RunRecord:
    """Read what a run says of itself, without its head; the folder is untrusted."""
    if not os.path.isfile(path / RECORD_FILE):  # noqa: PTH113 (is_file raises for a name that is too long)
        raise HeadsError(_absence(path))
    return parse_record(read_file(path / RECORD_FILE, _MAX_RECORD), str(path / RECORD_FILE))


def _absence(path: Path) -> str:
    waiting = find_waiting(path)
    if waiting is None:
        return f"{path} is not the folder of a run: it has no {RECORD_FILE} (heads train makes one)"
    line = shlex.join(["mv", str(waiting), str(path)])
    return f"{path} is missing: a command that was to replace it was killed; what was there is put back by: {line}"


def check_files(path: Path, files: Mapping[str, str], *, record: str) -> None:
    """Look at the kinds and sizes of all files that a record lists, before any of them is read."""
    if len(files) > _MAX_FILES:
        raise HeadsError(f"{path / record} lists {len(files)} files, expected at most {_MAX_FILES}")
    unlisted = next((p.name for p in (path / HEAD_FOLDER).glob("*") if _IN_HEAD + p.name not in files), None)
    if unlisted is not None:
        raise HeadsError(f"{path} has a file {_IN_HEAD + unlisted!r:.80} that {record} does not list")
    total = 0
    for name in files:
        if not os.path.lexists(path / name):
            raise HeadsError(f"{path} lacks the file {name!r:.80} that {record} lists")
        size = file_size(path / name)
        total += size
        if size > MAX_FILE or total > _MAX_TOTAL:
            raise HeadsError(
                f"{path / name} has {size} bytes, expected at most {MAX_FILE}, and {_MAX_TOTAL} in all files of a run"
            )


def open_contents(path: Path, files: Mapping[str, str]) -> tuple[Contents, Contents]:
    """Return the files of the head, and those beside the record."""
    of_head = {name.removeprefix(_IN_HEAD): digest for name, digest in files.items() if name.startswith(_IN_HEAD)}
    beside = {name: digest for name, digest in files.items() if not name.startswith(_IN_HEAD)}
    return Contents(path / HEAD_FOLDER, of_head), Contents(path, beside)


def known_files(path: Path) -> set[str]:
    """Return what belongs to a run by its name; what the record lists is nobody's word: anybody may have written it."""
    of_head = {_IN_HEAD + file.name for file in (path / HEAD_FOLDER).glob("*") if is_head_file(file.name)}
    return {RECORD_FILE, PSEUDO_FILE, FOLDS_FILE, LIKENESS_FILE, _IN_HEAD, *of_head}
