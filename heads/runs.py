"""A run directory: ``run.json``, weights and checksums; published at once, read with suspicion."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from featcache import FeatureStore, Selection
from heads.errors import HeadsError
from heads.features import Features, load_features
from heads.files import check_out, new_folder
from heads.fusion import check_columns, check_fusion
from heads.head import Head, Prediction
from heads.record import Producer, RunRecord, format_record, parse_record
from heads.registry import load_head, read_bounded
from heads.tasks import Task

__all__ = ["Run", "check_run_out", "load_run", "load_run_features", "producers_of", "save_run"]

_RECORD = "run.json"
_HEAD = "head"
_MAX_RECORD = 64 * 2**20
_MAX_FILES = 64


@dataclass(frozen=True)
class Run:
    """A fitted head with all that is needed to use it on other rows.

    Attributes
    ----------
    path : Path
        The run's folder.
    record : RunRecord
        The contents of ``run.json``.
    head : Head
    """

    path: Path
    record: RunRecord
    head: Head

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What the head predicts."""
        return self.head.tasks

    @property
    def fusion(self) -> str:
        """How the modalities meet."""
        return self.record.config.fusion

    @property
    def threshold(self) -> float:
        """The threshold on P(AI)."""
        return self.record.threshold

    @property
    def selections(self) -> dict[str, Selection]:
        """The vectors that the head takes, by modality."""
        return {modality: producer.selection for modality, producer in self.record.producers.items()}

    def predict(self, features: Features) -> Prediction:
        """Return the class probabilities of rows that all have the modalities of the fusion."""
        X = features.matrix(self.fusion)
        widths = {modality: sum(selection.widths) for modality, selection in self.selections.items()}
        check_columns(X, self.fusion, widths=widths)
        return self.head.predict_proba(X)


def producers_of(store: FeatureStore, selections: Mapping[str, Selection]) -> dict[str, Producer]:
    """Pair each selection with the fingerprint document of its producer."""
    return {m: Producer(selection, store.document(selection.fingerprint)) for m, selection in selections.items()}


def load_run_features(run: Run, store: FeatureStore, *, splits: Sequence[str] | None = None) -> Features:
    """Read the rows that a run is to be applied to; vectors of another producer are refused.

    Raises
    ------
    FingerprintMismatch
        If the store has no vectors of the producer, view and outputs that the head was fitted on.
    HeadsError
        If there are no rows.
    """
    check_fusion(run.fusion, store.modalities, where=f"cache {store.path}")
    for producer in run.record.producers.values():
        store.check(producer.selection, producer.document)
    features = load_features(store, run.selections, splits=splits, tasks=run.tasks)
    if len(features) == 0:
        raise HeadsError(f"cache {store.path} has no rows in split {', '.join(splits or ('any',))!r}")
    return features


def check_run_out(out: Path, *, overwrite: bool = False) -> None:
    """Raise if a run must not be written to ``out``: worth knowing before the work."""
    check_out(out, marker=_RECORD, overwrite=overwrite)


def save_run(
    record: RunRecord,
    head: Head,
    *,
    out: Path,
    attachments: Mapping[str, bytes] | None = None,
    overwrite: bool = False,
) -> Run:
    """Write a run directory and publish it by renaming: a run folder that exists is complete.

    Parameters
    ----------
    record : RunRecord
        Its ``files`` are filled in here.
    head : Head
        A fitted head.
    out : Path
        The folder to be made.
    attachments : mapping of file name to bytes, optional
        Further files beside ``run.json``.
    overwrite : bool
        Replace the run that is there.
    """
    with new_folder(out, marker=_RECORD, overwrite=overwrite) as draft:
        (draft / _HEAD).mkdir()
        head.save(draft / _HEAD)
        for name, data in (attachments or {}).items():
            (draft / name).write_bytes(data)
        files = {p.relative_to(draft).as_posix(): _checksum(p) for p in sorted(draft.rglob("*")) if p.is_file()}
        record = replace(record, files=files)
        (draft / _RECORD).write_bytes(format_record(record))
    return Run(out, record, head)


def load_run(path: Path) -> Run:
    """Open a run directory; the folder is untrusted: whatever is wrong with it raises `HeadsError`."""
    if not (path / _RECORD).is_file():
        raise HeadsError(f"{path} is not the folder of a run: it has no {_RECORD} (heads train makes one)")
    record = parse_record(read_bounded(path / _RECORD, _MAX_RECORD), str(path / _RECORD))
    if len(record.files) > _MAX_FILES:
        raise HeadsError(f"{path / _RECORD} lists {len(record.files)} files, expected at most {_MAX_FILES}")
    found = {p.relative_to(path).as_posix() for p in (path / _HEAD).glob("*")}
    unlisted = sorted(found - set(record.files))
    if unlisted:
        raise HeadsError(f"{path} has a file {unlisted[0]!r:.80} that {_RECORD} does not list")
    for name, checksum in record.files.items():
        if not (path / name).is_file():
            raise HeadsError(f"{path} lacks the file {name!r} that {_RECORD} lists")
        if _checksum(path / name) != checksum:
            raise HeadsError(
                f"{path / name} does not have the checksum that {_RECORD} lists: it was changed or damaged"
            )
    head = load_head(record.config.head, path / _HEAD)
    if [_as_json(task) for task in head.tasks] != list(record.tasks):
        raise HeadsError(f"{path / _RECORD} and the head in {path / _HEAD} name different tasks or classes")
    check_fusion(record.config.fusion, record.producers, where=f"run {path}")
    return Run(path, record, head)


def _as_json(task: Task) -> dict[str, object]:
    return {**asdict(task), "classes": list(task.classes)}


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
