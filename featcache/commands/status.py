"""``featcache status``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from featcache.commands.render import cache_folder, console, print_json, safe
from featcache.terminal import human_bytes

if TYPE_CHECKING:
    from featcache.audit import Audit, Finding
    from featcache.status import CacheStatus, Coverage, DatasetStatus, ProducerStatus

__all__ = ["status"]

_CLASSES = 12
_CHANGES = 3
_SIDES = {"text": "captions", "image": "pictures"}


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
    console.print(f"[bold]Cache[/] {safe(found.path)}", soft_wrap=True)
    made = f"made {_date(found.created)}, " if found.created else ""
    console.print(f"  {made}computes in {found.compute_dtype}, stores {found.storage_dtype}", soft_wrap=True)
    if found.producers:
        console.print(f"\n[bold]Encoders[/] {len(found.producers)}")
        _render_producers(found)
    for dataset in found.datasets:
        console.print(f"\n[bold]Data set[/] {safe(dataset.name)}", soft_wrap=True)
        _render_dataset(dataset)
    _render_next(found)


def _date(iso: str | None) -> str:
    return safe(iso or "?")[:16].replace("T", " ") + (" UTC" if iso and iso.endswith("+00:00") else "")


def _n(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _grid(rows: Iterable[tuple[str, str]]) -> None:
    """Print labelled lines; what is too long for a line goes on under its beginning."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in rows:
        table.add_row("  " + label, value)
    console.print(table)


def _render_producers(found: CacheStatus) -> None:
    rows = []
    for p in found.producers:
        where = f"@{safe(p.revision)[:12]}" if p.revision else ""
        rows.append((f"{p.modality} {p.fingerprint[:12]}", f"{safe(p.model)}{where}"))
        if p.path:
            rows.append(("", f"[dim]{safe(p.path)}[/]"))
        outputs = ", ".join(f"{safe(name)} {width}" for name, width in p.outputs.items())
        if p.n_shards:
            size = f"{_n(p.n_rows, 'row')} in {_n(p.n_shards, 'shard')}, {human_bytes(p.n_bytes)}"
            rows.append(("", f"{outputs}; {size}, {safe(p.written)[:10]}"))
        else:
            rows.append(("", "[yellow]nothing stored yet[/]"))
        if (p.compute_dtype, p.storage_dtype) != (found.compute_dtype, found.storage_dtype):
            rows.append(("", f"computes in {safe(p.compute_dtype)}, stores {safe(p.storage_dtype)}"))
        if p.unlike:
            rows.append(("", f"[dim]{_unlike(p)}[/]"))
    _grid(rows)


def _unlike(p: ProducerStatus) -> str:
    shown = "; ".join(safe(_cut(str(change))) for change in p.changes[:_CHANGES])
    rest = len(p.changes) - _CHANGES
    return f"unlike {p.unlike}: {shown}" + (f"; and {_n(rest, 'more field')}" if rest > 0 else "")


def _cut(text: str, width: int = 100) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _render_dataset(dataset: DatasetStatus) -> None:
    classes = [f"{safe(_cut(name, 60))} {n:,}" for name, n in dataset.classes.items()]
    if len(classes) > _CLASSES:
        classes = [*classes[: _CLASSES - 1], f"and {len(classes) - _CLASSES + 1} more classes"]
    contents = " and ".join(f"{n:,} different {_SIDES[m]}" for m, n in dataset.n_contents.items())
    rows = [
        ("from", safe(dataset.origin)),
        ("samples", f"{dataset.n_samples:,}, read {_date(dataset.scanned)}"),
        ("splits", ", ".join(f"{name} {n:,}" for name, n in dataset.splits.items())),
        ("classes", ", ".join(classes)),
        ("contents", f"{contents}, each encoded once"),
    ]
    rows += [("", _gap(dataset.audit))] if _gap(dataset.audit) else []
    wanted = [c for c in dataset.coverage if c.is_wanted and c.n_contents]
    rows += [("stored" if i == 0 else "", _stored(c)) for i, c in enumerate(wanted)]
    others = sorted({f"{c.modality} {c.producer}" for c in dataset.coverage if not c.is_wanted and c.n_contents})
    rows += [("not run", ", ".join(others))] if others else []
    _grid([*rows, *_warnings(dataset.audit)])


def _gap(audit: Audit) -> str:
    gaps = [
        f"{_n(n, 'sample')} without {'caption' if m == 'text' else 'picture'}" for m, n in audit.n_without.items() if n
    ]
    if audit.n_unreadable:
        gaps.append(f"[red]{_n(audit.n_unreadable, 'unreadable picture')}[/]")
    if audit.orphans.n:
        gaps.append(f"{_n(audit.orphans.n, 'orphan')} left out (files that are not there)")
    return ", ".join(gaps)


def _stored(c: Coverage) -> str:
    what = safe(c.output) or "nothing"
    if c.view != "clean":
        what += f" {safe(c.view)}"
    parts = [f"{c.n_stored:,} of {c.n_contents:,}"]
    parts += [f"[red]{c.n_failed:,} failed[/]"] if c.n_failed else []
    parts += [f"[yellow]{c.n_missing:,} to do[/]"] if c.n_missing else []
    return f"{c.modality} {c.producer} {what}: {', '.join(parts)}"


def _warnings(audit: Audit) -> list[tuple[str, str]]:
    rows = []
    for finding, what in ((audit.leaked_images, "picture"), (audit.leaked_captions, "caption")):
        if finding:
            rows.append(("[yellow]leak[/]", f"{_n(finding.n_contents, what)} in several splits: {_examples(finding)}"))
    if rows:
        rows.append(("", "[dim]scores come out too good; without a split column, extract makes a clean split[/]"))
    if audit.conflicts:
        n = _n(audit.conflicts.n_contents, "picture")
        rows.append(("[yellow]labels[/]", f"{n} with several labels: {_examples(audit.conflicts)}"))
    if audit.duplicates:
        n = f"{_n(audit.duplicates.n_contents, 'picture')} under several sample ids"
        rows.append(("twice", f"{n}: {_examples(audit.duplicates)}"))
    return rows


def _examples(finding: Finding) -> str:
    shown = []
    for example in finding.examples:
        pairs = zip(example.sample_ids, example.values, strict=True)
        names = " = ".join(
            safe(_cut(name, 40)) + (f" ({safe(_cut(value, 30))})" if value else "") for name, value in pairs
        )
        shown.append(names)
    return "; ".join(shown) + ("; …" if finding.n_contents > len(finding.examples) else "")


def _render_next(found: CacheStatus) -> None:
    from featcache.commands.shell import print_steps, shell_line

    if found.n_claims:
        console.print(
            f"\n{_n(found.n_claims, 'work unit')} claimed: an extraction is at work, or was killed", soft_wrap=True
        )
    if not found.datasets:
        verdict = "Nothing in it yet." if not found.producers else "No data set in it yet."
    elif found.n_missing:
        verdict = f"[yellow]Incomplete[/]: {found.n_missing:,} to do."
    else:
        verdict = "[green]Complete[/]" + (f", but {found.n_failures:,} failed." if found.n_failures else ".")
    line = shell_line(found.next[0].command)
    if len(found.next) == 1 and len(line) < console.width - 20:
        console.print(f"\n{verdict} Next: {safe(line)}", soft_wrap=True)
    else:
        console.print(f"\n{verdict} Next:", soft_wrap=True)
        print_steps(console, found.next)
