"""What classes are to be told by, and how: words by their frequencies, vectors by a linear head; out of fold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from heads.audit.rows import AuditRows
from heads.data.folds import Part
from heads.data.tasks import BoolArray, IntArray, Targets, Task
from heads.head.protocol import FloatArray

__all__ = ["Evidence", "Vectors", "Words", "cross_fit"]

Scores = NDArray[np.float64]


class Evidence(Protocol):
    """Something that is known of rows, by which classes may be told."""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        ...

    @property
    def known(self) -> BoolArray:
        """Of which rows it is known: (n,)."""
        ...

    @property
    def varies(self) -> bool:
        """Whether it is not the same in all rows."""
        ...

    def predict(self, task: Task, y: IntArray, part: Part) -> Scores:
        """Learn from rows to fit and to select; return a score a class of the rows to score: (m, K)."""
        ...


@dataclass(frozen=True)
class Words:
    """Words, or other values, that rows have; each once a row.

    Attributes
    ----------
    name : str
    known : bool array (n,)
    row, word : int64 array (m,)
        Which row has which word.
    n_words : int
        Different ones.
    """

    name: str
    known: BoolArray
    row: IntArray
    word: IntArray
    n_words: int

    @property
    def varies(self) -> bool:
        """Whether some row lacks a word that another has."""
        return len(self.row) < int(self.known.sum()) * self.n_words

    @classmethod
    def of_columns(cls, name: str, known: BoolArray, columns: Iterable[NDArray[np.generic]]) -> Self:
        """Build words of columns (n,): each value of each column is one."""
        rows = np.flatnonzero(known)
        words, n_words = [], 0
        for column in columns:
            values, code = np.unique(column[rows], return_inverse=True)
            words.append(n_words + code.reshape(-1))
            n_words += len(values)
        return cls(name, known, np.tile(rows, len(words)), np.concatenate(words).astype(np.int64), n_words)

    def predict(self, task: Task, y: IntArray, part: Part) -> Scores:
        """Score rows by naive Bayes: the mean over their words of the log of the share of a class's rows that have it.

        Classes count alike, however many rows they have. To all shares the same is added, a row of a class of mean
        size: a word that was never seen says nothing. (Manning, Raghavan and Schütze, "Introduction to Information
        Retrieval", 2008, section 13.3; the mean in place of the sum, as words of one caption are not independent.)
        """
        n_classes = len(task.classes)
        learnt = np.concatenate([part.fit_rows, part.select_rows])
        rows = np.bincount(y[learnt], minlength=n_classes)
        is_learnt = np.zeros(len(self.known), np.bool_)
        is_learnt[learnt] = True
        seen = is_learnt[self.row]
        have = np.bincount(self.word[seen] * n_classes + y[self.row[seen]], minlength=self.n_words * n_classes)
        share = have.reshape(self.n_words, n_classes) / np.maximum(rows, 1)
        logs = np.log(share + 1 / rows[rows > 0].mean())
        place = np.full(len(self.known), -1)
        place[part.score_rows] = np.arange(len(part.score_rows))
        asked = place[self.row] >= 0
        at, of, n = place[self.row[asked]], logs[self.word[asked]], len(part.score_rows)
        n_words = np.maximum(np.bincount(at, minlength=n), 1)
        scores = np.column_stack([np.bincount(at, weights=of[:, k], minlength=n) / n_words for k in range(n_classes)])
        scores[:, rows == 0] = -np.inf
        return scores


@dataclass(frozen=True)
class Vectors:
    """Vectors of rows.

    Attributes
    ----------
    name : str
    known : bool array (n,)
    X : float32 array (n, d)
        Anything in rows that are not known.
    """

    name: str
    known: BoolArray
    X: FloatArray

    @property
    def varies(self) -> bool:
        """Whether two rows differ."""
        X = self.X[self.known]
        return bool((X[:1] != X).any())

    def predict(self, task: Task, y: IntArray, part: Part) -> Scores:
        """Return the class probabilities of a linear head, as ``solver=lda`` fits it."""
        from heads.linear import LinearConfig, LinearHead

        def take(rows: IntArray) -> tuple[FloatArray, Targets]:
            return self.X[rows], Targets({task.name: y[rows]}, {task.name: np.ones(len(rows), np.bool_)})

        head = LinearHead((task,), LinearConfig(solver="lda"))
        head.fit(*take(part.fit_rows), select=take(part.select_rows))
        proba = head.predict_proba(self.X[part.score_rows]).proba[task.name].astype(np.float64)
        return np.column_stack([1 - proba, proba]) if proba.ndim == 1 else proba


def cross_fit(evidence: Evidence, rows: AuditRows, task: Task) -> Scores:
    """Score each row by what was learnt of other folds.

    Returns
    -------
    float64 array (n, K)
        NaN in rows that are not of the task or of which the evidence is not known, and where the other folds have
        rows of one class alone.
    """
    y = rows.y(task)
    scores = np.full((len(rows), len(task.classes)), np.nan)
    for part in rows.parts_of(evidence.known & (y >= 0)):
        if len(np.unique(y[part.fit_rows])) > 1 and len(part.select_rows) and len(part.score_rows):
            scores[part.score_rows] = evidence.predict(task, y, part)
    return scores
