"""``featcache status``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from featcache.commands.render import cache_folder, console, print_json, safe
from featcache.terminal import human_bytes

if TYPE_CHECKING:
    from featcache.status import CacheStatus, DatasetStatus

__all__ = ["status"]


def status(
    cache: Annotated[Path | None, typer.Argument(metavar="DIR", help="The cache folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell what is in a cache, what is missing, and what to type next."""
    from featcache.cache import Cache
    from featcache.status import cache_status

    found = cache_status(Cache.open(cache_folder(cache)))
    if as_json:
        print_json(found.to_dict())
    else:
        _render(found)


def _render(found: CacheStatus) -> None:
    console.print(f"[bold]Cache[/] {safe(found.path)}")
    table = Table("encoder", "model", "dtype", "outputs", "shards", "rows", "size", box=None, header_style="dim")
    for p in found.producers:
        outputs = ", ".join(f"{name} {width}" for name, width in p.outputs.items()) or "nothing yet"
        table.add_row(
            f"{p.modality} {p.fingerprint[:12]}",
            safe(p.model),
            p.compute_dtype,
            safe(outputs),
            f"{p.n_shards:,}",
            f"{p.n_rows:,}",
            human_bytes(p.n_bytes),
        )
    console.print(table)
    for dataset in found.datasets:
        _render_dataset(dataset)
    _render_next(found)


def _render_dataset(dataset: DatasetStatus) -> None:
    console.print(
        f"\n[bold]Data set[/] {safe(dataset.name)}: {dataset.n_samples:,} samples  [dim]{safe(dataset.origin)}[/]"
    )
    console.print("  splits   " + ", ".join(f"{name} {n:,}" for name, n in dataset.splits.items()))
    console.print("  classes  " + ", ".join(f"{safe(name)} {n:,}" for name, n in dataset.classes.items()))
    without = [f"{n:,} without {'caption' if m == 'text' else 'image'}" for m, n in dataset.n_without.items() if n]
    if dataset.n_unreadable:
        without.append(f"{dataset.n_unreadable:,} of these unreadable")
    if without:
        console.print("  missing  " + ", ".join(without))
    table = Table("encoder", "view", "output", "contents", "stored", "failed", "to do", box=None, header_style="dim")
    for c in dataset.coverage:
        to_do = f"[yellow]{c.n_missing:,}[/]" if c.n_missing else "0"
        failed = f"[red]{c.n_failed:,}[/]" if c.n_failed else "0"
        table.add_row(c.producer, safe(c.view), safe(c.output), f"{c.n_contents:,}", f"{c.n_stored:,}", failed, to_do)
    if dataset.coverage:
        console.print(table)


def _render_next(found: CacheStatus) -> None:
    if not found.datasets:
        console.print(f"\nNothing in it yet. Next: featcache extract DATA --cache {safe(found.path)}")
    elif found.n_missing or any(p.n_rows == 0 for p in found.producers):
        console.print(
            f"\nIncomplete. Next: the same `featcache extract` again, e.g. featcache extract "
            f"{safe(found.datasets[0].origin)} --cache {safe(found.path)}",
            soft_wrap=True,
        )
    else:
        console.print(f"\nComplete. Next: heads train {safe(found.path)} --loss multitask", soft_wrap=True)
