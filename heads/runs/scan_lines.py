"""The lines of a scan: what a run says of each picture, or why it says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from featcache import ExtractedPictures
from heads.data.features import IntArray
from heads.data.fusion import check_columns, fusion_modalities
from heads.data.row_source import StoredRows
from heads.data.tasks import joint_tasks
from heads.files.table import Schema
from heads.head.protocol import FloatArray
from heads.runs.judge_options import JudgeOptions
from heads.runs.predictions import generator_columns
from heads.runs.run import Run
from heads.runs.stored_views import own_view, readable_views

__all__ = ["ScanLines"]

_MOST_ROWS = 16384
_FEWEST_ROWS = 256
_BLOCK_BYTES = 64 << 20
_NOT_FINITE = "its vector is not finite: run featcache verify --deep on the cache of the scan"
_OF_PICTURE = ("path", "sample_id", "verdict", "p_ai", "p_ai_raw")
_OF_FAULT = ("error", "stage")
_RAW, _SET, _NOVELTY = "p_ai_raw", "set_b", "novelty"
_BESIDE = ("views", "neighbours")
"""What a line has beside the columns of the table, in which each view and neighbour has columns of its own."""


@dataclass(frozen=True)
class ScanLines:
    """The lines of pictures: a value, or None, by column; and ``views`` and ``neighbours`` as entries have them.

    Attributes
    ----------
    run : Run
    pictures : ExtractedPictures
    options : JudgeOptions
    """

    run: Run
    pictures: ExtractedPictures
    options: JudgeOptions

    @cached_property
    def schema(self) -> Schema:
        """The columns of the table."""
        sets = () if self.run.record.verdicts.sets is None else (_SET,)
        novelty = () if self.run.likeness is None else (_NOVELTY,)
        names = (*_OF_PICTURE, *self._other_views, *sets, *self._generators, *novelty, *self._neighbours, *_OF_FAULT)
        numbers = {"p_ai", _RAW, *self._other_views, *self._generators, _NOVELTY}
        numbers |= {name for name, key in self._neighbours.items() if key[1] == "distance"}
        return {name: "number" if name in numbers else "text" for name in names}

    def blocks(self) -> Iterator[list[dict[str, Any]]]:
        """Yield lines in the order of the data, as many at a time as their vectors allow."""
        pictures, n = self.pictures, len(self.pictures)
        size = self._block_size
        blank: dict[str, Any] = dict.fromkeys((*self.schema, *_BESIDE))
        for start in range(0, n, size):
            rows = np.arange(start, min(start + size, n))
            lines = [
                blank | {"path": _shown(pictures.path(row)) or None, "sample_id": pictures.sample_id(row)}
                for row in rows.tolist()
            ]
            for line, row in zip(lines, rows.tolist(), strict=True):
                if fault := pictures.faults.get(row):
                    line |= {"error": fault.message, "stage": fault.stage}
            judged = np.flatnonzero([line["error"] is None for line in lines])
            if len(judged):
                self._fill(rows[judged], [lines[i] for i in judged.tolist()])
            yield lines
        for start in range(0, len(pictures.left_out), _MOST_ROWS):
            yield [
                blank | {"path": _shown(gap.path), "error": _shown(gap.message), "stage": "data"}
                for gap in pictures.left_out[start : start + _MOST_ROWS]
            ]

    @cached_property
    def _generators(self) -> dict[str, int]:
        b = joint_tasks(self.run.tasks)[1]
        taken = (*_OF_PICTURE, *self._other_views, _NOVELTY, *_OF_FAULT)
        return generator_columns(b.classes if b else (), taken)

    @cached_property
    def _views(self) -> list[str]:
        """The views of which vectors are stored, the run's own first; where every row has a fault there may be none."""
        has_some = len(self.pictures.faults) < len(self.pictures)
        return readable_views(self.run, self.pictures.store) if has_some else [own_view(self.run)]

    @cached_property
    def _other_views(self) -> dict[str, int]:
        """Columns of the other views, and their places among all."""
        return {f"{_RAW}_{view}": place for place, view in enumerate(self._views) if place}

    @cached_property
    def _neighbours(self) -> dict[str, tuple[int, str]]:
        """Columns of neighbours: which of them, and what of it."""
        found: dict[str, tuple[int, str]] = {}
        for place in range(self.options.n_neighbours):
            name = f"neighbour_{place + 1}"
            found |= {name: (place, "sample_id"), f"{name}_label": (place, "label")}
            found[f"{name}_distance"] = (place, "distance")
        return found

    @cached_property
    def _source(self) -> StoredRows:
        """The vectors of all pictures in all stored views."""
        used = fusion_modalities(self.run.fusion)
        selections = [self.run.selections, *(self.run.in_view(view).selections for view in self._views[1:])]
        chosen = [{modality: each[modality] for modality in used} for each in selections]
        return StoredRows(self.pictures.store, chosen, np.arange(len(self.pictures)))

    @cached_property
    def _block_size(self) -> int:
        used = fusion_modalities(self.run.fusion)
        width = sum(sum(self.run.selections[modality].widths) for modality in used)
        return max(_FEWEST_ROWS, min(_MOST_ROWS, _BLOCK_BYTES // (4 * width)))

    def _fill(self, rows: IntArray, lines: list[dict[str, Any]]) -> None:
        """Fill in the verdicts of rows that have all vectors; ``rows`` are their numbers, a line each."""
        X = self._source.read(rows)
        widths = {modality: sum(selection.widths) for modality, selection in self.run.selections.items()}
        check_columns(X, self.run.fusion, widths=widths)
        finite = np.isfinite(X).all(axis=1)
        for i in np.flatnonzero(~finite).tolist():
            lines[i] |= {"error": _NOT_FINITE, "stage": "encode"}
        if not finite.any():
            return
        columns = self._judge(X[finite]) | self._name_neighbours(X[finite])
        columns |= self._score_views(rows[finite], columns[_RAW])
        for k, i in enumerate(np.flatnonzero(finite).tolist()):
            lines[i] |= {name: values[k] for name, values in columns.items()}

    def _judge(self, X: FloatArray) -> dict[str, list[Any]]:
        """Return what is said of rows, by column."""
        options = self.options
        found = self.run.judge(
            self.run.score(X),
            vectors=X,
            point=options.point,
            prior=options.prior,
            abstain_novel=options.abstain_novel,
        )
        sets, novelty = found.sets, found.novelty
        return {
            **({} if sets is None else {_SET: sets}),
            **({} if novelty is None else {_NOVELTY: novelty.tolist()}),
            "verdict": found.words,
            "p_ai": found.p_ai.tolist(),
            _RAW: found.raw.tolist(),
            **{name: found.proba[:, code].tolist() for name, code in self._generators.items()},
        }

    def _name_neighbours(self, X: FloatArray) -> dict[str, list[Any]]:
        found = self.options.neighbours(X)
        if found is None:
            return {}
        columns: dict[str, list[Any]] = {
            name: [getattr(each[place], key) if place < len(each) else None for each in found]
            for name, (place, key) in self._neighbours.items()
        }
        return {**columns, "neighbours": [[one.to_dict() for one in each] for each in found]}

    def _score_views(self, rows: IntArray, own: list[float]) -> dict[str, list[Any]]:
        """Return raw P(AI) of rows under the other views, None where there is no vector; and all views of each row."""
        a, columns = joint_tasks(self.run.tasks)[0].name, {}
        for name, place in self._other_views.items():
            X = self._source.read(rows, place)
            known = np.isfinite(X).all(axis=1)
            found: list[float | None] = [None] * len(rows)
            if known.any():
                scores = self.run.score(X[known]).proba[a].tolist()
                for i, score in zip(np.flatnonzero(known).tolist(), scores, strict=True):
                    found[i] = score
            columns[name] = found
        each = zip(own, *columns.values(), strict=True)
        views = [
            {view: raw for view, raw in zip(self._views, scores, strict=True) if raw is not None} for scores in each
        ]
        return {**columns, "views": views}


def _shown(name: str) -> str:
    """Write what UTF-8 cannot hold with backslashes, as in sample ids."""
    return name.encode("utf-8", "backslashreplace").decode()
