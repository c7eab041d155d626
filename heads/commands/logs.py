"""Logs of verdicts: ``--log`` of the commands that judge, and ``heads verify-log``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heads.commands.options import AsJson
from heads.commands.render import console, notes, print_json, safe
from heads.errors import HeadsError

if TYPE_CHECKING:
    from heads.files.chained_log import ChainedLog

__all__ = ["open_log", "verify_log"]


def open_log(path: Path, *, out: Path | None = None) -> ChainedLog:
    """Return the log of a command, made or mended already, so that it is refused before the work."""
    from heads.files.chained_log import ChainedLog

    if out is not None and path.resolve() == out.resolve():
        raise HeadsError(f"--log {path} is --out as well: name another file")

    def tell(place: Path) -> None:
        notes.print(f"[yellow]note[/] the last line of {safe(path)} was torn: moved to {safe(place)}", soft_wrap=True)

    log = ChainedLog(path, told=tell)
    log.append(())
    return log


def verify_log(
    log: Annotated[Path, typer.Argument(metavar="F.jsonl", help="What --log of detect or scan wrote.")],
    as_json: AsJson = False,
) -> None:
    """Read a log of verdicts and name its first line that does not follow from the line before.

    Whoever may write the file can make a whole one anew: compare the digest with one that you noted elsewhere.
    """
    from heads.files.chained_log import check_log

    found = check_log(log)
    if as_json:
        print_json({"log": str(log), "n": found.n, "digest": found.digest})
        return
    lines = "line follows" if found.n == 1 else "lines follow"
    console.print(f"{safe(log)}: {found.n:,} {lines} from each other", soft_wrap=True)
    if found.digest is not None:
        console.print(f"sha256 of the last: {found.digest}", soft_wrap=True)
