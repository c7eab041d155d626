"""A classifier over class names, as scikit-learn has them; it is fitted and kept like any head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from operator import index
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from heads.api.class_tasks import ClassTasks, find_real
from heads.api.holding_out import HELD_OUT, HeldOut, hold_out
from heads.api.own_head import HeadMaker, OwnHead, build_head
from heads.api.saved_classifier import SavedClassifier, load_classifier, save_classifier
from heads.data.tasks import IntArray, Targets
from heads.files.ranges import Range
from heads.head.balance import fitted_share
from heads.head.kinds import config_class
from heads.head.protocol import FloatArray, Prediction
from heads.head.threads import blas_on_one_thread
from heads.verdicts.balanced import choose_balanced, neutral_threshold
from heads.verdicts.fitting import Scores

__all__ = ["DetectorClassifier"]

_SEED = Range(int, 0, 2**31 - 1)


class DetectorClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A head that is fitted on rows of vectors and names of classes.

    Some of the rows given to `fit` are held out: half of them choose strengths, epochs or rounds, and with ``real``
    the other half the threshold; without, all of them choose. Rows of one group stay together. The head learns from
    the rest alone, and is not fitted again on all rows.

    With ``real`` the head learns two questions, as ``heads train`` does: whether a row is real, and which of the
    other classes it is, from rows that are not real. `predict` then gives the verdict, which may differ from the class
    of the highest probability: a row may be real with 0.4 and each of three generators with 0.2, and is not real.

    Parameters
    ----------
    head : {"linear", "lda", "mlp", "gbdt", "ensemble"} or callable
        A kind of heads, or what makes one's own of a sequence of tasks (`heads.api.own_head`), as its class does.
    real : class, optional
        The one that is real; it must occur. Default: no class is special, and `predict` is the likeliest one.
    settings : mapping, optional
        Of the kind of head, as ``heads train --set`` takes them.
    held_out : float
        Which share of the rows is held out, 0.01 to 0.5, of each class as far as there are enough groups.
    seed : int
        Of all that is random.

    Attributes
    ----------
    classes_ : array (K,)
        Sorted; the columns of `predict_proba`.
    head_ : Head
        The fitted head.
    threshold_ : float or None
        With ``real``: from which probability of being another class on a row is not called real. It is chosen on the
        rows that calibrate, as that of a run (`heads.verdicts.balanced`). Where those lack a side it is the share of
        other classes among the rows that are fitted.
    n_features_in_, feature_names_in_
        As scikit-learn has them.
    """

    def __init__(
        self,
        head: str | HeadMaker = "linear",
        real: object = None,
        settings: Mapping[str, Any] | None = None,
        held_out: float = 0.2,
        seed: int = 0,
    ) -> None:
        self.head = head
        self.real = real
        self.settings = settings
        self.held_out = held_out
        self.seed = seed

    @blas_on_one_thread()
    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Fit on rows.

        Parameters
        ----------
        X : array or frame (n, d)
            Vectors, made float32; all finite.
        y : array (n,)
            Class names: texts or numbers.
        groups : array (n,), optional
            Rows of one group are never divided between what is fitted and what is held out (`featcache.link_rows`).
            Default: each row stands for itself. Under scikit-learn's metadata routing ``set_fit_request(groups=True)``
            asks for it.

        Raises
        ------
        ValueError
            If rows cannot be fitted: NaN, one class, no ``real`` in ``y``, too few groups to hold any out.
        HeadsError
            If there is no such head, or it has no such settings.
        """
        held_out = float(self.held_out)
        HELD_OUT.check(held_out, "held_out")
        seed = index(self.seed)
        _SEED.check(seed, "seed")
        matrix, labels = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(labels)
        classes, codes = np.unique(labels, return_inverse=True)
        tasks = ClassTasks(tuple(map(str, classes.tolist())), find_real(classes.tolist(), self.real))
        has_real = tasks.real is not None
        sets = _number(groups, len(matrix))
        rows = hold_out(codes, sets, share=held_out, calibrates=has_real, seed=seed)
        targets = tasks.targets(codes)
        select = matrix[rows.select_rows], targets.select(rows.select_rows)
        head = build_head(self.head, tasks.tasks, self.settings)
        fitted = head.fit(matrix[rows.fit_rows], targets.select(rows.fit_rows), select=select, seed=seed)
        self._tasks, self.classes_, self.head_ = tasks, classes, fitted
        self.threshold_ = self._calibrate(matrix, targets, sets, rows) if has_real else None
        return self

    def _calibrate(self, X: FloatArray, targets: Targets, groups: IntArray, rows: HeldOut) -> float:
        y, chosen = targets.y["a"], rows.calibrate_rows
        settings = dict(self.settings or {})
        if isinstance(self.head, str):
            settings = asdict(config_class(self.head).from_mapping(settings))
        prior = fitted_share(float(y[rows.fit_rows].mean()), settings)
        if len(np.unique(y[chosen])) < 2:
            return neutral_threshold(prior)
        proba = self.head_.predict_proba(X[chosen]).proba["a"]
        return choose_balanced(Scores(y[chosen], proba[None], groups[chosen]), prior=prior)

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Return the probability of each of ``classes_``: (n, K) float32; rows sum to 1."""
        return self._tasks_of().proba(self._predict(X))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the class of each row; with ``real`` the verdict at ``threshold_``."""
        tasks = self._tasks_of()
        threshold = 0.5 if self.threshold_ is None else self.threshold_
        return np.asarray(self.classes_[tasks.decide(self._predict(X), threshold)])

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the fitted classifier into a folder of its own, without pickle: it appears when it is whole.

        Raises
        ------
        HeadsError
            If the folder is there and may not be replaced, or the head or its classes cannot be written.
        """
        tasks = self._tasks_of()
        names = getattr(self, "feature_names_in_", None)
        saved = SavedClassifier(
            settings=self.settings,
            held_out=float(self.held_out),
            seed=index(self.seed),
            classes=self.classes_,
            real=tasks.real,
            threshold=self.threshold_,
            n_features=self.n_features_in_,
            feature_names=None if names is None else tuple(names),
        )
        save_classifier(saved, self.head_, out=Path(path), overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path, *, head: type[OwnHead] | None = None) -> Self:
        """Read what `save` wrote; the folder is untrusted.

        Parameters
        ----------
        path : str or Path
        head : class, optional
            That of one's own head, where it was fitted with one: its ``load`` reads the files of the head.
        """
        saved, fitted = load_classifier(Path(path), head=head)
        real = None if saved.real is None else saved.classes.tolist()[saved.real]
        self = cls(head or fitted.kind, real, saved.settings, saved.held_out, saved.seed)
        self._tasks, self.classes_, self.head_ = saved.tasks, saved.classes, fitted
        self.threshold_, self.n_features_in_ = saved.threshold, saved.n_features
        if saved.feature_names is not None:
            self.feature_names_in_ = np.array(saved.feature_names, dtype=object)
        return self

    def _tasks_of(self) -> ClassTasks:
        check_is_fitted(self)
        return self._tasks

    @blas_on_one_thread()
    def _predict(self, X: ArrayLike) -> Prediction:
        return self.head_.predict_proba(validate_data(self, X, dtype=np.float32, reset=False))


def _number(groups: ArrayLike | None, n: int) -> IntArray:
    """Return the number of each row's group, from 0 without gaps."""
    if groups is None:
        return np.arange(n)
    given = column_or_1d(groups)
    check_consistent_length(given, np.arange(n))
    return np.asarray(np.unique(given, return_inverse=True)[1], dtype=np.int64)
