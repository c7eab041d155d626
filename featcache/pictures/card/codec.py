"""The library nvImageCodec, where it is installed."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["find_codec"]


def find_codec() -> Any | None:
    """Return the module nvImageCodec; None if it is not there or cannot be loaded."""
    os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")  # what it refuses is told once, by the caller
    try:
        from nvidia import nvimgcodec
    except Exception:  # absent, or without the libraries that it needs
        return None
    return nvimgcodec
