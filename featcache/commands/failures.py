"""``featcache failures``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer
from rich.padding import Padding
from rich.table import Table

from featcache.console import cache_folder, console, print_json, safe
from featcache.identity.fingerprint import SHORT

if TYPE_CHECKING:
    from featcache.cache.orphans import Orphans
    from featcache.upkeep.failure_list import FailedContent, FailureCause
    from featcache.upkeep.status import CacheStatus

__all__ = ["failures"]

_SHOWN = 4
_ALIKE = 20
"""Contents that are listed of those that failed with one message."""


def failures(
    cache: Annotated[Path | None, typer.Argument(metavar="DIR", help="The cache folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List what could not be read or encoded, why, and how to try again.

    With --json a picture or caption has a record for each encoder and view that lacks it.
    """
    from featcache.cache.folder import Cache
    from featcache.commands.shell import print_steps
    from featcache.upkeep.failure_list import count_contents, list_broken, list_failures, merge_failures
    from featcache.upkeep.status import cache_status
    from featcache.upkeep.steps import retry_steps

    opened = Cache.open(cache_folder(cache))
    found, broken = list_failures(opened), list_broken(opened)
    failed: dict[str, list[str]] = {}
    for failure in found:
        failed.setdefault(failure.dataset, []).extend([failure.producer] if failure.producer else [])
    if not as_json:
        for name, each in broken:
            _render_broken(name, each)
    if not found and not as_json:
        if not broken:
            console.print("no failures on record")
        return
    status = cache_status(opened)
    steps = retry_steps(status, failed)
    if as_json:
        rows = [asdict(failure) for failure in found]
        parts = [{"dataset": name, "n": each.n_broken, "lines": each.broken} for name, each in broken]
        document = {"path": str(opened.path), "n_failed_contents": count_contents(found), "failures": rows}
        print_json(document | {"broken": parts, "next": [asdict(step) for step in steps]})
        return
    places = _Places.of(found, status)
    groups: dict[tuple[str, ...], list[FailureCause]] = {}
    for cause in merge_failures(found):
        key = (cause.dataset, cause.content, cause.stage, cause.error, places.describe(cause))
        groups.setdefault(key, []).append(cause)
    for (*_, where), group in sorted(groups.items(), key=lambda item: item[0]):
        _render(group, where)
    console.print("Next, when the cause is mended:")
    print_steps(console, steps)


@dataclass(frozen=True)
class _Places:
    """By short fingerprint: names of encoders, and the views under which any has failed or has something stored."""

    names: Mapping[str, str]
    views: Mapping[str, set[str]]

    @classmethod
    def of(cls, failures: Sequence[FailedContent], status: CacheStatus) -> Self:
        """Collect them."""
        views = {p.fingerprint[:SHORT]: set(p.views) for p in status.producers}
        for failure in failures:
            if failure.producer is not None and failure.view is not None:
                views[failure.producer].add(failure.view)
        names = {p.fingerprint[:SHORT]: " ".join(dict.fromkeys([p.modality, p.model])) for p in status.producers}
        return cls(names, views)

    def describe(self, cause: FailureCause) -> str:
        """Say which encoders failed on a content, and under which views; encoders with the same views together."""
        if not cause.places:
            return "before any encoder"
        failed: dict[str, set[str]] = {}
        for producer, view in cause.places:
            failed.setdefault(producer, set()).add(view)
        by_views: dict[str, list[str]] = {}
        for producer in (name for name in self.names if name in failed):
            views = _describe_views(failed[producer], self.views[producer])
            by_views.setdefault(views, []).append(f"{self.names[producer]} {producer}")
        return "; ".join(f"by {' and '.join(encoders)}{views}" for views, encoders in by_views.items())


def _render_broken(dataset: str, found: Orphans) -> None:
    what = f"[bold]{found.n_broken:,}[/] part{'' if found.n_broken == 1 else 's'} of the source of {safe(dataset)}"
    console.print(f"{what}: [red]damaged or refused[/]; what it holds is missing", soft_wrap=True)
    for line in found.broken:
        console.print(f"  {safe(line)}", soft_wrap=True)
    if found.n_broken > len(found.broken):
        console.print(f"  … and {found.n_broken - len(found.broken):,} more", soft_wrap=True)
    console.print("  mended, they are read by the `featcache extract` that read the others\n", soft_wrap=True)


def _describe_views(failed: Collection[str], known: Collection[str]) -> str:
    if set(known) == {"clean"}:
        return ""
    if len(failed) == len(known) > 1:
        return f", all {len(known)} views"
    names = sorted(failed)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f", view{'' if len(names) == 1 else 's'} {', '.join(names[:_SHOWN])}{more}"


def _render(group: Sequence[FailureCause], where: str) -> None:
    first = group[0]
    noun = ("caption" if first.content == "text" else "picture") + ("" if len(group) == 1 else "s")
    what = f"[bold]{len(group):,}[/] {noun} of {safe(first.dataset)}"
    console.print(f"{what}: [red]{safe(first.stage)}, {safe(first.error)}[/]", soft_wrap=True)
    console.print(Padding(f"[dim]{safe(where)}[/]", (0, 0, 0, 2)))
    table = Table("sample", "tries", "last tried (UTC)", "message", box=None, header_style="dim", pad_edge=True)
    for column, width in zip(table.columns, (18, 5, 16, None), strict=True):
        column.overflow, column.max_width = "fold", width
    table.columns[1].justify = "right"
    seen: Counter[str] = Counter()
    for failure in group:
        seen[failure.message] += 1
        if seen[failure.message] > _ALIKE:
            continue
        time = safe(failure.time)[:16].replace("T", " ")
        table.add_row(safe(failure.sample_id), str(failure.attempts), time, safe(failure.message))
    console.print(table)
    if n_more := sum(max(0, n - _ALIKE) for n in seen.values()):
        console.print(f"[dim]  … and {n_more:,} more for the same reason; --json lists all[/]")
    console.print()
