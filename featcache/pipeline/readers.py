"""Who prepares pictures: threads of this process, or processes where there are enough cores and pictures for them."""

from __future__ import annotations

import os
import pickle

from featcache.options import ExtractOptions, available_cores
from featcache.pipeline.reading import Reader, Recipe, ThreadReader
from featcache.pipeline.workers import ProcessReader

__all__ = ["open_reader"]

_LEAST_CORES = 4
_LEAST_CONTENTS = 2000
_AHEAD_A_WORKER = 4
_AHEAD = 64


def open_reader(recipe: Recipe, options: ExtractOptions, n_contents: int) -> Reader:
    """Make those who prepare ``n_contents`` pictures; a context that leaves nobody at its end."""
    if _are_processes(recipe, options, n_contents):
        n_processes = options.workers or available_cores()
        return ProcessReader(recipe, n_processes=n_processes, n_ahead=2 * _AHEAD_A_WORKER * n_processes + 2 * _AHEAD)
    return ThreadReader(recipe, n_threads=options.threads, n_ahead=_AHEAD_A_WORKER * options.threads + _AHEAD)


def _are_processes(recipe: Recipe, options: ExtractOptions, n_contents: int) -> bool:
    """Tell whether processes pay: beside a GPU, where threads would hold each other up, and not for little work."""
    if options.processes is False or os.name != "posix" or not _is_portable(recipe):
        return False
    if options.processes:
        return True
    if options.device == "cpu" or n_contents < _LEAST_CONTENTS or available_cores() < _LEAST_CORES:
        return False
    from featcache.encoders.loading import resolve_device

    return resolve_device(options.device) == "cuda"


def _is_portable(recipe: Recipe) -> bool:
    """Tell whether the encoders' part in the preparation can travel to another process."""
    if any(type(spec).__module__ == "__main__" for _, spec in recipe.products):
        return False
    try:
        pickle.dumps(recipe)
    except Exception:  # whatever an encoder of somebody else's raises
        return False
    return True
