"""Everything that can be said of a data set before a head is trained on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featcache import FeatcacheError, FeatureStore
from heads.audit.contents import CAPTIONS, THUMBNAILS, read_captions, read_thumbnails
from heads.audit.evidence import Evidence, Vectors
from heads.audit.facts import ORIGINS, count_origins, file_facts, origins_of
from heads.audit.labels import LabelAudit, audit_labels
from heads.audit.rows import AuditRows, read_rows
from heads.audit.tells import Tell, find_tells
from heads.data.choices import choose_selections
from heads.data.fusion import check_fusion, fuse, fusion_modalities
from heads.data.tasks import UNKNOWN
from heads.head.threads import blas_on_one_thread

__all__ = ["Audit", "audit"]

_PLAIN = ("image", "spectral", "text")


@dataclass(frozen=True)
class Audit:
    """What was found in the rows of train and valid.

    Attributes
    ----------
    about : dict
        Cache, data set, splits, counts, and by which vectors labels were looked at.
    tells : tuple of Tell
        Origins last: no head sees them.
    labels : tuple of LabelAudit
    notes : tuple of (str, str)
        What could not be told, and why.
    """

    about: dict[str, Any]
    tells: tuple[Tell, ...]
    labels: tuple[LabelAudit, ...]
    notes: tuple[tuple[str, str], ...]

    def worst(self, task: str) -> Tell | None:
        """Return what tells most of a task, origins apart; of what surely does, by the lower end. None: nothing."""
        own = [tell for tell in self.tells if tell.task == task and tell.fact != ORIGINS]
        sure = [tell for tell in own if tell.tells]
        if sure:
            return max(sure, key=lambda tell: tell.found.low)
        return max(own, key=lambda tell: tell.found.estimate - tell.chance, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return what ``heads audit --json`` prints."""
        worst = {task: self.worst(task) for task in ("a", "b")}
        return {
            **self.about,
            "worst": {task: tell.fact if tell is not None and tell.tells else None for task, tell in worst.items()},
            "tells": [tell.to_dict() for tell in self.tells],
            "labels": [each.to_dict() for each in self.labels],
            "notes": [{"what": what, "why": why} for what, why in self.notes],
        }


@blas_on_one_thread()
def audit(
    store: FeatureStore,
    *,
    data: str | Path | None = None,
    thumbnails: bool = False,
    fusion: str | None = None,
    choices: Mapping[str, Mapping[str, str]] | None = None,
) -> Audit:
    """Audit a data set: which facts alone tell its classes, and which labels look wrong. Test rows are not read.

    Parameters
    ----------
    store : FeatureStore
    data : str or Path, optional
        What the cache was filled from, for the words of its captions. Without, vectors of captions stand for them
        where the cache has some.
    thumbnails : bool
        Whether pictures are read, where they are in files of their own.
    fusion : str, optional
        Whose vectors labels are looked at by; default: pictures, else spectral, else captions.
    choices : mapping of modality to mapping, optional
        As of `heads.data.choices.choose_selections`.
    """
    rows = read_rows(store)
    notes = _untold(rows)
    evidence: list[Evidence] = [*_captions(store, rows, data, notes)]
    if thumbnails:
        evidence.append(read_thumbnails(store, rows))
    else:
        notes.append((THUMBNAILS, "pictures were not read: --thumbnails reads them"))
    origins = origins_of(store, rows)
    evidence += [*file_facts(store, rows), *([] if origins is None else [origins])]
    if store.samples.files is None:
        notes.append(("file formats, bytes per pixel, EXIF data", "not looked at when the cache was filled"))
    if origins is None:
        notes.append((ORIGINS, "the data name none"))
    for each in evidence:
        if not each.known.any() or not each.varies:
            notes.append((each.name, "the same in all rows" if each.known.any() else "known of no row"))
    vectors = _vectors(store, rows, fusion, choices, notes)
    labels: list[LabelAudit] = []
    if vectors is not None:
        paths = np.array([store.samples.source[row] for row in rows.numbers.tolist()], np.str_)
        found = [audit_labels(vectors, rows, paths, task) for task in rows.features.tasks]
        labels = [each for each in found if each is not None]
    about = {
        "cache": str(store.path),
        "dataset": str(store.dataset),
        "splits": list(rows.splits),
        "n": len(rows),
        "n_groups": rows.n_groups,
        "vectors": None if vectors is None else vectors.name,
        "origins": None if origins is None else count_origins(store, rows),
    }
    tells = find_tells([each for each in evidence if each.known.any() and each.varies], rows)
    return Audit(about, tells, tuple(labels), tuple(notes))


def _untold(rows: AuditRows) -> list[tuple[str, str]]:
    """Say which questions the labels leave no room for."""
    found = []
    tasks = rows.features.tasks
    of_a = rows.y(tasks[0])
    kinds = np.unique(of_a[of_a != UNKNOWN])
    if len(kinds) < 2:
        only = tasks[0].classes[int(kinds[0])]
        found.append(("real or AI", f"all labelled rows are {'AI' if only == 'ai' else only}"))
    if len(tasks) < 2:
        found.append(("which generator", "there are not two generators with a name"))
    return found


def _captions(
    store: FeatureStore, rows: AuditRows, data: str | Path | None, notes: list[tuple[str, str]]
) -> list[Evidence]:
    if data is not None:
        return [read_captions(store, rows, data)]
    if not rows.features.keys["text"].any():
        return []
    hint = f"a cache has no texts: --data {store.samples.origin} reads them"
    if "text" in store.modalities:
        try:
            found = _read_vectors(store, rows, "text", None, "caption vectors")
        except FeatcacheError as error:
            hint = f"{hint}; {error}"
        else:
            notes.append((CAPTIONS, f"by their vectors; {hint}"))
            return [found]
    notes.append((CAPTIONS, hint))
    return []


def _vectors(
    store: FeatureStore,
    rows: AuditRows,
    fusion: str | None,
    choices: Mapping[str, Mapping[str, str]] | None,
    notes: list[tuple[str, str]],
) -> Vectors | None:
    """Read the vectors that labels are looked at by; what the user did not choose may be missing."""
    is_chosen = fusion is not None or bool(choices)
    chosen = fusion or next((name for name in _PLAIN if name in store.modalities), None)
    if chosen is None:
        notes.append(("wrong labels", "the cache has no vectors"))
        return None
    check_fusion(chosen, store.modalities, where=f"cache {store.path}")
    try:
        found = _read_vectors(store, rows, chosen, choices, chosen)
    except FeatcacheError as error:
        if is_chosen:
            raise
        notes.append(("wrong labels", str(error)))
        return None
    if not found.known.any():
        notes.append(("wrong labels", f"no row has all vectors of {chosen}"))
        return None
    return found


def _read_vectors(
    store: FeatureStore,
    rows: AuditRows,
    fusion: str,
    choices: Mapping[str, Mapping[str, str]] | None,
    name: str,
) -> Vectors:
    selections = choose_selections(store, fusion_modalities(fusion), choices=choices)
    arrays = store.read(rows.numbers, selections=selections)
    return Vectors(name, np.all(list(arrays.present.values()), axis=0), fuse(fusion, arrays.features))
