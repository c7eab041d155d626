"""What ``--set`` and the options of encoders, outputs and views say: settings, and which vectors are meant."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from heads.data.fusion import fusion_modalities
from heads.errors import HeadsError

__all__ = ["Choices", "Settings", "build_choices", "parse_settings"]

Choices = dict[str, dict[str, str]]
Settings = tuple[dict[str, object], Choices]
_MODALITIES = ("text", "image", "spectral")
_SELECTIONS = ("encoder", "outputs", "view")


def build_choices(
    *,
    encoders: Mapping[str, str | None],
    outputs: Mapping[str, str | None] | None = None,
    view: str | None = None,
    fusions: Sequence[str] = (),
) -> Choices:
    """Put together what the options say of the vectors that are meant.

    Parameters
    ----------
    encoders, outputs : mapping of modality to str or None
        What ``--image-encoder``, ``--image-outputs`` and the like say.
    view : str, optional
        What ``--view`` says: of everything that is made of pictures.
    fusions : sequence of str
        Those whose modalities ``view`` is for.
    """
    choices: Choices = {}
    for name, given in (("encoder", encoders), ("outputs", outputs or {})):
        for modality, value in given.items():
            if value is not None:
                choices.setdefault(modality, {})[name] = value
    if view is not None:
        pictures = dict.fromkeys(m for fusion in fusions for m in fusion_modalities(fusion) if m != "text")
        if not pictures:
            raise HeadsError(
                f"--view {view!r}: fusion {' and '.join(fusions)} takes no picture, and captions have none"
            )
        for modality in pictures:
            choices.setdefault(modality, {})["view"] = view
    return choices


def parse_settings(
    given: Sequence[str], options: Mapping[str, object], *, choices: Mapping[str, Mapping[str, str]] | None = None
) -> Settings:
    """Read ``KEY=VALUE`` texts; join them with the options that were given.

    Parameters
    ----------
    given : sequence of str
        The texts.
    options : mapping
        Other settings; None where none was given.
    choices : mapping of modality to mapping
        What other options say of the vectors: ``{"text": {"encoder": …}}`` is the same as ``text.encoder=…``.

    Returns
    -------
    settings : dict
        For `heads.runs.fitting.parse_config`: values are read as JSON, or else are text.
    choices : dict of modality to dict
        ``text.encoder=…``, ``image.outputs=…``, ``image.view=…``: which of the cache's vectors are meant.
    """
    settings = {name: value for name, value in options.items() if value is not None}
    chosen = {modality: dict(values) for modality, values in (choices or {}).items()}
    for text in given:
        key, equals, value = text.partition("=")
        modality, dot, field = key.partition(".")
        if not equals or not key:
            raise HeadsError(f"--set {text!r} is not KEY=VALUE, e.g. --set lr=0.0003")
        if dot and modality in _MODALITIES and field in _SELECTIONS:
            known = chosen.setdefault(modality, {}).setdefault(field, value)
            if known != value:
                raise HeadsError(f"--set {text!r}: {key} was given already ({known!r})")
        elif key in settings:
            raise HeadsError(f"--set {text!r}: {key} was given already ({settings[key]!r})")
        else:
            settings[key] = _parse_value(value)
    return settings, chosen


def _parse_value(text: str) -> object:
    try:
        value: object = json.loads(text)
        return value
    except (ValueError, RecursionError):
        return text
