"""``featcache.toml``: what a project folder says once, so that commands need not."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from featcache.errors import FeatcacheError

__all__ = ["Project", "load_project"]

FILE = "featcache.toml"
_SWITCHES = frozenset({"spectral", "clip_text", "square_crop"})
_NUMBERS = frozenset({"image_size"})


@dataclass(frozen=True)
class Project:
    """Settings of a project folder; None means not given. Relative paths are relative to that folder.

    Attributes
    ----------
    data : str or None
        The data set: a manifest, a folder or ``hf:NAME``.
    labels : str or None
        What values and folders of the data mean, as ``--labels`` takes it.
    column : str or None
        Which columns of the data mean what, as ``--column`` takes it.
    splits : str or None
        What names of splits mean, as ``--splits`` takes it.
    root : Path or None
        Where the pictures of the data are.
    cache, runs : Path or None
        Where features and runs go.
    text_model, image_model : str or None
        Hub id, local folder, or ``none``.
    text_outputs, image_outputs, spectral_outputs : str or None
        Names of the outputs to store, separated by commas.
    text_template : str or None
        A text that says ``{caption}`` where the caption goes.
    views : str or None
        Names of views and of presets, separated by commas.
    spectral, clip_text, square_crop : bool or None
        Spectral features; the text tower of the image model; the middle square of each picture.
    resize, decode : str or None
        Which library resizes (``pillow`` or ``torch``), and how JPEGs are decoded (``exact`` or ``fast``).
    image_size : int or None
        Side of the pictures that the image model sees, in pixels.
    fit : str or None
        How pictures of another aspect come to that size: ``crop``, ``squash`` or ``pad``.
    variant : str or None
        Which weights of the models, e.g. ``fp16``.
    """

    data: str | None = None
    labels: str | None = None
    column: str | None = None
    splits: str | None = None
    root: Path | None = None
    cache: Path | None = None
    runs: Path | None = None
    text_model: str | None = None
    image_model: str | None = None
    text_outputs: str | None = None
    image_outputs: str | None = None
    spectral_outputs: str | None = None
    text_template: str | None = None
    views: str | None = None
    spectral: bool | None = None
    clip_text: bool | None = None
    square_crop: bool | None = None
    resize: str | None = None
    decode: str | None = None
    image_size: int | None = None
    fit: str | None = None
    variant: str | None = None


def load_project(folder: Path | None = None) -> Project:
    """Read ``featcache.toml`` of a folder (default: the current one); an empty `Project` if there is none.

    Raises
    ------
    FeatcacheError
        If it is no TOML, has an unknown key, or a value of another type than its key's.
    """
    path = (folder or Path()) / FILE
    if not path.is_file():
        return Project()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FeatcacheError(f"{path} cannot be read: {error}") from None
    known = [field.name for field in fields(Project)]
    for key, value in values.items():
        if key not in known:
            raise FeatcacheError(f"{path}: key {key!r} is unknown, expected one of {', '.join(known)}")
        if key in _SWITCHES and not isinstance(value, bool):
            raise FeatcacheError(f"{path}: {key} is {value!r}, expected true or false")
        if key in _NUMBERS and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise FeatcacheError(f"{path}: {key} is {value!r}, expected a whole number from 1 on")
        if key not in _SWITCHES | _NUMBERS and (not isinstance(value, str) or not value):
            raise FeatcacheError(f"{path}: {key} is {value!r}, expected a text")
    for key in {"cache", "root", "runs"} & values.keys():
        values[key] = Path(values[key])
    return Project(**values)
