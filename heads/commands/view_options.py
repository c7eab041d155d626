"""Options that say which views of the pictures are meant, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from heads.commands.options import VECTORS
from heads.commands.usage import usage_of
from heads.errors import HeadsError

__all__ = ["InvariantTo", "StoredViews", "ViewName", "ViewNames", "further_views", "view_names"]

ViewName = Annotated[
    str | None,
    typer.Option(metavar="V", help="Which stored view of the pictures; default: clean.", rich_help_panel=VECTORS),
]
StoredViews = Annotated[
    str | None,
    typer.Option(
        "--views",
        metavar="V,…",
        help="Several views in one table: names, report, or all that are stored; the first is what flips count from.",
        rich_help_panel=VECTORS,
    ),
]
ViewNames = Annotated[
    str | None,
    typer.Option(
        metavar="V,…", help="Fit on a random one of these stored views per row and epoch, e.g. train.",
        rich_help_panel=VECTORS,
    ),
]  # fmt: skip
InvariantTo = Annotated[
    str | None,
    typer.Option(
        metavar="V,…", help="Of head lda, linear: stored views that show what not to see; no label of theirs is used.",
        rich_help_panel=VECTORS,
    ),
]  # fmt: skip


def view_names(given: str | Sequence[str] | None) -> list[str]:
    """Return the views to fit on; the clean one, on which heads are scored, comes first."""
    if given is None:
        return ["clean"]
    from featcache import expand_views
    from heads.ablation.request import parse_texts

    with usage_of("--views", given):
        names = [str(view) for view in expand_views(parse_texts(given, "--views"))]
    if "clean" not in names:
        raise HeadsError(f"--views {', '.join(names)} lacks clean, the view on which heads are scored")
    return ["clean", *(name for name in names if name != "clean")]


def further_views(given: str | None, names: Sequence[str]) -> list[str] | None:
    """Return the views of ``--invariant-to`` that are not among those to fit on; None: it was not given."""
    if given is None:
        return None
    from featcache import expand_views

    with usage_of("--invariant-to", given):
        return [view for view in map(str, expand_views(given)) if view not in names]
