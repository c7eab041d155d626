"""Rendering of what ``featcache extract`` did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.console import console, safe
from featcache.errors import FeatcacheError

if TYPE_CHECKING:
    from featcache.extraction.results import ExtractResult, PassResult, SideResult

__all__ = ["print_broken", "render_result", "result_document"]

_SHOWN = 5
_MANY_PICTURES = 1000


def result_document(result: ExtractResult) -> dict[str, Any]:
    """Return what ``--json`` prints; ``n_failed_contents`` is the figure that people are told, see `ExtractResult`."""
    totals = {name: getattr(result, name) for name in ("n_encoded", "n_failed", "n_failed_contents")}
    return asdict(result) | totals


def render_result(result: ExtractResult, path: Path) -> None:
    """Print what was done, what failed, and what comes next."""
    by_encoder: dict[str, list[SideResult]] = {}
    for side in result.sides:
        by_encoder.setdefault(side.fingerprint, []).append(side)
    for sides in by_encoder.values():
        _render_encoder(sides)
    for done in result.passes:
        _render_pass(done)
        _render_ways(done)
    notes = [f"{n:,} without {'caption' if m == 'text' else 'image'}" for m, n in _missing(result).items() if n]
    notes += [f"{result.n_orphans:,} skipped: no regular file there"] if result.n_orphans else []
    notes += [f"{result.n_left_out:,} pictures left out"] if result.n_left_out else []
    console.print(f"{result.n_samples:,} samples" + "".join(f", {note}" for note in notes), soft_wrap=True)
    _render_faults(result, path)
    n_new = sum(side.n_new for side in result.sides)
    n_others = sum(side.n_other_parts for side in result.sides)
    if n_new:
        console.print(
            f"incomplete: {n_new:,} new contents were left alone, the same without --retry-failed encodes them"
        )
    elif n_others:
        console.print(
            f"this part is complete; other parts had {n_others:,} contents to do when it began: featcache status tells "
            "what is left"
        )
    elif not (result.n_encoded or result.n_failed or result.broken):
        console.print("[green]complete[/]: nothing to encode")
    elif not (result.n_failed or result.broken):
        console.print("[green]complete[/]")
    _render_next(result.dataset, path)


def _render_next(dataset: str, path: Path) -> None:
    """Print what `featcache status` says is to be done with the data set; that takes a second where this took hours."""
    from featcache.cache.folder import Cache
    from featcache.commands.shell import print_next
    from featcache.upkeep.status import cache_status
    from featcache.upkeep.steps import next_steps

    try:
        steps = next_steps(cache_status(Cache.open(path), only=dataset))
    except FeatcacheError as error:
        console.print(f"[yellow]damaged elsewhere[/] {safe(error)}", soft_wrap=True)
        return
    if steps:
        print_next(console, "", steps)


def _missing(result: ExtractResult) -> dict[str, int]:
    """Return how many samples lack a content: spectral features and image vectors lack the same."""
    found = dict(result.n_missing)
    if "image" in found:
        found.pop("spectral", None)
    return found


def _render_encoder(sides: Sequence[SideResult]) -> None:
    first = sides[0]
    n_views = f" × {len(sides)} views" if len(sides) > 1 else ""
    counts = {name: sum(getattr(side, name) for side in sides) for name in ("n_cached", "n_encoded", "n_elsewhere")}
    line = f"[bold]{first.modality:5}[/] {safe(first.model)}: {first.n_contents:,} contents{n_views}, "
    line += f"{counts['n_cached']:,} cached, {counts['n_encoded']:,} encoded, {_failed(sides)}"
    line += f", {counts['n_elsewhere']:,} encoded by another writer" if counts["n_elsewhere"] else ""
    console.print(line, soft_wrap=True)
    if before := len({key for side in sides for key in side.failed_before}):
        console.print(f"      {before:,} failed in an earlier run: --retry-failed tries them again")


def _failed(sides: Sequence[SideResult]) -> str:
    """Count contents that failed, each once, and say whether in all views."""
    each = [side.failed_keys for side in sides]
    n = len(frozenset().union(*each))
    if not n or len(sides) == 1:
        return f"{n:,} failed"
    return f"{n:,} failed in {'all' if min(map(len, each)) == n else 'some'} views"


def _render_pass(done: PassResult) -> None:
    total = sum(done.seconds.values())
    if not done.n_rows or not total:
        return
    shares = [f"{name} {seconds / total:.0%}" for name, seconds in done.seconds.items() if seconds >= 0.005 * total]
    name = "captions" if done.content == "text" else "pictures"
    rates = f"{done.n_contents / total:.1f} {name}/s"
    rates += f", {done.n_rows / total:.1f} rows/s" if done.n_rows != done.n_contents else ""
    workers = f", {done.workers}" if done.content == "image" else ""
    console.print(f"{rates} in {total:.1f} s{workers}: {', '.join(shares)}", soft_wrap=True)


def _render_ways(done: PassResult) -> None:
    """Print who decoded how many pictures, and why; nothing where it was Pillow alone that could have."""
    from featcache.pictures.decoders import FAST_ADVICE, find_decoder

    for doubt in done.doubts:
        console.print(f"[yellow]doubt[/] {safe(doubt)}", soft_wrap=True)
    reasons = [f"{n:,} {why}" for way, n in done.ways.items() if (why := way.partition(": ")[2])]
    counts: Counter[str] = Counter()
    for way, n in done.ways.items():
        counts[way.partition(":")[0]] += n
    is_told = bool(reasons or counts.keys() - {"pillow"})
    if is_told:
        sides = sorted(counts.items(), key=lambda each: each[0] == "pillow")
        told = "; ".join(f"{n:,} by {_maker_name(name)}" for name, n in sides)
        console.print(safe(f"decoded {told}" + (f" ({', '.join(reasons)})" if reasons else "")), soft_wrap=True)
    if done.hint and counts.total() >= _MANY_PICTURES:
        console.print(safe(done.hint), soft_wrap=True)
    elif not is_told and counts["pillow"] >= _MANY_PICTURES and find_decoder("auto") is None:
        console.print(f"decoded by Pillow: {safe(FAST_ADVICE)}", soft_wrap=True)


def _maker_name(way: str) -> str:
    """Return who made pictures, as it is told: where somebody else resized them than decoded them, that too."""
    decoder, _, resizer = way.partition("+")
    return f"{decoder} and resized on the GPU" if resizer else decoder


def _render_faults(result: ExtractResult, path: Path) -> None:
    failures = list({(f.sample_id, f.stage, f.message): f for f in _failures(result)}.values())
    for failure in failures[:_SHOWN]:
        console.print(f"[red]failed[/] {safe(failure.sample_id)}: {safe(failure.message)}", soft_wrap=True)
    if len(failures) > _SHOWN:
        more = len(failures) - _SHOWN
        console.print(f"… and {more:,} more failures, in {safe(path / 'failures')}", soft_wrap=True)
    print_broken(result.broken)


def print_broken(lines: Sequence[str]) -> None:
    """Print the first parts of the source that are damaged or refused, and how many more there are."""
    for line in lines[:_SHOWN]:
        console.print(f"[red]broken[/] {safe(line)}", soft_wrap=True)
    if len(lines) > _SHOWN:
        console.print(f"… and {len(lines) - _SHOWN:,} more broken parts, all in --json", soft_wrap=True)


def _failures(result: ExtractResult) -> list[Any]:
    return [*result.unreadable, *(failure for side in result.sides for failure in side.failures)]
