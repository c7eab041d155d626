"""Kinds of files that are no pictures, by how their bytes begin: for messages, which must not quote the bytes."""

from __future__ import annotations

import re

__all__ = ["kind_of_bytes"]

_KINDS = (
    ("a PDF", rb"%PDF-"),
    ("a ZIP archive or office document", rb"PK(?:\x03\x04|\x05\x06)"),
    ("a compressed file or archive", rb"\x1f\x8b|BZh|\xfd7zXZ\0|7z\xbc\xaf\x27\x1c|Rar!|\x28\xb5\x2f\xfd"),
    ("a film", rb".{4}ftyp|\x1aE\xdf\xa3|RIFF.{4}AVI |\0\0\x01[\xb3\xba]|FLV\x01"),
    ("sound", rb"ID3|RIFF.{4}WAVE|OggS|fLaC"),
    ("a web page", rb"\s*<(?:!doctype\s+html|html)"),
    ("an SVG or other XML", rb"\s*<(?:\?xml|svg)"),
    ("a Photoshop document", rb"8BPS"),
    ("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL "),
    ("an icon", rb"\0\0[\x01\x02]\0"),
    ("what macOS keeps about another file", rb"\0\x05\x16\x07"),
    ("a program", rb"\x7fELF|MZ|#!"),
    ("text", rb"[\t\n\r\x20-\x7e]+\Z"),
)
_PATTERNS = tuple((name, re.compile(begin, re.DOTALL | re.IGNORECASE)) for name, begin in _KINDS)


def kind_of_bytes(head: bytes) -> str | None:
    """Return what kind of file begins so, as a sentence names it; None: not known."""
    return next((name for name, pattern in _PATTERNS if pattern.match(head)), None)
