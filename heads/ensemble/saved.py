"""The members of an ensemble in its folder: the files of each, with its place before their names."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from heads.data.tasks import Task
from heads.ensemble.config import MOST_MEMBERS
from heads.ensemble.member import Member, Ranges, first_unused
from heads.errors import HeadsError
from heads.files.contents import Contents
from heads.files.folder import file_size
from heads.files.ranges import Range
from heads.head.kinds import HEADS, head_class
from heads.head.saved import DESCRIPTION, MAX_DESCRIPTION, Description

__all__ = ["check_tasks", "describe_members", "load_members", "save_members"]


def save_members(members: Sequence[Member], folder: Path) -> None:
    """Write the files of all members into an existing folder."""
    for place, member in enumerate(members):
        draft = folder / f"member-{place}"
        draft.mkdir()
        member.head.save(draft)
        for path in draft.iterdir():
            path.rename(folder / (_prefix(place) + path.name))
        draft.rmdir()


def describe_members(members: Sequence[Member], *, n_features: int) -> dict[str, Any]:
    """Return what ``head.json`` of an ensemble says of its members."""
    everything: Ranges = ((0, n_features),)
    ranges = [[list(piece) for piece in member.ranges or everything] for member in members]
    return {"kinds": [member.head.kind for member in members], "ranges": ranges}


def load_members(contents: Contents, found: Description) -> list[Member]:
    """Read what `save_members` wrote, as `describe_members` describes it; the folder is untrusted."""
    kinds, ranges = _parse_fitted(found, contents.folder)
    parts = [contents.within(_prefix(place)) for place in range(len(kinds))]
    n_bytes = sum(file_size(part.path(DESCRIPTION)) for part in parts)
    if n_bytes > MAX_DESCRIPTION:
        raise HeadsError(f"{contents.folder} describes its members in {n_bytes} bytes, expected {MAX_DESCRIPTION}")
    no_rows = np.empty((0, found.n_features), dtype=np.float32)
    members = []
    for part, kind, pieces in zip(parts, kinds, ranges, strict=True):
        head = head_class(kind).load(part)
        check_tasks(head.tasks, found.tasks, str(part.path(DESCRIPTION)))
        members.append(Member(head, None if pieces == ((0, found.n_features),) else pieces))
        members[-1].predict(no_rows)  # refuses columns that are not the head's
    return members


def check_tasks(tasks: tuple[Task, ...], expected: tuple[Task, ...], where: str) -> None:
    """Refuse a member that predicts something else than the ensemble."""
    if tasks != expected:
        raise HeadsError(f"{where} has other tasks or classes than the ensemble: {_name(tasks)}, not {_name(expected)}")


def _name(tasks: tuple[Task, ...]) -> str:
    return "; ".join(f"{task.name} {', '.join(task.classes)}" for task in tasks)[:200]


def _prefix(place: int) -> str:
    return f"member-{place}."


def _parse_fitted(found: Description, folder: Path) -> tuple[list[str], list[Ranges]]:
    kinds, ranges = found.fitted.get("kinds"), found.fitted.get("ranges")
    is_sound = (
        set(found.fitted) == {"kinds", "ranges"}
        and isinstance(kinds, list)
        and isinstance(ranges, list)
        and 2 <= len(kinds) == len(ranges) <= MOST_MEMBERS
        and all(isinstance(kind, str) and kind in HEADS and not HEADS[kind].has_members for kind in kinds)
    )
    if not is_sound:
        raise HeadsError(f"{folder} has fitted values {found.fitted!r:.80}, expected kinds and ranges of its members")
    assert isinstance(kinds, list) and isinstance(ranges, list)
    parsed = [_parse_ranges(pieces, found.n_features, folder) for pieces in ranges]
    if first_unused(parsed, found.n_features) is not None:
        raise HeadsError(f"{folder} has n_features {found.n_features}, its members take {ranges!r:.80}")
    return kinds, parsed


def _parse_ranges(pieces: Any, n_features: int, folder: Path) -> Ranges:
    """Read pieces of the columns, none of which overlap."""
    column = Range(int, 0, n_features)
    is_list = isinstance(pieces, list) and 0 < len(pieces) <= n_features
    if not is_list or not all(isinstance(p, list) and len(p) == 2 and all(map(column.holds, p)) for p in pieces):
        raise HeadsError(f"{folder} has a member with columns {pieces!r:.80}, expected pieces of 0 to {n_features}")
    found = tuple((start, stop) for start, stop in pieces)
    ascending = sorted(found)
    is_apart = all(one[1] <= other[0] for one, other in pairwise(ascending))
    if not is_apart or any(start >= stop for start, stop in found):
        raise HeadsError(f"{folder} has a member with columns {pieces!r:.80}, expected pieces that do not overlap")
    return found
