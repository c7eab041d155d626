"""Drafts: what is written under a hidden name beside its place, which tells whose it is and what it is for.

``.NAME.<owner>.tmp`` is unfinished, or replaced already; ``.NAME.<owner>.old`` is what was at NAME while something
else takes its place on a file system that cannot exchange two names.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from featcache.files.owner import Owner
from featcache.files.publish import LEFTOVER_SECONDS

__all__ = ["Draft", "draft_beside", "find_drafts", "find_leftovers", "remove_draft", "sweep_drafts"]

_OWNER = r"(?P<host>[^\W_]{1,40})-(?P<pid>\d{1,10})-(?P<process>[0-9a-f]{8})[0-9a-f]{8}"
_EARLY = r"[0-9a-f]{12}"
_NAME = re.compile(rf"\.(?P<name>.+)\.(?:{_OWNER}|{_EARLY})\.(?P<kind>tmp|old)", re.DOTALL)


@dataclass(frozen=True)
class Draft:
    """A draft that lies in a folder.

    Attributes
    ----------
    path : Path
    final : Path
        The place that it is written for.
    is_old : bool
        Whether it is what was there before.
    owner : Owner or None
        None of a draft of early versions, which did not say.
    changed : float
        When it was last changed or renamed, in seconds since 1970.
    """

    path: Path
    final: Path
    is_old: bool
    owner: Owner | None
    changed: float

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody will finish it: its owner is dead, or is not known here and has left it for a day."""
        if self.owner is not None and self.owner.is_here:
            return self.owner.is_dead
        return time.time() - self.changed > LEFTOVER_SECONDS


def draft_beside(final: Path) -> Path:
    """Return a fresh name for what is going to be ``final``."""
    owner = Owner.current()
    return final.with_name(f".{final.name}.{owner.host}-{owner.pid}-{owner.process}{secrets.token_hex(4)}.tmp")


def find_drafts(folder: Path, name: str | re.Pattern[str]) -> Iterator[Draft]:
    """Yield the drafts of one name, or of all of a form, in a folder; a link is none, nor is a device or the like."""
    form = re.compile(re.escape(name)) if isinstance(name, str) else name
    paths: list[Path] = []
    with suppress(OSError):
        paths = list(folder.iterdir())
    for path in paths:
        found = _NAME.fullmatch(path.name)
        if found is None or form.fullmatch(found["name"]) is None:
            continue
        with suppress(OSError):
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode):
                owner = Owner(found["host"], int(found["pid"]), found["process"]) if found["host"] else None
                final = path.with_name(found["name"])
                yield Draft(path, final, found["kind"] == "old", owner, status.st_ctime)


def find_leftovers(folder: Path, name: str | re.Pattern[str]) -> list[Path]:
    """Return the abandoned drafts of one name, or of all of a form, in a folder.

    What was there before is none while nothing is there now: it may be all that is left.
    """
    drafts = [draft for draft in find_drafts(folder, name) if draft.is_abandoned]
    return [draft.path for draft in drafts if not draft.is_old or os.path.lexists(draft.final)]


def sweep_drafts(folder: Path, name: str | re.Pattern[str]) -> None:
    """Remove what `find_leftovers` finds."""
    for path in find_leftovers(folder, name):
        remove_draft(path)


def remove_draft(path: Path) -> None:
    """Remove a draft, file or folder, as far as that is possible; what links in it lead to stays."""
    with suppress(OSError):
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
