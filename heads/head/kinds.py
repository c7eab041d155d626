"""Which kinds of heads there are; loads no framework until a kind is asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from heads.errors import HeadsError
from heads.files.contents import Contents
from heads.head.protocol import Head

__all__ = ["HEADS", "config_class", "head_class", "is_head_file", "load_head"]

HEADS: Mapping[str, tuple[str, str, str]] = {
    "mlp": ("heads.mlp", "MlpHead", "MlpConfig"),
    "linear": ("heads.linear", "LinearHead", "LinearConfig"),
    "gbdt": ("heads.gbdt", "GbdtHead", "GbdtConfig"),
}
"""For each kind its package, and the names of its class and of its config there."""
_FILE = re.compile(r"head\.json|(weights|components)\.safetensors|model-(0|[1-9]\d{0,4})\.txt")


def head_class(kind: str) -> type[Head]:
    """Import and return the class of a kind of head."""
    package, name, _ = _find(kind)
    return cast("type[Head]", getattr(import_module(package), name))


def config_class(kind: str) -> Any:
    """Import and return the config of a kind of head, a dataclass."""
    package, _, name = _find(kind)
    return getattr(import_module(package), name)


def load_head(kind: str, folder: Path) -> Head:
    """Read a saved head; the folder is untrusted: whatever is wrong with it raises `HeadsError`."""
    return head_class(kind).load(Contents(folder))


def is_head_file(name: str) -> bool:
    """Whether a head of some kind writes a file of this name."""
    return _FILE.fullmatch(name) is not None


def _find(kind: str) -> tuple[str, str, str]:
    if kind not in HEADS:
        raise HeadsError(f"unknown kind of head {kind!r:.80}, expected one of {', '.join(HEADS)}")
    return HEADS[kind]
