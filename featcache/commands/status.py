"""``featcache status``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from featcache.console import cache_folder, console, human_bytes, print_json, safe
from featcache.identity.outputs import abbreviate

if TYPE_CHECKING:
    from featcache.upkeep.audit import Audit, Finding
    from featcache.upkeep.coverage import Coverage
    from featcache.upkeep.status import CacheStatus, DatasetStatus, ProducerStatus
    from featcache.upkeep.steps import Step
    from featcache.upkeep.tells import Tell

__all__ = ["status"]

_CLASSES = 12
_CHANGES = 3
_BROKEN = 3
_HINTS = {
    "file format": "a head may learn traces of compression: compare --views jpeg:75, or store all alike",
    "picture size": "a head may learn sizes and shapes: compare --square-crop, --views rescale:0.5",
    "EXIF data": "no encoder sees EXIF data, but a head may learn what else the source did to its pictures",
}
_HINTS["bytes per pixel"] = _HINTS["file format"]
_SIDES = {"text": "captions", "image": "pictures"}


def status(
    cache: Annotated[Path | None, typer.Argument(metavar="DIR", help="The cache folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell what is in a cache, what is missing, and what to type next."""
    from featcache.cache.folder import Cache
    from featcache.upkeep.status import cache_status
    from featcache.upkeep.steps import next_steps

    found = cache_status(Cache.open(cache_folder(cache)))
    steps = next_steps(found)
    if as_json:
        print_json(found.to_dict() | {"next": [asdict(step) for step in steps]})
    else:
        _render(found, steps)


def _render(found: CacheStatus, steps: Sequence[Step]) -> None:
    console.print(f"[bold]Cache[/] {safe(found.path)}", soft_wrap=True)
    made = f"made {_date(found.created)}, " if found.created else ""
    console.print(f"  {made}computes in {found.compute_dtype}, stores {found.storage_dtype}", soft_wrap=True)
    if found.producers:
        console.print(f"\n[bold]Encoders[/] {len(found.producers)}")
        _render_producers(found)
    for dataset in found.datasets:
        console.print(f"\n[bold]Data set[/] {safe(dataset.name)}", soft_wrap=True)
        _render_dataset(dataset)
    if overlaps := _overlaps(found):
        console.print("\n[bold]Shared by data sets[/]")
        _grid(overlaps)
    _render_next(found, steps)


def _overlaps(found: CacheStatus) -> list[tuple[str, str]]:
    """Say what data sets have in common; a caption in two is told only where it leaks."""
    rows = []
    for overlap in found.overlaps:
        if overlap.modality == "text" and not overlap.n_leaks:
            continue
        one, other = (safe(name) for name in overlap.datasets)
        what = _n(overlap.n_contents, "picture" if overlap.modality == "image" else "caption")
        leak = f", {overlap.n_leaks:,} of them tested in one and fitted on in the other" if overlap.n_leaks else ""
        names = " = ".join(safe(name) for name in overlap.sample_ids)
        label = "[yellow]leak[/]" if overlap.n_leaks else "twice"
        rows.append((label, f"{one} and {other}: {what}{leak}, e.g. {names}"))
    return rows


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
        if p.n_shards:
            size = f"{_n(p.n_rows, 'row')} in {_n(p.n_shards, 'shard')}, {human_bytes(p.n_bytes)}"
            rows.append(("", f"{_outputs(p)}; {size}, {safe(p.written)[:10]}"))
            if p.views != ("clean",):
                rows.append(("", f"views {safe(', '.join(p.views))}"))
        else:
            rows.append(("", "[yellow]nothing stored yet[/]"))
        if (p.compute_dtype, p.storage_dtype) != (found.compute_dtype, found.storage_dtype):
            rows.append(("", f"computes in {safe(p.compute_dtype)}, stores {safe(p.storage_dtype)}"))
        if p.unlike:
            rows.append(("", f"[dim]{_unlike(p)}[/]"))
    _grid(rows)


def _outputs(p: ProducerStatus) -> str:
    """Name outputs with their widths; those of one width together, layers as a span."""
    by_width: dict[int, list[str]] = {}
    for name, width in p.outputs.items():
        by_width.setdefault(width, []).append(name)
    return "; ".join(f"{safe(abbreviate(names))} {width}" for width, names in by_width.items())


def _unlike(p: ProducerStatus) -> str:
    shown = "; ".join(safe(_cut(str(change))) for change in p.changes[:_CHANGES])
    rest = len(p.changes) - _CHANGES
    return f"unlike {p.unlike}: {shown}" + (f"; and {_n(rest, 'more field')}" if rest > 0 else "")


def _cut(text: str, width: int = 100) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _render_dataset(dataset: DatasetStatus) -> None:
    classes = [f"{safe(_cut(name, 60))} {n:,}" for name, n in _classes(dataset).items()]
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
    rows += [("files", _files(dataset.audit.formats))] if dataset.audit.formats else []
    rows += [("[red]broken[/]", _broken(dataset.audit))] if dataset.audit.orphans.n_broken else []
    stored = _merge([c for c in dataset.coverage if c.is_wanted and c.n_contents])
    rows += [("stored" if i == 0 else "", line) for i, line in enumerate(stored)]
    for division in dataset.divisions:
        parts = f"of {division.count} parts missing: --array={division.missing}"
        rows.append(("divided", f"[yellow]{_cut(parts, 200)}[/]"))
    others = sorted({f"{c.modality} {c.producer}" for c in dataset.coverage if not c.is_wanted and c.n_contents})
    rows += [("not run", ", ".join(others))] if others else []
    _grid([*rows, *_warnings(dataset.audit)])


def _classes(dataset: DatasetStatus) -> dict[str, int]:
    """Count samples by class, and those of unknown class by what else is known of them."""
    from featcache.dataset.overview import UNLABELLED, UNNAMED

    named = {name: n for name, n in dataset.classes.items() if name != "unknown"}
    n_unnamed = dataset.labels["ai"] - sum(n for name, n in named.items() if name != "real")
    found = named | {UNNAMED: n_unnamed, UNLABELLED: dataset.labels["unknown"]}
    return {name: n for name, n in found.items() if n}


def _files(formats: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in formats.items())


def _gap(audit: Audit) -> str:
    gaps = [
        f"{_n(n, 'sample')} without {'caption' if m == 'text' else 'picture'}" for m, n in audit.n_without.items() if n
    ]
    if audit.n_unreadable:
        gaps.append(f"[red]{_n(audit.n_unreadable, 'unreadable picture')}[/]")
    if audit.orphans.n:
        gaps.append(f"{_n(audit.orphans.n, 'orphan')} left out (no regular file there)")
    return ", ".join(gaps)


def _broken(audit: Audit) -> str:
    found = audit.orphans
    shown = "; ".join(safe(_cut(line)) for line in found.broken[:_BROKEN])
    more = "; …" if found.n_broken > _BROKEN else ""
    return f"{_n(found.n_broken, 'part')} of the source damaged or refused: {shown}{more}"


def _merge(coverage: Sequence[Coverage]) -> list[str]:
    """Describe what is stored: outputs and views of an encoder of which the same is there in one line."""
    by_counts: dict[tuple[str, str, int, int, int], dict[str, list[str]]] = {}
    for c in coverage:
        views = by_counts.setdefault((c.modality, c.producer, c.n_contents, c.n_stored, c.n_failed), {})
        views.setdefault(c.view, []).append(c.output)
    lines = []
    for (modality, producer, n_contents, n_stored, n_failed), views in by_counts.items():
        by_outputs: dict[tuple[str, ...], list[str]] = {}
        for view, each in views.items():
            by_outputs.setdefault(tuple(each), []).append(view)
        for outputs, names in by_outputs.items():
            what = safe(abbreviate(outputs) if any(outputs) else "nothing")
            what += "" if names == ["clean"] else f" of {safe(', '.join(names))}"
            counts = _counts(n_contents, n_stored, n_failed) + (" each" if len(names) > 1 else "")
            lines.append(f"{modality} {producer} {what}: {counts}")
    return lines


def _counts(n_contents: int, n_stored: int, n_failed: int) -> str:
    n_missing = n_contents - n_stored - n_failed
    parts = [f"{n_stored:,} of {n_contents:,}"]
    parts += [f"[red]{n_failed:,} failed[/]"] if n_failed else []
    parts += [f"[yellow]{n_missing:,} to do[/]"] if n_missing else []
    return ", ".join(parts)


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
    return rows + _giveaways([tell for tell in audit.tells if tell.gives_away])


def _giveaways(tells: Sequence[Tell]) -> list[tuple[str, str]]:
    """Warn of facts about files that give the label away, each hint behind all that it is for."""
    rows, hints = [], dict.fromkeys(_HINTS[tell.fact] for tell in tells)
    for hint in hints:
        for tell in tells:
            if _HINTS[tell.fact] == hint:
                which = tell.split or "all labelled pictures"
                values = "; ".join(f"{v.name}: {v.n_real:,} real, {v.n_ai:,} AI" for v in tell.values)
                told = f"{tell.fact} alone tells real from AI in {tell.accuracy:.0%} (balanced) of {which}: {values}"
                rows.append(("[yellow]tell[/]", told))
        rows.append(("", f"[dim]{hint}[/]"))
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


def _render_next(found: CacheStatus, steps: Sequence[Step]) -> None:
    from featcache.commands.shell import print_next

    if found.n_claims:
        console.print(
            f"\n{_n(found.n_claims, 'work unit')} claimed: an extraction is at work, or was killed", soft_wrap=True
        )
    if found.unread:
        names = ", ".join(safe(_cut(name, 40)) for name in found.unread)
        verdict = f"[yellow]Incomplete[/]: no sample table of {names}, which was extracted before or never begun"
        verdict += f"; {found.n_failed_contents:,} failed." if found.n_failures else "."
    elif not found.datasets:
        verdict = "Nothing in it yet." if not found.producers else "No data set in it yet."
    elif not (found.producers or found.nameless):
        verdict = "No vectors in it yet."
    elif found.nameless:
        verdict = (
            f"[yellow]Incomplete[/]: no document of encoder {', '.join(found.nameless)}. The `featcache extract` that "
            "ran it brings it back, and its vectors with it."
        )
    elif found.n_missing:
        verdict = f"[yellow]Incomplete[/]: {found.n_missing:,} to do."
    else:
        verdict = "[green]Complete[/]" + (f", but {found.n_failed_contents:,} failed." if found.n_failures else ".")
    console.print()
    if steps:
        print_next(console, verdict, steps)
    else:
        console.print(verdict, soft_wrap=True)
