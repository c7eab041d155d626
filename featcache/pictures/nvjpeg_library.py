"""The library nvJPEG, where it is installed."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

__all__ = ["find_nvjpeg", "nvjpeg_advice"]

_SONAMES = ("libnvjpeg.so.13", "libnvjpeg.so.12")


def find_nvjpeg() -> str | None:
    """Return what to load as nvJPEG: that of its package, or of an installed CUDA; None if there is neither."""
    for name in (*_packaged(), *_SONAMES):
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return name
    return None


def _packaged() -> Iterator[str]:
    spec = find_spec("nvidia")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for soname in _SONAMES:
            yield from map(str, sorted(Path(folder).glob(f"*/lib/{soname}")))


def nvjpeg_advice() -> str:
    """Say what to type for nvJPEG, which is built for one CUDA: that of torch."""
    from torch.version import cuda

    return f"pip install 'featcache[{'gpu13' if (cuda or '').startswith('13.') else 'gpu'}]'"
