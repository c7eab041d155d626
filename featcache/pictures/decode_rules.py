"""By which rules bytes become RGB, and what of that a fingerprint covers."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

__all__ = ["DECODE_DOCUMENT", "DECODE_RULES", "DecodeMode", "decode_document"]

DecodeMode: TypeAlias = Literal["exact", "fast"]

DECODE_DOCUMENT: dict[str, Any] = {
    "decoder": "pillow",
    "mode": "RGB",
    "frame": "first",
    "exif": "transpose",
    "alpha": "over white",
    "grey16": "divide by 257, round",
    "int32": "as grey16 in PNG and PPM, else refused",
    "float32": "refused",
    "cmyk": "pillow",
    "icc": "ignored",
}
"""What the conversion contributes to a fingerprint, beside its ``rules``."""

DECODE_RULES = 2
"""The latest rules; the number grows when a rule changes its meaning, and caches go on by that which they have.

1: around a first frame of a GIF that is smaller than the picture is the first colour of the palette. 2: there is white.
"""


def decode_document(mode: DecodeMode, rules: int = DECODE_RULES) -> dict[str, Any]:
    """Return what the conversion contributes to a fingerprint: `decode_rgb` exact, or fast with ``at_least``."""
    document = DECODE_DOCUMENT | {"rules": rules}
    if mode == "exact":
        return document
    return document | {"scaled": "jpeg by 1/2, 1/4 or 1/8 that divides both sides, not below twice the resize"}
