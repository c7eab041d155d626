"""The library nvJPEG: where it is installed, and what it says when it fails."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from featcache.errors import FeatcacheError

__all__ = ["NvjpegError", "find_nvjpeg", "nvjpeg_advice"]

_SONAMES = ("libnvjpeg.so.13", "libnvjpeg.so.12")
_NO_ENGINE = frozenset({7, 9})
_STATUS = (
    "success",
    "not initialised",
    "invalid parameter",
    "bad JPEG",
    "JPEG not supported",
    "allocator failure",
    "execution failed",
    "architecture mismatch",
    "internal error",
    "implementation not supported",
    "incomplete bitstream",
)


class NvjpegError(FeatcacheError):
    """nvJPEG did not do what it was told.

    Attributes
    ----------
    status : int
        What it returned.
    """

    def __init__(self, what: str, status: int) -> None:
        self.status = status
        reason = _STATUS[status] if status < len(_STATUS) else f"status {status}"
        super().__init__(f"nvJPEG: {what}: {reason}")

    @property
    def is_no_engine(self) -> bool:
        """Whether the GPU is one that has none."""
        return self.status in _NO_ENGINE


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
