"""Many pictures: encoded as the producers of a run did, and written down with a line each, judged or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from featcache import ExtractedPictures, Manifest, Progress, extract_pictures
from heads.data.features import IntArray
from heads.data.fusion import check_columns, fusion_modalities
from heads.data.row_source import StoredRows
from heads.data.tasks import AI, REAL, joint_tasks
from heads.files.folder import new_file, prepare_file
from heads.files.table import Schema, check_table_ending, table_writer
from heads.runs.predictions import generator_columns
from heads.runs.run import Run
from heads.verdicts.judging import UNSURE, UNSURE_UNLIKE
from heads.verdicts.mixture import SetStatement, state_set
from heads.verdicts.novelty import NOVEL_UP_TO

__all__ = ["Scan", "encode_pictures", "judge_pictures", "write_verdicts"]

_MOST_ROWS = 16384
_FEWEST_ROWS = 256
_BLOCK_BYTES = 64 << 20
_NOT_FINITE = "its vector is not finite: run featcache verify --deep on the cache of the scan"
_OF_PICTURE = ("path", "sample_id", "verdict", "p_ai", "p_ai_raw")
_OF_FAULT = ("error", "stage")
_SET, _NOVELTY = "set_b", "novelty"


@dataclass(frozen=True)
class Scan:
    """What was written.

    Attributes
    ----------
    n_real, n_ai, n_unsure : int
        Pictures by verdict.
    n_unlike : int or None
        Pictures with a verdict that are called unlike those of training; None where the run cannot tell.
    statement : SetStatement or None
        What the scores of all of them say together; None where that cannot be told.
    failed : mapping of stage to int
        Lines without a verdict, by what could not be done: ``data``, ``read``, ``decode``, ``view``, ``encode``.
    first : (str, str) or None
        Path and error of the first of these.
    """

    n_real: int
    n_ai: int
    n_unsure: int
    n_unlike: int | None
    statement: SetStatement | None
    failed: Mapping[str, int]
    first: tuple[str, str] | None

    @property
    def n_failed(self) -> int:
        """Lines without a verdict."""
        return sum(self.failed.values())

    def __len__(self) -> int:
        return self.n_real + self.n_ai + self.n_unsure + self.n_failed


def encode_pictures(
    run: Run,
    data: Manifest,
    *,
    cache: Path,
    models: Mapping[str, str] | None = None,
    device: Literal["auto", "cuda", "cpu"] = "auto",
    progress: Callable[[Progress], None] | None = None,
) -> ExtractedPictures:
    """Make the vectors that the head of a run takes: its encoders, outputs and views.

    Parameters
    ----------
    run : Run
    data : Manifest
        What `featcache.read_pictures` read.
    cache : Path
        The folder to keep the vectors in.
    models : mapping of modality to str, optional
        Where the weights of an encoder are now, if not where the run says: hub id or folder.
    device : {"auto", "cuda", "cpu"}
    progress : callable, optional
        Called after every batch.

    Raises
    ------
    FingerprintMismatch
        If a model is not the one whose vectors the head was fitted on; the fields that differ are named.
    ManifestError
        If the data have no captions at all for a head that looks at text.
    ModelError
        If the weights cannot be used.
    """
    producers = [(producer.selection, producer.document) for producer in run.record.producers.values()]
    return extract_pictures(data, cache, producers, models=models, device=device, progress=progress)


def write_verdicts(
    run: Run,
    pictures: ExtractedPictures,
    out: Path,
    *,
    point: str | None = None,
    prior: float | None = None,
    abstain_novel: bool = False,
    overwrite: bool = False,
    log: Callable[[Sequence[Mapping[str, Any]]], None] | None = None,
) -> Scan:
    """Write a line of every picture, in the order of the data, as CSV, JSONL or Parquet by the ending of ``out``.

    The columns are ``path`` (in full), ``sample_id``, ``verdict`` (``real``, ``ai``, ``unsure``, or with
    ``abstain_novel`` ``unsure (unlike the training pictures)``), ``p_ai``, ``p_ai_raw`` (which decides), ``set_b``
    where the run has sets (as in `Predictions.table`), `generator_columns`, ``novelty`` where the run can tell,
    ``error`` and ``stage``. A line has either a verdict or an error. What is no sample, because there is nothing where
    the data say or it is not taken, has a line at the end, with a path and an error. Names that are not UTF-8 have
    backslashes. The file is whole or absent.
    ``log`` gets the lines as soon as they are known (`heads.runs.entries.log_lines`).

    Raises
    ------
    HeadsError
        If ``out`` has no table format, or is there already and may not be replaced.
    """
    check_table_ending(out)
    prepare_file(out, overwrite=overwrite)
    generators = _generators(run)
    numbers = ("p_ai", "p_ai_raw", *generators, _NOVELTY)
    judge = _Judge(run, generators, point, prior, abstain_novel)
    schema: Schema = {name: "number" if name in numbers else "text" for name in judge.columns}
    counts: Counter[str] = Counter()
    raw: list[float] = []
    n_unlike, first = 0, None
    with new_file(out, overwrite=overwrite) as file, table_writer(out, file, schema) as write:
        for rows in _blocks(judge, pictures):
            counts.update(row["verdict"] or row["stage"] for row in rows)
            raw += [row["p_ai_raw"] for row in rows if row["verdict"]]
            n_unlike += sum(row.get(_NOVELTY) is not None and row[_NOVELTY] <= NOVEL_UP_TO for row in rows)
            first = first or next(((row["path"] or "", row["error"]) for row in rows if row["error"]), None)
            if log is not None:
                log(rows)
            write({name: [row[name] for row in rows] for name in schema})
    failed = {stage: n for stage, n in sorted(counts.items()) if stage not in (REAL, AI, UNSURE, UNSURE_UNLIKE)}
    n_unsure, likeness = counts[UNSURE] + counts[UNSURE_UNLIKE], run.likeness
    if likeness is None:
        return Scan(counts[REAL], counts[AI], n_unsure, None, None, failed, first)
    statement = state_set(np.array(raw), likeness.known)
    return Scan(counts[REAL], counts[AI], n_unsure, n_unlike, statement, failed, first)


def judge_pictures(
    run: Run, pictures: ExtractedPictures, *, point: str | None = None, prior: float | None = None
) -> Iterator[list[dict[str, Any]]]:
    """Yield what `write_verdicts` writes, some thousands of lines at a time: a value, or None, by column."""
    return _blocks(_Judge(run, _generators(run), point, prior), pictures)


def _generators(run: Run) -> dict[str, int]:
    b = joint_tasks(run.tasks)[1]
    return generator_columns(b.classes if b else (), (*_OF_PICTURE, _NOVELTY, *_OF_FAULT))


@dataclass(frozen=True)
class _Judge:
    """What decides: a run, the columns of its generators, an operating point and a prior."""

    run: Run
    generators: Mapping[str, int]
    point: str | None
    prior: float | None
    abstain_novel: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns of the table."""
        sets = () if self.run.record.verdicts.sets is None else (_SET,)
        novelty = () if self.run.likeness is None else (_NOVELTY,)
        return (*_OF_PICTURE, *sets, *self.generators, *novelty, *_OF_FAULT)

    def fill(self, source: StoredRows, rows: IntArray, lines: list[dict[str, Any]]) -> None:
        """Fill in the verdicts of rows that have all vectors; ``rows`` are their numbers, a line each."""
        X = source.read(rows)
        widths = {modality: sum(selection.widths) for modality, selection in self.run.selections.items()}
        check_columns(X, self.run.fusion, widths=widths)
        finite = np.isfinite(X).all(axis=1)
        for i in np.flatnonzero(~finite).tolist():
            lines[i] |= {"error": _NOT_FINITE, "stage": "encode"}
        if not finite.any():
            return
        found = self.run.judge(
            self.run.head.predict_proba(X[finite]),
            vectors=X[finite],
            point=self.point,
            prior=self.prior,
            abstain_novel=self.abstain_novel,
        )
        sets, novelty = found.sets, found.novelty
        columns: dict[str, list[Any]] = {
            **({} if sets is None else {_SET: sets}),
            **({} if novelty is None else {_NOVELTY: novelty.tolist()}),
            "verdict": found.words,
            "p_ai": found.p_ai.tolist(),
            "p_ai_raw": found.raw.tolist(),
            **{name: found.proba[:, code].tolist() for name, code in self.generators.items()},
        }
        for k, i in enumerate(np.flatnonzero(finite).tolist()):
            lines[i] |= {name: values[k] for name, values in columns.items()}


def _blocks(judge: _Judge, pictures: ExtractedPictures) -> Iterator[list[dict[str, Any]]]:
    """Yield lines, as many at a time as their vectors allow."""
    run = judge.run
    selections = {modality: run.selections[modality] for modality in fusion_modalities(run.fusion)}
    width = sum(sum(selection.widths) for selection in selections.values())
    size = max(_FEWEST_ROWS, min(_MOST_ROWS, _BLOCK_BYTES // (4 * width)))
    blank: dict[str, Any] = dict.fromkeys(judge.columns)
    n = len(pictures)
    # Where every row has a fault there may be no vectors to look up.
    source = StoredRows(pictures.store, [selections], np.arange(n)) if len(pictures.faults) < n else None
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
        if source is not None and len(judged):
            judge.fill(source, rows[judged], [lines[i] for i in judged.tolist()])
        yield lines
    for start in range(0, len(pictures.left_out), _MOST_ROWS):
        yield [
            blank | {"path": _shown(gap.path), "error": _shown(gap.message), "stage": "data"}
            for gap in pictures.left_out[start : start + _MOST_ROWS]
        ]


def _shown(name: str) -> str:
    """Write what UTF-8 cannot hold with backslashes, as in sample ids."""
    return name.encode("utf-8", "backslashreplace").decode()
