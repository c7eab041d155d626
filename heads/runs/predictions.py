"""Apply a run to every row of a cache and write the answers: a table, or the CT2 competition's file."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featcache import FeatureStore
from heads.data.features import BoolArray, StrArray
from heads.data.tasks import AI, REAL
from heads.errors import HeadsError
from heads.files.folder import new_file, prepare_file, write_file
from heads.files.table import Schema, check_table_ending, table_writer
from heads.runs.run import Run, load_run_features
from heads.verdicts.judging import UNLIKE, Judgement, no_judgement
from heads.verdicts.points import OperatingPoint

__all__ = [
    "CT2_CLASSES",
    "Predictions",
    "check_table_format",
    "generator_columns",
    "predict",
    "write_ct2",
    "write_table",
]

CT2_CLASSES: Mapping[str, int] = {REAL: 0, "sd21": 1, "sdxl": 2, "sd3": 3, "dalle3": 4, "midjourney": 5}
"""Label_B of the competition, by the letters and digits of a class's name (``"SD 2.1"`` is ``"sd21"``)."""
_NOVELTY = "novelty"
_TEXTS = ("sample_id", "pred_a", "pred_b", "reason", "set_b")


@dataclass(frozen=True)
class Predictions:
    """Answers for ``n`` rows, in the store's order.

    Attributes
    ----------
    sample_id : str array (n,)
    answered : bool array (n,)
        False where the row lacks a modality that the head needs.
    judgement : Judgement
        Of the rows that are answered, in their order.
    point : OperatingPoint
        What the verdicts were decided by.
    """

    sample_id: StrArray
    answered: BoolArray
    judgement: Judgement
    point: OperatingPoint

    def __len__(self) -> int:
        return len(self.sample_id)

    @property
    def n_refused(self) -> int:
        """Rows that are not answered."""
        return int((~self.answered).sum())

    def table(self) -> dict[str, list[Any]]:
        """Return the table by the names of its columns, None in rows that are not answered.

        ``sample_id``, ``p_ai``, ``p_ai_raw`` (which verdicts compare with thresholds), ``pred_a`` (``real``, ``ai`` or
        ``unsure``), ``pred_b`` (the verdict's class), ``reason`` (why it is unsure), ``set_b`` where the run has sets
        (the generators that the row may be by if it is AI, joined by ``|``), and ``p_NAME`` of each generator (see
        `generator_columns`): the probability that it made the picture, P(AI) · P(NAME | AI). They add up to ``p_ai``.
        ``novelty``, where the run can tell, is a p-value: how often pictures like those of training are as far from
        them.
        """
        known, found = self.answered.tolist(), self.judgement

        def where_answered(values: list[Any]) -> list[Any]:
            given = iter(values)
            return [next(given) if ok else None for ok in known]

        table = {
            "sample_id": self.sample_id.tolist(),
            "p_ai": where_answered(found.p_ai.tolist()),
            "p_ai_raw": where_answered(found.raw.tolist()),
            "pred_a": where_answered(found.words),
            "pred_b": where_answered(found.names),
            "reason": where_answered(found.reasons),
        }
        if found.sets is not None:
            table["set_b"] = where_answered(found.sets)
        generators = () if found.classes == (REAL, AI) else found.classes[1:]
        for column, code in generator_columns(generators, (*table, _NOVELTY)).items():
            table[column] = where_answered(found.proba[:, code].tolist())
        if found.novelty is not None:
            table[_NOVELTY] = where_answered(found.novelty.tolist())
        return table


def predict(
    run: Run,
    store: FeatureStore,
    split: str | None = None,
    *,
    point: str | None = None,
    prior: float | None = None,
    abstain_novel: bool = False,
) -> Predictions:
    """Apply ``run`` to the rows of ``split``, or to every row of the store.

    Parameters
    ----------
    run, store, split
    point : str, optional
        Name of the operating point that decides; default: the run's own choice.
    prior : float, optional
        Share of AI rows at which probabilities are given; default: that of the rows that were fitted.
    abstain_novel : bool
        Whether rows that are unlike the training pictures are unsure.

    Raises
    ------
    FingerprintMismatch
        If the store's vectors come from another producer.
    """
    features = load_run_features(run, store, splits=None if split is None else (split,))
    answered = features.usable(run.fusion)
    if answered.any():
        rows = features.select(answered)
        vectors = rows.matrix(run.fusion)
        found = run.predict(rows)
        judgement = run.judge(found, vectors=vectors, point=point, prior=prior, abstain_novel=abstain_novel)
    else:
        judgement = no_judgement(run.tasks, sets=run.record.verdicts.sets)
        judgement = judgement.with_novelty(None if run.likeness is None else np.empty(0))
    return Predictions(features.sample_id, answered, judgement, run.point(point))


def write_table(predictions: Predictions, out: Path) -> None:
    """Write `Predictions.table` as CSV, JSONL or Parquet by the ending of ``out``; replaces what is there."""
    check_table_format(out)
    table = predictions.table()
    schema: Schema = {name: "text" if name in _TEXTS else "number" for name in table}
    prepare_file(out)
    with new_file(out) as file, table_writer(out, file, schema) as write:
        write(table)


def check_table_format(out: Path) -> None:
    """Raise if there is no table format for the ending of ``out``."""
    check_table_ending(out, "or --format ct2")


def generator_columns(generators: Sequence[str], taken: Collection[str]) -> dict[str, int]:
    """Name the columns of the generators' probabilities, none like another column of the table.

    Parameters
    ----------
    generators : sequence of str
        Classes of the head but the real one, in their order.
    taken : collection of str
        The other columns.

    Returns
    -------
    dict of str to int
        ``p_NAME``, or ``p_generator_NAME`` where that is another column, as of the ``ai`` of early data sets; and the
        joint class, from 1.
    """
    columns = {name: f"p_{name}" for name in generators}
    for name in generators:
        if columns[name] in taken:
            columns[name] = f"p_generator_{name}"
            while columns[name] in [column for other, column in columns.items() if other != name]:
                columns[name] += "_"
    return {column: code for code, column in enumerate(columns.values(), start=1)}


def write_ct2(predictions: Predictions, out: Path) -> None:
    """Write the competition's answer file: a JSON list of ``{"index", "Label_A", "Label_B"}``.

    ``index`` is the sample_id, as a number if every one of them is a number; rows come in its order,
    those that are not answered are left out.

    Raises
    ------
    HeadsError
        If a class of the run is none of the competition's, or the operating point leaves rows unsure.
    """
    found, point = predictions.judgement, predictions.point
    if UNLIKE in found.reasons:
        raise HeadsError("--abstain novel leaves rows unsure, and the CT2 competition has no answer for that")
    if point.abstains:
        raise HeadsError(
            f"operating point {point.name!r} leaves rows unsure, and the CT2 competition has no answer for that: "
            "name another --point"
        )
    codes = np.array([_ct2_code(name) for name in found.classes])
    ids = predictions.sample_id[predictions.answered].tolist()
    is_number = all(re.fullmatch(r"0|[1-9][0-9]{0,17}", sample_id) for sample_id in ids)
    label_b = codes[found.verdict].tolist()
    answers = [
        {"index": int(sample_id) if is_number else sample_id, "Label_A": int(code > 0), "Label_B": code}
        for sample_id, code in zip(ids, label_b, strict=True)
    ]
    answers.sort(key=lambda answer: answer["index"])
    prepare_file(out)
    write_file(out, (json.dumps(answers, indent=1, ensure_ascii=False) + "\n").encode())


def _ct2_code(name: str) -> int:
    code = CT2_CLASSES.get(re.sub(r"[^a-z0-9]", "", name.casefold()))
    if code is None:
        raise HeadsError(
            f"class {name!r} is none of the CT2 competition's ({', '.join(CT2_CLASSES)}): --format ct2 needs "
            "a head that was trained on those"
        )
    return code
