"""A run that judges: rows of vectors, one picture, or many."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from featcache import ImageError, read_pictures
from heads.api.vectors import Vectors, fuse_vectors
from heads.errors import HeadsError
from heads.files.chained_log import ChainedLog
from heads.head.protocol import FloatArray
from heads.runs.detection import PictureJudge, Verdict, read_picture
from heads.runs.entries import Recorder, log_lines
from heads.runs.judge_options import JudgeOptions
from heads.runs.run import Run, load_run
from heads.runs.set_statement import state_scores
from heads.verdicts.judging import Judgement, verdict_classes
from heads.verdicts.mixture import SetStatement

__all__ = ["Detector"]

_LOGGER = logging.getLogger(__name__)


class Detector:
    """A run at an operating point and a prior.

    Parameters
    ----------
    run : Run
    models : mapping of modality to str, optional
        Where the weights of an encoder are now, if not where the run says: hub id or folder.
    device : {"auto", "cuda", "cpu"}
        Where pictures and captions are encoded.
    point : str, optional
        Name of the operating point that decides; default: the run's own choice.
    prior : float, optional
        Share of AI pictures at which probabilities are given; default: that of the rows that were fitted.

    Attributes
    ----------
    run : Run
    classes : tuple of str
        ``"real"`` and the generators, or ``"real"`` and ``"ai"``: the columns of `predict_proba`.
    """

    def __init__(
        self,
        run: Run,
        *,
        models: Mapping[str, str] | None = None,
        device: Literal["auto", "cuda", "cpu"] = "auto",
        point: str | None = None,
        prior: float | None = None,
    ) -> None:
        self._options = JudgeOptions(point, prior)
        self._judge = PictureJudge(run, models=models, device=device, options=self._options)
        self._models, self._device = models, device
        self.run, self.classes = run, verdict_classes(run.tasks)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        models: Mapping[str, str] | None = None,
        device: Literal["auto", "cuda", "cpu"] = "auto",
        point: str | None = None,
        prior: float | None = None,
    ) -> Self:
        """Open the folder of a run, which is untrusted; the rest is as of the class."""
        return cls(load_run(path), models=models, device=device, point=point, prior=prior)

    def predict_proba(self, X: Vectors) -> FloatArray:
        """Return the probability of each of ``classes``, at the prior: (n, K + 1) float32; rows sum to 1.

        Parameters
        ----------
        X : array, frame or mapping
            The vectors that the run takes, as `heads.api.vectors.fuse_vectors` reads them. They must be those of the
            run's encoders, outputs and view (``run.selections``), which numbers alone do not show.
        """
        return self.verdicts(X).proba

    def verdicts(self, X: Vectors) -> Judgement:
        """Judge rows of vectors: ``words`` has real, ai or unsure of each, ``names`` the class, ``p_ai`` P(AI).

        Parameters
        ----------
        X
            As of `predict_proba`.
        """
        run, asked = self.run, self._options
        widths = {modality: sum(selection.widths) for modality, selection in run.selections.items()}
        vectors = fuse_vectors(X, run.fusion, widths=widths)
        return run.judge(run.score(vectors), vectors=vectors, point=asked.point, prior=asked.prior)

    def compare_set(self, p_ai_raw: NDArray[np.floating[Any]]) -> SetStatement | None:
        """Say whether scores are those of pictures like the known ones, at whatever share of AI.

        Known are the scores of validation, or those of another data set or view that the point was calibrated on.

        Parameters
        ----------
        p_ai_raw : float array (n,)
            ``raw`` of `verdicts`, or ``p_ai_raw`` of the lines of `scan` that have a verdict.

        Returns
        -------
        SetStatement or None
            None where the run cannot tell, or there are fewer than `heads.verdicts.mixture.LEAST_SET` scores.
        """
        return state_scores(self.run, p_ai_raw, point=self._options.point)

    def detect(
        self, image: str | Path | None = None, *, caption: str | None = None, log: str | Path | None = None
    ) -> Verdict:
        """Judge one picture, as ``heads detect`` does; encoders are loaded once, for the first.

        Parameters
        ----------
        image : str or Path, optional
            A picture file; a run that looks at captions alone needs none.
        caption : str, optional
            Needed by a run that looks at captions, ignored by any other.
        log : str or Path, optional
            A log of verdicts, to append the evidence to.

        Raises
        ------
        FingerprintMismatch, ModelError
            If the weights are not those of the run, or cannot be used.
        HeadsError
            If a side is missing, or the picture cannot be read or decoded.
        """
        content = None if image is None else read_picture(image)
        try:
            found = self._judge.judge(content, caption)
        except ImageError as error:
            raise HeadsError(f"{image}: {error}") from error
        if log is not None:
            path = None if image is None else Path(image)
            _open_log(log).append([self._recorder("detect").of_content(path, content, caption, found.to_dict())])
        return found

    def scan(
        self,
        data: str | Path | Sequence[str | Path],
        *,
        cache: str | Path | None = None,
        log: str | Path | None = None,
        tables: bool = False,
    ) -> list[dict[str, Any]]:
        """Judge many pictures, as ``heads scan`` does; each has a line, also those that cannot be judged.

        What should be known about captions and tables in the data, and how many files are no pictures, is logged as
        warnings.

        Parameters
        ----------
        data : str, Path or sequence of these
            Any form of data, or picture files.
        cache : str or Path, optional
            The folder to keep the vectors in, so that the next scan encodes only what is new; not one that heads are
            fitted on. Default: they are not kept.
        log : str or Path, optional
            A log of verdicts, to append the evidence of each line to.
        tables : bool
            Read the tables in a folder too, for names and captions of its pictures.

        Returns
        -------
        list of dict
            By column, as `heads.runs.scanning.write_verdicts` has them: a verdict, or an error and its stage.
        """
        from heads.runs.scanning import encode_pictures, judge_pictures  # they need torch

        contents = {selection.content for selection in self.run.selections.values()}
        manifest = read_pictures(data, contents=contents, tables=tables)
        for note in manifest.notes:
            _LOGGER.warning("%s", note)
        if manifest.passed_over:
            _LOGGER.warning("no pictures, and passed over: %s", dict(manifest.passed_over))
        with nullcontext(cache) if cache is not None else TemporaryDirectory(prefix="heads-scan-") as folder:
            pictures = encode_pictures(self.run, manifest, cache=Path(folder), models=self._models, device=self._device)
            append = None if log is None else log_lines(self._recorder("scan"), pictures, _open_log(log))
            blocks = judge_pictures(self.run, pictures, options=self._options, log=append)
            return [line for block in blocks for line in block]

    def _recorder(self, command: str) -> Recorder:
        return Recorder.of(self.run, command, point=self._options.point, prior=self._options.prior)


def _open_log(path: str | Path) -> ChainedLog:
    def tell(place: Path) -> None:
        _LOGGER.warning("the last line of %s was torn: moved to %s", path, place)

    return ChainedLog(Path(path), told=tell)
