"""The folder of a classifier: ``classifier.json`` and the files of its head; nothing in it is trusted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.api.class_tasks import ClassTasks
from heads.api.own_head import OwnHead, SavedHead
from heads.errors import HeadsError, InputError
from heads.files.contents import Contents
from heads.files.document import is_version, parse_document
from heads.files.folder import hash_file, new_folder, read_file
from heads.files.ranges import Range
from heads.head.kinds import HEADS, head_class, is_head_file
from heads.runs.recording import library_versions
from heads.runs.run_files import check_files

__all__ = ["SavedClassifier", "load_classifier", "save_classifier"]

_FORMAT = 1
_KIND = "heads-classifier"
_RECORD = "classifier.json"
_HEAD = "head"
_MAX_RECORD = 16 * 2**20
_MAX_FILE = 2**30
_MAX_CLASSES = 10_000
_DTYPES: Mapping[str, tuple[type, ...]] = {"str": (str,), "bool": (bool,), "int64": (int,), "float64": (int, float)}
_FILE = re.compile(rf"{_HEAD}/[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SHARE, _COUNT = Range(float, 0, 1), Range(int, 0, 2**31 - 1)


@dataclass(frozen=True)
class SavedClassifier:
    """What ``classifier.json`` says beside the name of the head and the checksums of its files.

    Attributes
    ----------
    settings, held_out, seed
        As the classifier was given them.
    classes : array (K,)
        Sorted class names: texts or numbers.
    real : int or None
        The place of the real one.
    threshold : float or None
    n_features : int
    feature_names : tuple of str or None
    """

    settings: Mapping[str, Any] | None
    held_out: float
    seed: int
    classes: NDArray[Any]
    real: int | None
    threshold: float | None
    n_features: int
    feature_names: tuple[str, ...] | None

    @property
    def tasks(self) -> ClassTasks:
        """What the head learnt."""
        return ClassTasks(tuple(map(str, self.classes.tolist())), self.real)


def save_classifier(saved: SavedClassifier, head: OwnHead, *, out: Path, overwrite: bool = False) -> None:
    """Write a folder and publish it by renaming: one that exists is complete.

    Raises
    ------
    HeadsError
        If the folder is there and may not be replaced, as `heads.files.folder.check_out` has it.
    InputError
        If the head has no `save`, or a setting or class is nothing that JSON has.
    """
    if not isinstance(head, SavedHead):
        raise InputError(f"a head of kind {head.kind!r:.40} cannot be saved: give it a method save(folder), and load")
    with new_folder(out, marker=_RECORD, known=_known_files, overwrite=overwrite) as draft:
        (draft / _HEAD).mkdir()
        head.save(draft / _HEAD)
        names = [path.relative_to(draft).as_posix() for path in sorted((draft / _HEAD).rglob("*"))]
        odd = next((name for name in names if not _FILE.fullmatch(name)), None)
        if odd is not None:
            raise InputError(f"the head writes {odd!r:.200}, expected files named by letters, digits, '_', '.' and '-'")
        fields = {name: getattr(saved, name) for name in SavedClassifier.__dataclass_fields__}
        document = {
            "format": _FORMAT,
            "kind": _KIND,
            "head": head.kind,
            **fields,
            "classes": _format_classes(saved.classes),
            "versions": library_versions(),
            "files": {name: hash_file(draft / name, _MAX_FILE) for name in names},
        }
        (draft / _RECORD).write_bytes(_format(document))


def load_classifier(path: Path, *, head: type[OwnHead] | None = None) -> tuple[SavedClassifier, OwnHead]:
    """Read what `save_classifier` wrote; the folder is untrusted: whatever is wrong with it raises `HeadsError`.

    Parameters
    ----------
    path : Path
    head : class, optional
        That of a head of no kind of `heads`.
    """
    if not (path / _RECORD).is_file():
        raise HeadsError(f"{path} is not the folder of a classifier: it has no {_RECORD}")
    where = str(path / _RECORD)
    document = parse_document(read_file(path / _RECORD, _MAX_RECORD), where)
    fields = _check_fields(document, where)
    saved = SavedClassifier(
        **{name: fields[name] for name in SavedClassifier.__dataclass_fields__}
        | {
            "classes": _parse_classes(fields["classes"], where),
            "feature_names": fields["feature_names"] and tuple(fields["feature_names"]),
        }
    )
    n_classes = len(saved.classes)
    if saved.real is not None and not Range(int, 0, n_classes - 1).holds(saved.real):
        raise HeadsError(f"{where} has real {saved.real!r:.40}, expected the place of one of {n_classes} classes")
    if (saved.real is None) != (saved.threshold is None):
        raise HeadsError(f"{where} has a threshold without a real class, or none with one")
    files = fields["files"]
    check_files(path, files, record=_RECORD)
    contents = Contents(path / _HEAD, {name.removeprefix(f"{_HEAD}/"): digest for name, digest in files.items()})
    found = _load_head(fields["head"], head, contents, where)
    contents.check_unread(limit=_MAX_FILE)
    if tuple(getattr(found, "tasks", saved.tasks.tasks)) != saved.tasks.tasks:
        raise HeadsError(f"{where} and the head in {path / _HEAD} name different classes")
    return saved, found


def _load_head(kind: str, given: type[OwnHead] | None, contents: Contents, where: str) -> OwnHead:
    if given is None and kind not in HEADS:
        raise HeadsError(f"{where} has a head of kind {kind!r:.40}, none of {', '.join(HEADS)}: name its class, head=…")
    reader: Any = head_class(kind) if given is None else given
    found: OwnHead = reader.load(contents)
    if found.kind != kind:
        raise HeadsError(f"{where} has a head of kind {kind!r:.40}, the class that is named reads {found.kind!r:.40}")
    return found


def _format_classes(classes: NDArray[Any]) -> dict[str, Any]:
    values = classes.tolist()
    for dtype, types in _DTYPES.items():
        if all(type(value) in types for value in values):
            document = {"dtype": dtype, "values": values}
            _parse_classes(document, "the classifier")
            return document
    raise InputError(f"classes {values!r:.80} cannot be saved, expected texts or numbers alone")


def _parse_classes(fields: Any, where: str) -> NDArray[Any]:
    """Read sorted class names, two or more and each once."""
    is_object = isinstance(fields, dict) and fields.keys() == {"dtype", "values"}
    dtype, values = (str(fields["dtype"]), fields["values"]) if is_object else ("", None)
    is_list = isinstance(values, list) and 2 <= len(values) <= _MAX_CLASSES
    if not is_list or any(type(value) not in _DTYPES.get(dtype, ()) for value in values or ()):
        raise HeadsError(f"{where} has malformed classes: {fields!r:.80}")
    try:
        found: NDArray[Any] = np.array(values, dtype=dtype)
    except OverflowError:
        raise HeadsError(f"{where} has classes that are no {dtype}: {values!r:.80}") from None
    if found.tolist() != sorted(set(found.tolist())):
        raise HeadsError(f"{where} has classes that are not sorted, or there twice: {values!r:.80}")
    return found


def _check_fields(document: Any, where: str) -> dict[str, Any]:
    """Return the object, if it has exactly the keys of one, and each of its type."""
    if (
        not isinstance(document, dict)
        or document.get("kind") != _KIND
        or not is_version(document.get("format"), _FORMAT)
    ):
        raise HeadsError(f"{where} is no {_KIND} of format {_FORMAT}: was it written by a newer version?")
    own = {*SavedClassifier.__dataclass_fields__, "format", "kind", "head", "versions", "files"}
    if document.keys() != own:
        raise HeadsError(f"{where} has other keys than {', '.join(sorted(own))}: {sorted(document)!r:.200}")
    names, files, threshold = document["feature_names"], document["files"], document["threshold"]
    is_sound = {
        "head": isinstance(document["head"], str),
        "settings": document["settings"] is None or isinstance(document["settings"], dict),
        "held_out": _SHARE.holds(document["held_out"]),
        "seed": _COUNT.holds(document["seed"]),
        "threshold": threshold is None or _SHARE.holds(threshold),
        "n_features": _COUNT.holds(document["n_features"]),
        "feature_names": names is None or (_is_texts(names) and len(names) == document["n_features"]),
        "versions": isinstance(document["versions"], dict),
        "files": isinstance(files, dict) and _is_texts(list(files.values())) and all(map(_FILE.fullmatch, files)),
    }
    for name, is_right in is_sound.items():
        if not is_right:
            raise HeadsError(f"{where} has a malformed {name}: {document[name]!r:.80}")
    return document


def _is_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _format(document: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise InputError(f"the classifier cannot be saved: {error}") from error


def _known_files(path: Path) -> set[str]:
    """Return what belongs to a classifier by its name; what the record lists is nobody's word."""
    of_head = {f"{_HEAD}/{file.name}" for file in (path / _HEAD).glob("*") if is_head_file(file.name)}
    return {_RECORD, f"{_HEAD}/", *of_head}
