"""What options mean that several commands share: choices, folders, settings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from featcache import load_project
from featcache.console import CheckDigests, cache_folder
from heads.data.fusion import FUSIONS, fusion_modalities
from heads.errors import HeadsError
from heads.files.folder import sweep_folder
from heads.head.kinds import HEADS

if TYPE_CHECKING:
    from featcache import FeatureStore
    from heads.runs.run import Run

__all__ = [
    "CheckDigests",
    "Choices",
    "DeviceChoice",
    "DeviceName",
    "EncoderName",
    "FusionName",
    "HeadName",
    "LossName",
    "MemorySize",
    "Outputs",
    "Overwrite",
    "PresetName",
    "Settings",
    "TableFormat",
    "TrainDevice",
    "ViewName",
    "ViewNames",
    "build_choices",
    "cache_folder",
    "check_device",
    "check_encoders",
    "new_run_folder",
    "open_run_store",
    "parse_settings",
    "view_names",
]

_RUN_NAME = re.compile(r"\d{8}-\d{6}(-\d+)?")
Choices = dict[str, dict[str, str]]
Settings = tuple[dict[str, Any], Choices]
EncoderName = Annotated[
    str | None,
    typer.Option(metavar="E", help="Fingerprint (its beginning) or model, if the cache has several."),
]
Outputs = Annotated[
    str | None, typer.Option(metavar="O,…", help="Which of the stored outputs, e.g. cls or layers:4-8 or layers:all.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the result at --out; refused if other files are there.")
]
ViewName = Annotated[str | None, typer.Option(metavar="V", help="Which stored view of the pictures; default: clean.")]
_MODALITIES = ("text", "image", "spectral")
_SELECTIONS = ("encoder", "outputs", "view")


# Of the registries: there is no second list that could lack one.
HeadName = StrEnum("HeadName", {name: name for name in HEADS})  # type: ignore[misc]
FusionName = StrEnum("FusionName", {name: name for name in FUSIONS})  # type: ignore[misc]


ViewNames = Annotated[
    str | None,
    typer.Option(metavar="V,…", help="Fit on a random one of these stored views per row and epoch, e.g. train."),
]


class LossName(StrEnum):
    """What the mlp head minimises."""

    multitask = "multitask"
    paper = "paper"
    joint = "joint"


class PresetName(StrEnum):
    """Named sets of settings."""

    paper = "paper"


class DeviceName(StrEnum):
    """Where to compute."""

    auto = "auto"
    cuda = "cuda"
    cpu = "cpu"


class TrainDevice(StrEnum):
    """Where heads are trained."""

    cpu = "cpu"
    cuda = "cuda"


DeviceChoice = Annotated[TrainDevice | None, typer.Option(help="Where mlp heads are trained; default: cpu.")]
MemorySize = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="What training may take, e.g. 2GB; default: what it needs."),
]


class TableFormat(StrEnum):
    """What predict writes."""

    table = "table"
    ct2 = "ct2"


def check_device(name: str) -> Literal["cpu", "cuda"]:
    """Return the device that heads are to be trained on; CUDA must be there."""
    if name == "cpu":
        return "cpu"
    if name != "cuda":
        raise HeadsError(f"device is {name!r}, expected cpu or cuda")
    import torch

    if not torch.cuda.is_available():
        raise HeadsError(f"--device cuda: no CUDA device is available to torch {torch.__version__}; use --device cpu")
    return "cuda"


def view_names(given: str | Sequence[str] | None) -> list[str]:
    """Return the views to fit on; the clean one, on which heads select and are scored, comes first."""
    if given is None:
        return ["clean"]
    from featcache import expand_views
    from heads.ablation.grid_file import parse_texts

    names = [str(view) for view in expand_views(parse_texts(given, "--views"))]
    if "clean" not in names:
        raise HeadsError(f"--views {', '.join(names)} lacks clean, the view on which heads select and are scored")
    return ["clean", *(name for name in names if name != "clean")]


def new_run_folder(given: Path | None) -> Path:
    """Return where results go: the argument, else a new folder named by the time among the project's runs.

    What killed commands left among these goes: no later command writes to the same name.
    """
    if given is not None:
        return given
    runs, name = load_project().runs or Path("runs"), datetime.now().strftime("%Y%m%d-%H%M%S")
    sweep_folder(runs, _RUN_NAME)
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(runs / free for free in names if not (runs / free).exists())


def open_run_store(
    run: Run,
    given: Path | None,
    *,
    dataset: str | None = None,
    check: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureStore:
    """Open the cache that a run is to be used on: the argument, else the project's, ``./cache``, its own (not written).

    Parameters
    ----------
    run : Run
        It knows the cache that it was fitted on.
    given : Path or None
        The argument.
    dataset : str, optional
        Default: the run's, if the cache is its own.
    check, progress
        As of `featcache.open_store`.
    """
    from featcache import open_store

    folder = cache_folder(given)
    own = Path(run.record.source["cache"])
    is_default = given is None and load_project().cache is None
    if is_named_by_run := is_default and not folder.exists() and own.exists():
        folder = own
    if dataset is None and folder.exists() and own.exists() and folder.samefile(own):
        dataset = run.record.source["dataset"]
    return open_store(folder, dataset=dataset, check=check, remember=not is_named_by_run, progress=progress)


def check_encoders(run: Run, store: FeatureStore, encoders: Mapping[str, str | None]) -> None:
    """Raise unless the encoders that were named are those on whose vectors a run was fitted.

    Parameters
    ----------
    run : Run
        Its head takes vectors of one encoder a modality, and no others.
    store : FeatureStore
        The open cache, which says what the names mean.
    encoders : mapping of modality to str or None
        Beginning of a fingerprint, or a model's name; None where none was named.
    """
    for modality, name in encoders.items():
        if name is None:
            continue
        if modality not in run.selections:
            raise HeadsError(f"--{modality}-encoder {name!r}: the head of {run.path} takes no {modality} vectors")
        chosen, fitted = store.select(modality, encoder=name), run.selections[modality]
        if chosen.fingerprint != fitted.fingerprint:
            raise HeadsError(
                f"--{modality}-encoder {name!r} is {chosen.fingerprint[:12]}, the head of {run.path} was fitted on "
                f"vectors of {fitted.fingerprint[:12]}: heads train --{modality}-encoder {name} fits one on these"
            )


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
    given: Sequence[str], options: Mapping[str, Any], *, choices: Mapping[str, Mapping[str, str]] | None = None
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


def _parse_value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
