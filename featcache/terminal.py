"""Text for a terminal: untrusted strings never reach it raw."""

from __future__ import annotations

import unicodedata

__all__ = ["human_bytes", "printable"]

_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def printable(text: object) -> str:
    """Return ``text`` with control, format and surrogate characters escaped, so that it can neither move nor colour."""
    return "".join(
        char.encode("unicode_escape").decode("ascii") if unicodedata.category(char) in _INVISIBLE else char
        for char in str(text)
    )


def human_bytes(n: int) -> str:
    """Return a size in bytes for people, e.g. ``12.6 MB`` (powers of 1000)."""
    size = float(n)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
