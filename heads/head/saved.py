"""What the folders of saved heads have in common: a description, and arrays as safetensors."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as parse_safetensors
from safetensors.numpy import save as format_safetensors

from heads.data.tasks import Task
from heads.errors import HeadsError
from heads.files.contents import Contents
from heads.files.document import is_version, parse_document
from heads.files.ranges import Range

__all__ = [
    "DESCRIPTION",
    "MAX_DESCRIPTION",
    "Description",
    "check_settings",
    "read_description",
    "read_tensors",
    "write_description",
    "write_tensors",
]

DESCRIPTION = "head.json"
"""The file of a description."""
MAX_DESCRIPTION = 16 * 2**20
"""Bytes that it may have."""

_FORMAT = 1
_MAX_TENSORS = 2**30
_MAX_HEADER = 2**20
_MAX_ENTRY = 4096  # bytes that one array takes in the header of a file
_MAX_CLASSES = 10_000
_N_FEATURES = Range(int, 1, 2**20)


def check_settings(config: type, values: Mapping[str, Any], *, kind: str) -> None:
    """Refuse keys that are no field of a head's config, a dataclass."""
    known = [field.name for field in fields(config)]
    unknown = [key for key in values if key not in known]
    if unknown:
        raise HeadsError(f"unknown setting {unknown[0]!r} of head {kind!r}, expected among {', '.join(known)}")


@dataclass(frozen=True)
class Description:
    """What every head writes beside its weights, as ``head.json``.

    Attributes
    ----------
    kind : str
    tasks : tuple of Task
    n_features : int
        Columns of the ``X`` that the head was fitted on.
    config : mapping
        The fields of the head's config; the head checks them.
    history : tuple of mapping
        `Head.history_`.
    fitted : mapping
        What is learnt and small: the best epoch, the chosen strengths.
    """

    kind: str
    tasks: tuple[Task, ...]
    n_features: int
    config: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...]
    fitted: Mapping[str, Any]


def write_description(folder: Path, description: Description) -> None:
    """Write ``head.json``."""
    text = json.dumps({"format": _FORMAT, **asdict(description)}, indent=1, allow_nan=False)
    (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def read_description(contents: Contents, kind: str) -> Description:
    """Read and check ``head.json`` of an untrusted folder."""
    path = contents.path(DESCRIPTION)
    found = parse_document(contents.read(DESCRIPTION, limit=MAX_DESCRIPTION), str(path))
    names = {"format", *Description.__dataclass_fields__}
    if not isinstance(found, dict) or set(found) != names:
        raise HeadsError(f"{path} does not have exactly the keys {sorted(names)!r}")
    if not is_version(found["format"], _FORMAT) or found["kind"] != kind:
        found = f"format {found['format']!r:.40} of kind {found['kind']!r:.40}"
        raise HeadsError(f"{path} is {found}, expected format {_FORMAT} of kind {kind!r}")
    _N_FEATURES.check(found["n_features"], f"n_features of {path}")
    history = found["history"]
    if not isinstance(history, list) or not all(isinstance(record, dict) for record in history):
        raise HeadsError(f"{path} has a history that is not a list of records")
    for name in ("config", "fitted"):
        if not isinstance(found[name], dict):
            raise HeadsError(f"{path} has {name} {found[name]!r:.80}, expected an object")
    tasks = _parse_tasks(found["tasks"], path)
    return Description(kind, tasks, found["n_features"], found["config"], tuple(history), found["fitted"])


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as safetensors."""
    path.write_bytes(format_safetensors({name: np.ascontiguousarray(v) for name, v in tensors.items()}))


def read_tensors(
    contents: Contents, name: str, expected: Mapping[str, tuple[type[np.generic], tuple[int, ...]]]
) -> dict[str, NDArray[Any]]:
    """Read an untrusted safetensors file: the ``expected`` names, dtypes and shapes, all values finite."""
    path = contents.path(name)
    n_bytes = sum(math.prod(shape) * np.dtype(dtype).itemsize for dtype, shape in expected.values())
    limit = min(n_bytes + _MAX_HEADER + _MAX_ENTRY * len(expected), _MAX_TENSORS)
    try:
        tensors = parse_safetensors(contents.read(name, limit=limit))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise HeadsError(f"{path} is not a safetensors file of plain arrays: {error}") from error
    if set(tensors) != set(expected):
        raise HeadsError(f"{path} holds {sorted(tensors)!r:.200}, expected {sorted(expected)!r:.200}")
    for key, (dtype, shape) in expected.items():
        found = tensors[key]
        if found.dtype != dtype or found.shape != shape:
            wanted = f"{np.dtype(dtype)} {shape!r}"
            raise HeadsError(f"{path} has {found.dtype} {found.shape!r} as {key!r}, expected {wanted}")
        if not np.isfinite(found).all():
            raise HeadsError(f"{path} has NaN or infinite values in {key!r}")
    return tensors


def _parse_tasks(entries: Any, path: Path) -> tuple[Task, ...]:
    if not isinstance(entries, list) or not 1 <= len(entries) <= 16:
        raise HeadsError(f"{path} has tasks {entries!r:.80}, expected a list of 1 to 16")
    tasks: list[Task] = []
    for entry in entries:
        if not isinstance(entry, dict) or set(entry) != set(Task.__dataclass_fields__):
            raise HeadsError(f"{path} has a task {entry!r:.80}, expected {list(Task.__dataclass_fields__)!r}")
        classes = entry["classes"]
        is_names = isinstance(classes, list) and _all_text(classes) and 2 <= len(classes) <= _MAX_CLASSES
        parent = [entry["parent"], entry["parent_class"]]
        is_parent = parent == [None, None] or _all_text(parent)
        if not (is_names and is_parent and _all_text([entry["name"], entry["kind"]])):
            raise HeadsError(f"{path} has a malformed task {entry!r:.80}")
        if entry["kind"] not in ("binary", "multiclass"):
            raise HeadsError(f"{path} has a task of kind {entry['kind']!r:.40}")
        task = Task(**{**entry, "classes": tuple(classes)})
        _check_place(task, tasks, path)
        tasks.append(task)
    return tuple(tasks)


def _check_place(task: Task, earlier: Sequence[Task], path: Path) -> None:
    classes = {other.name: other.classes for other in earlier}
    if task.name in classes:
        raise HeadsError(f"{path} names the task {task.name!r} twice")
    if task.parent is not None and task.parent_class not in classes.get(task.parent, ()):
        raise HeadsError(f"{path} has a task {task.name!r} whose parent {task.parent!r} is not an earlier task")


def _all_text(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) and 0 < len(value) <= 1000 for value in values)
