"""One picture, with or without its caption: encode it as the cache's producer did, and give the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from featcache import encode_caption, encode_image
from heads.data.features import FloatArray
from heads.data.fusion import check_columns, fuse
from heads.data.tasks import AI, REAL, joint_tasks
from heads.errors import HeadsError
from heads.head.metrics import joint_proba, verdict
from heads.runs.record import Producer
from heads.runs.run import Run

__all__ = ["Verdict", "detect", "model_place"]


@dataclass(frozen=True)
class Verdict:
    """What a run says of one picture.

    Attributes
    ----------
    verdict : {"real", "ai"}
        Real if ``p_ai`` is below ``threshold``.
    generator : str or None
        The likeliest generator of a picture called AI; None if real, or if the head knows no generators.
    p_ai, threshold : float
    probabilities : mapping of class name to float
        Of ``"real"`` and each generator (or ``"ai"``): they sum to 1.
    models : mapping of modality to str
        Where each encoder was loaded from.
    """

    verdict: str
    generator: str | None
    p_ai: float
    threshold: float
    probabilities: Mapping[str, float]
    models: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return what ``heads detect --json`` prints."""
        return asdict(self)


def detect(
    run: Run,
    image: bytes | None,
    *,
    caption: str | None = None,
    models: Mapping[str, str] | None = None,
    device: Literal["auto", "cuda", "cpu"] = "auto",
) -> Verdict:
    """Judge one picture.

    Parameters
    ----------
    run : Run
    image : bytes or None
        The picture file.
    caption : str, optional
        Needed by a head that looks at text, ignored by any other; blank counts as none.
    models : mapping of modality to str, optional
        Where the weights of an encoder are now, if not where the run says: hub id or folder.
    device : {"auto", "cuda", "cpu"}

    Raises
    ------
    FingerprintMismatch
        If a model is not the one whose vectors the head was fitted on; the fields that differ are named.
    HeadsError
        If the head needs a modality that is not given.
    ImageError, ModelError
        If the picture or the weights cannot be used.
    """
    # Whatever is no text is made of the picture.
    text = caption if caption and caption.strip() else None
    for modality in run.selections:
        if (text if modality == "text" else image) is None:
            raise HeadsError(_missing(run, modality))
    vectors: dict[str, FloatArray] = {}
    places = {}
    for modality, producer in run.record.producers.items():
        model = (models or {}).get(modality)
        options: dict[str, Any] = {"outputs": producer.selection.outputs, "model": model, "device": device}
        content: Any = text if modality == "text" else image
        encode: Any = encode_caption if modality == "text" else encode_image
        vectors[modality] = encode(producer.document, content, **options)[None, :]
        places[modality] = model or model_place(producer)
    return _judge(run, fuse(run.fusion, vectors), places)


def model_place(producer: Producer) -> str:
    """Return where a producer's weights came from: a folder, or a hub id with its revision."""
    source = producer.document.get("source")
    source = source if isinstance(source, dict) else {}
    if source.get("path"):
        return str(source["path"])
    revision = source.get("revision")
    return f"{source.get('model', '?')}@{revision}" if revision else str(source.get("model", "?"))


def _judge(run: Run, X: FloatArray, places: Mapping[str, str]) -> Verdict:
    widths = {modality: sum(selection.widths) for modality, selection in run.selections.items()}
    check_columns(X, run.fusion, widths=widths)
    prediction = run.head.predict_proba(X)
    a, b = joint_tasks(run.tasks)
    code = int(verdict(prediction, run.threshold, run.tasks)[0])
    proba = joint_proba(prediction, run.tasks)[0].astype(np.float64)
    return Verdict(
        verdict=AI if code else REAL,
        generator=b.classes[code - 1] if b and code else None,
        p_ai=float(prediction.proba[a.name][0]),
        threshold=run.threshold,
        probabilities=dict(zip((REAL, *(b.classes if b else (AI,))), proba.tolist(), strict=True)),
        models=places,
    )


def _missing(run: Run, modality: str) -> str:
    is_text = modality == "text"
    what, other = ("a caption (--caption)", "image") if is_text else ("a picture (--image)", "text")
    return (
        f"the head of {run.path} needs {what}: its fusion is {run.fusion!r}; a head trained with "
        f"--fusion {other} does without"
    )
