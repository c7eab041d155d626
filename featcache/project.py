"""``featcache.toml``: what a project folder says once, so that commands need not."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from featcache.errors import FeatcacheError

__all__ = ["Project", "load_project"]

FILE = "featcache.toml"


@dataclass(frozen=True)
class Project:
    """Settings of a project folder; None means not given. Relative paths are relative to that folder.

    Attributes
    ----------
    data : str or None
        Manifest, folder or ``hf:NAME``.
    cache, runs : Path or None
        Where features and runs go.
    text_model, image_model : str or None
        Hub id, local folder, or ``none``.
    text_outputs, image_outputs : str or None
        Comma-separated names.
    text_template : str or None
        With ``{caption}``.
    """

    data: str | None = None
    cache: Path | None = None
    runs: Path | None = None
    text_model: str | None = None
    image_model: str | None = None
    text_outputs: str | None = None
    image_outputs: str | None = None
    text_template: str | None = None


def load_project(folder: Path | None = None) -> Project:
    """Read ``featcache.toml`` of a folder (default: the current one); an empty `Project` if there is none.

    Raises
    ------
    FeatcacheError
        If it is no TOML, has an unknown key, or a value that is no text.
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
        if not isinstance(value, str) or not value:
            raise FeatcacheError(f"{path}: {key} is {value!r}, expected a text")
    for key in {"cache", "runs"} & values.keys():
        values[key] = Path(values[key])
    return Project(**values)
