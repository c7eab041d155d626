"""How data were read into samples: what has to be said again, so that the same samples come out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

__all__ = ["EARLY", "NEWEST", "RULES", "Reading"]

RULES = 2
"""The rules by which new data are read; a data set that a cache has keeps those of its first reading.

1: captions are what they are; True and False may be classes.
2: captions ``nan``, ``NaN``, ``None``, ``NULL`` and ``null`` are missing, and classes are not called True or False.
"""


@dataclass(frozen=True)
class Reading:
    """How a data set was read.

    Attributes
    ----------
    rules : int
        From 1 to `RULES`.
    columns : tuple of (str, str)
        Columns that were named, each after what it means.
    root : str or None
        The folder below which pictures were looked for; None: where the data said.
    """

    rules: int = RULES
    columns: tuple[tuple[str, str], ...] = ()
    root: str | None = None

    @classmethod
    def from_document(cls, document: Any) -> Self:
        """Read what `to_document` returned, or somebody wrote in its place.

        Raises
        ------
        ValueError
            If it is something else.
        """
        if not isinstance(document, dict) or not document.keys() <= {"rules", "columns", "root"}:
            raise ValueError(f"expected rules, columns and root, found {str(document)[:80]!r}")
        rules, columns, root = document.get("rules"), document.get("columns", {}), document.get("root")
        if type(rules) is not int or not 1 <= rules <= RULES:
            raise ValueError(f"expected rules from 1 to {RULES}, found {str(rules)[:80]!r}")
        if not isinstance(columns, dict) or not all(isinstance(name, str) for name in columns.values()):
            raise ValueError(f"expected names of columns, found {str(columns)[:80]!r}")
        if not isinstance(root, str | None):
            raise ValueError(f"expected a root or none, found {str(root)[:80]!r}")
        return cls(rules, tuple(columns.items()), root)

    def to_document(self) -> Mapping[str, Any]:
        """Return what is stored: nothing that is as by default."""
        columns = {"columns": dict(self.columns)} if self.columns else {}
        return {"rules": self.rules} | columns | ({} if self.root is None else {"root": self.root})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read the JSON of a document.

        Raises
        ------
        ValueError
            If it is something else.
        """
        try:
            return cls.from_document(json.loads(text))
        except RecursionError:
            raise ValueError("nested too deeply") from None

    def to_text(self) -> str:
        """Return the JSON of the document."""
        return json.dumps(self.to_document())

    @property
    def options(self) -> Mapping[str, str]:
        """The options of ``featcache extract`` that say the same."""
        columns = ",".join(f"{field}={name}" for field, name in self.columns)
        return ({"--column": columns} if columns else {}) | ({} if self.root is None else {"--root": self.root})


NEWEST = Reading()
"""How data are read of which nothing is said."""
EARLY = Reading(rules=1)
"""How data were read of which it is not on record."""
