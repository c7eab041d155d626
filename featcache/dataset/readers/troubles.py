"""Why a cell names no picture: what is usually wrong with a path, and what to do about it."""

import os
import re
import shlex
from unicodedata import normalize

__all__ = ["explain"]

_ADDRESS = re.compile(r"\s*([A-Za-z][A-Za-z0-9+-]*)://")
_BASE64 = re.compile(r"\s*(data:image/|(/9j/|iVBORw0KGgo|R0lGOD|UklGR|SUkqA|TU0AK|Qk)[A-Za-z0-9+/=\s]{40})")
"""A data address, or the first bytes of JPEG, PNG, GIF, WebP, TIFF or BMP in base64, with more behind them."""
_BYTES = re.compile(r"b['\"]\\x|b['\"](GIF8|RIFF|BM|II\*|MM)")


def explain(path: str, folder: str) -> str | None:
    """Say what is probably wrong with the name of a picture that is not there; None: nothing that is known.

    Parameters
    ----------
    path : str
        As the data have it.
    folder : str
        What a relative path is relative to.
    """
    if (target := _target_of(folder, path)) is not None:
        return f"it is a link to {target[:200]!r}, where nothing is"
    if _BASE64.match(path):
        return "it is a picture in base64, expected a path: write the pictures to files, or as bytes into Parquet"
    if _BYTES.match(path):
        return "it is a picture's bytes as text, expected a path: write the pictures to files, or as bytes into Parquet"
    if address := _ADDRESS.match(path):
        kind = address[1].lower()[:10]
        return f"it is an address ({kind}), expected a path: download the pictures first (img2dataset does)"
    if "\\" in path:
        if _is_there(folder, path.replace("\\", "/")):
            return f"it is there with / in the place of \\: write / between folders, or --root {shlex.quote(folder)}"
        return "it has \\ between folders, as on Windows: write /, or say with --root DIR where the pictures are"
    for form in ("NFC", "NFD"):
        other = normalize(form, path)
        if other != path and _is_there(folder, other):
            return (
                f"it is there in another form of the same letters, Unicode {form}: write the table in {form}, "
                "or rename the file"
            )
    if os.path.isabs(path):  # noqa: PTH117
        return "if it is a path of another machine, say with --root DIR where the pictures are here"
    return None


def _target_of(folder: str, path: str) -> str | None:
    """Return where a link leads; None: it is none."""
    try:
        return os.readlink(os.path.join(folder, path))  # noqa: PTH115, PTH118
    except (OSError, ValueError):  # ValueError: a NUL or a lone surrogate
        return None


def _is_there(folder: str, path: str) -> bool:
    try:
        return os.path.lexists(f"{folder}/{path}" if not path.startswith("/") else path)
    except ValueError:  # a NUL or a lone surrogate
        return False
