"""Where a command reads and writes: the folder of a new run, the cache that a run is used on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from featcache import load_project
from featcache.console import cache_folder, notes, safe
from heads.errors import HeadsError
from heads.files.folder import sweep_folder
from heads.files.places import is_same, is_there

if TYPE_CHECKING:
    from featcache import FeatureStore
    from heads.runs.run import Run

__all__ = ["check_encoders", "free_name", "has_test", "new_run_folder", "open_run_store"]

_RUN_NAME = re.compile(r"\d{8}-\d{6}(-\d+)?")


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


def free_name(name: str) -> str:
    """Return a name for a file to be proposed: this one, or with a number where it is taken."""
    path = Path(name)
    names = chain([name], (f"{path.stem}-{number}{path.suffix}" for number in count(2)))
    return next(free for free in names if not Path(free).exists())


def has_test(cache: str, dataset: str) -> bool:
    """Whether the data set that a head was fitted on is there, and has rows to evaluate it on."""
    from featcache import FeatcacheError, open_store

    try:
        return "test" in open_store(cache, dataset=dataset, check=False).splits
    except (FeatcacheError, OSError):
        return False


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
    if is_named_by_run := is_default and not folder.exists() and is_there(own):
        folder = own
    elif is_default and not folder.exists():
        raise HeadsError(
            f"the cache {str(own)!r} that the run was fitted on is not to be found from here: name its folder "
            "(--cache DIR, or DIR behind the run), or another cache of the same encoders"
        )
    is_own = is_same(folder, own)
    if given is None and is_there(own) and not is_own:
        notes.print(f"[yellow]Note:[/] this is of cache {safe(folder)}; the run was fitted on {safe(own)}")
    if dataset is None and is_own:
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
