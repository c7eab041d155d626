"""Many pictures: encoded as the producers of a run did, and written down with a line each, judged or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from featcache import ExtractedPictures, Manifest, Progress, extract_pictures
from heads.data.tasks import AI, REAL
from heads.files.folder import new_file, prepare_file
from heads.files.table import check_table_ending, table_writer
from heads.runs.judge_options import JudgeOptions
from heads.runs.run import Run
from heads.runs.scan_lines import ScanLines
from heads.runs.set_statement import state_scores
from heads.verdicts.judging import UNSURE
from heads.verdicts.mixture import SetStatement
from heads.verdicts.novelty import NOVEL_UP_TO

__all__ = ["Scan", "encode_pictures", "judge_pictures", "write_verdicts"]


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
    options: JudgeOptions | None = None,
    overwrite: bool = False,
    log: Callable[[Sequence[Mapping[str, Any]]], None] | None = None,
) -> Scan:
    """Write a line of every picture, in the order of the data, as CSV, JSONL or Parquet by the ending of ``out``.

    The columns are ``path`` (in full), ``sample_id``, ``verdict`` (``real``, ``ai`` or ``unsure``),
    ``reason`` (why it is unsure: `Judgement.reasons`), ``p_ai``, ``p_ai_raw`` (which decides),
    ``p_ai_raw_VIEW`` of each other view of which vectors are stored, ``set_b`` where the run has sets (as in
    `Predictions.table`), `generator_columns`, ``novelty`` where the run can tell, of the i-th neighbour
    ``neighbour_i``, ``neighbour_i_label`` and ``neighbour_i_distance``, ``error`` and ``stage``. A line has either a
    verdict or an error. What is no sample, because there is nothing where the data say or it is not taken, has a line
    at the end, with a path and an error. Names that are not UTF-8 have backslashes. The file is whole or absent.
    ``log`` gets the lines as soon as they are known (`heads.runs.entries.log_lines`).

    Raises
    ------
    HeadsError
        If ``out`` has no table format, or is there already and may not be replaced.
    """
    check_table_ending(out)
    prepare_file(out, overwrite=overwrite)
    options = options or JudgeOptions()
    lines = ScanLines(run, pictures, options)
    schema = lines.schema
    counts: Counter[str] = Counter()
    raw: list[float] = []
    n_unlike, first = 0, None
    with new_file(out, overwrite=overwrite) as file, table_writer(out, file, schema) as write:
        for rows in lines.blocks():
            counts.update(row["verdict"] or row["stage"] for row in rows)
            raw += [row["p_ai_raw"] for row in rows if row["verdict"]]
            n_unlike += sum(row.get("novelty") is not None and row["novelty"] <= NOVEL_UP_TO for row in rows)
            first = first or next(((row["path"] or "", row["error"]) for row in rows if row["error"]), None)
            if log is not None:
                log(rows)
            write({name: [row[name] for row in rows] for name in schema})
    failed = {stage: n for stage, n in sorted(counts.items()) if stage not in (REAL, AI, UNSURE)}
    n_unsure, likeness = counts[UNSURE], run.likeness
    if likeness is None:
        return Scan(counts[REAL], counts[AI], n_unsure, None, None, failed, first)
    statement = state_scores(run, np.array(raw), point=options.point)
    return Scan(counts[REAL], counts[AI], n_unsure, n_unlike, statement, failed, first)


def judge_pictures(
    run: Run,
    pictures: ExtractedPictures,
    *,
    options: JudgeOptions | None = None,
    log: Callable[[Sequence[Mapping[str, Any]]], None] | None = None,
) -> Iterator[list[dict[str, Any]]]:
    """Yield what `write_verdicts` writes, some thousands of lines at a time: a value, or None, by column.

    ``log`` is as there.
    """
    lines = ScanLines(run, pictures, options or JudgeOptions())
    for rows in lines.blocks():
        if log is not None:
            log(rows)
        yield [{name: row[name] for name in lines.schema} for row in rows]
