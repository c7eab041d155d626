"""Pictures one by one, with or without captions: encoded as a run's producers did, under its view, and judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from featcache import ContentEncoder, ImageFile, ModelError, load_encoder
from heads.data.features import FloatArray
from heads.data.fusion import check_columns, fuse
from heads.errors import HeadsError
from heads.runs.judge_options import JudgeOptions
from heads.runs.neighbours import Neighbour
from heads.runs.record import Producer
from heads.runs.run import Run
from heads.runs.stored_views import own_view
from heads.verdicts.novelty import NOVEL_UP_TO

__all__ = ["PictureJudge", "Verdict", "check_places", "model_place", "read_picture"]


@dataclass(frozen=True)
class Verdict:
    """What a run says of one picture.

    Attributes
    ----------
    verdict : {"real", "ai", "unsure"}
    generator : str or None
        The likeliest generator of a picture called AI; None if it is not, or if the head knows no generators.
    p_ai, threshold, real_below : float
        P(AI); AI from ``threshold`` on, real below ``real_below``, which differs where verdicts may be unsure. All
        three have gone through the same map and prior.
    p_ai_raw : float
        P(AI) as the head gave it, which decides.
    point : str
        Name of the operating point.
    prior : float or None
        Share of AI pictures at which probabilities are given; None where the run does not know it.
    probabilities : mapping of class name to float
        Of ``"real"`` and each generator (or ``"ai"``): they sum to 1.
    models : mapping of modality to str
        Where each encoder was loaded from.
    set_b : tuple of str or None
        The generators that the picture may be by if it is AI; None where the run has no sets.
    novelty : float or None
        P-value of being like the training pictures; None where the run cannot tell.
    views : mapping of str to float
        Raw P(AI) under each view that was looked at.
    neighbours : tuple of Neighbour or None
        The nearest training samples; None where they were not asked for.
    reason : str or None
        Why the verdict is unsure.
    """

    verdict: str
    generator: str | None
    p_ai: float
    threshold: float
    real_below: float
    p_ai_raw: float
    point: str
    prior: float | None
    probabilities: Mapping[str, float]
    models: Mapping[str, str]
    set_b: tuple[str, ...] | None
    novelty: float | None = None
    views: Mapping[str, float] = field(default_factory=dict)
    neighbours: tuple[Neighbour, ...] | None = None
    reason: str | None = None

    @property
    def is_unlike(self) -> bool:
        """Whether the picture is called unlike those of training."""
        return self.novelty is not None and self.novelty <= NOVEL_UP_TO

    def to_dict(self) -> dict[str, Any]:
        """Return what ``heads detect --json`` prints of one picture."""
        return asdict(self)


class PictureJudge:
    """Judges one picture after the other; every encoder is loaded once, for the first.

    Parameters
    ----------
    run : Run
    models : mapping of modality to str, optional
        Where the weights of an encoder are now, if not where the run says: hub id or folder.
    device : {"auto", "cuda", "cpu"}
    options : JudgeOptions, optional
    """

    def __init__(
        self,
        run: Run,
        *,
        models: Mapping[str, str] | None = None,
        device: Literal["auto", "cuda", "cpu"] = "auto",
        options: JudgeOptions | None = None,
    ) -> None:
        self._run, self._options = run, options or JudgeOptions()
        self._point = run.point(self._options.point)
        self._prior = run.check_prior(self._options.prior)
        self._models = models or {}
        self._device = device
        self._encoders: dict[str, ContentEncoder] = {}

    def check(self, image: bytes | None, caption: str | None) -> None:
        """Raise if the head needs a side that is not given; blank captions are none. Nothing is loaded."""
        for modality in self._run.selections:
            if _side(modality, image, caption) is None:
                raise HeadsError(_missing(self._run, modality))

    def judge(self, image: bytes | None, caption: str | None = None) -> Verdict:
        """Judge one picture.

        Parameters
        ----------
        image : bytes or None
            The picture file.
        caption : str, optional
            Needed by a head that looks at text, ignored by any other; blank counts as none.

        Raises
        ------
        FingerprintMismatch
            If a model is not the one whose vectors the head was fitted on; the fields that differ are named.
        HeadsError
            If the head needs a side that is not given.
        ImageError, ModelError
            If the picture or the weights cannot be used.
        """
        self.check(image, caption)
        blocks: dict[str, FloatArray] = {}
        places = {}
        for modality, producer in self._run.record.producers.items():
            content = _side(modality, image, caption)
            assert content is not None
            blocks[modality] = self._encoder(modality, producer).encode(content)[None, :]
            places[modality] = self._models.get(modality) or model_place(producer)
        return self._judge(fuse(self._run.fusion, blocks), places)

    def _encoder(self, modality: str, producer: Producer) -> ContentEncoder:
        if modality not in self._encoders:
            chosen, model = producer.selection, self._models.get(modality)
            try:
                self._encoders[modality] = load_encoder(
                    producer.document, outputs=chosen.outputs, view=chosen.view, model=model, device=self._device
                )
            except ModelError as error:
                if model is not None or _has_place(producer):
                    raise
                raise HeadsError(_no_place(self._run, modality, producer)) from error
        return self._encoders[modality]

    def _judge(self, X: FloatArray, places: Mapping[str, str]) -> Verdict:
        run, point, maps = self._run, self._point, self._run.record.verdicts.maps
        widths = {modality: sum(selection.widths) for modality, selection in run.selections.items()}
        check_columns(X, run.fusion, widths=widths)
        prediction, abstains = run.score(X), self._options.abstain_novel
        found = run.judge(prediction, vectors=X, point=point.name, prior=self._prior, abstain_novel=abstains)
        code, neighbours = int(found.verdict[0]), self._options.neighbours(X)
        return Verdict(
            verdict=found.words[0],
            generator=found.names[0] if code > 0 and run.knows_generators else None,
            p_ai=float(found.p_ai[0]),
            threshold=float(maps.p_ai(point.ai_from, prior=self._prior)),
            real_below=float(maps.p_ai(point.real_below, prior=self._prior)),
            p_ai_raw=float(found.raw[0]),
            point=point.name,
            prior=self._prior,
            probabilities=dict(zip(found.classes, found.proba[0].astype(np.float64).tolist(), strict=True)),
            models=places,
            set_b=None
            if found.in_set is None
            else tuple(name for name, is_in in zip(found.classes[1:], found.in_set[0], strict=True) if is_in),
            novelty=None if found.novelty is None else float(found.novelty[0]),
            views={own_view(run): float(found.raw[0])},
            neighbours=None if neighbours is None else neighbours[0],
            reason=found.reasons[0],
        )


def read_picture(path: str | Path) -> bytes:
    """Return the bytes of a picture file.

    Raises
    ------
    HeadsError
        If there is no regular file, or it cannot be read.
    """
    try:
        return ImageFile(str(path)).read_bytes()
    except OSError as error:
        if error.errno is None and Path(path).is_dir():  # it could be looked at
            raise HeadsError(f"{path} is a folder, expected a picture: `heads scan` takes folders") from error
        raise HeadsError(f"cannot read the picture {path}: {error.strerror or error}") from error


def _side(modality: str, image: bytes | None, caption: str | None) -> bytes | str | None:
    """Return what a modality is made of: whatever is no text, of the picture."""
    if modality != "text":
        return image
    return caption if caption and caption.strip() else None


def model_place(producer: Producer) -> str:
    """Return where a producer's weights came from: a folder, or a hub id with its revision."""
    source = producer.document.get("source")
    source = source if isinstance(source, dict) else {}
    if source.get("path"):
        return str(source["path"])
    revision = source.get("revision")
    return f"{source.get('model', '?')}@{revision}" if revision else str(source.get("model", "?"))


def check_places(run: Run, models: Mapping[str, str]) -> None:
    """Raise if nobody says where the weights of an encoder are: a run that was handed over does not know folders."""
    for modality, producer in run.record.producers.items():
        if modality != "spectral" and modality not in models and not _has_place(producer):
            raise HeadsError(_no_place(run, modality, producer))


def _has_place(producer: Producer) -> bool:
    source = producer.document.get("source")
    return isinstance(source, dict) and bool(source.get("path") or source.get("revision"))


def _no_place(run: Run, modality: str, producer: Producer) -> str:
    return (
        f"{run.path} does not say where the weights of its {modality} encoder are (it was fitted with "
        f"{model_place(producer)!r:.80}): name the folder or hub id, --{modality}-model M"
    )


def _missing(run: Run, modality: str) -> str:
    is_text = modality == "text"
    what, other = ("a caption (--caption)", "image") if is_text else ("a picture (--image)", "text")
    return (
        f"the head of {run.path} needs {what}: its fusion is {run.fusion!r}; a head trained with "
        f"--fusion {other} does without"
    )
