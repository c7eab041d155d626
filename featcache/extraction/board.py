"""Several processes at one extraction, seen as one: where they stand together, and what they did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from featcache.extraction.results import Event, ExtractResult, PassResult, Progress, SideResult
from featcache.identity.terms import CONTENT_OF

__all__ = ["Board", "merge_results"]


@dataclass
class Board:
    """Where all processes together stand."""

    report: Callable[[Progress], None]
    tell: Callable[[Event], None]
    _told: set[tuple[Any, ...]] = field(default_factory=set)
    _todo: Counter[str] = field(default_factory=Counter)
    _contents: Counter[str] = field(default_factory=Counter)
    _done: Counter[str] = field(default_factory=Counter)
    _failed: dict[str, set[str]] = field(default_factory=dict)

    def note(self, event: Event) -> None:
        """Take in an event of one process; what all of them tell is told on once."""
        fields = event.fields
        common = (event.name, *(fields.get(name) for name in ("modality", "encoder", "view")))
        if event.name == "end" or (event.name in ("start", "plan") and common in self._told):
            return
        self._told.add(common)
        self.tell(event)
        if event.name == "plan":
            content = CONTENT_OF[fields["modality"]]
            self._todo[content] += fields["n_todo"]
            self._contents[content] = max(self._contents[content], fields["n_todo"])
        elif event.name == "failure" and "modality" in fields:
            # One sample stands for a content, whichever encoder and view fails on it.
            self._failed.setdefault(CONTENT_OF[fields["modality"]], set()).add(fields["sample_id"])
        elif event.name == "unit":
            content = CONTENT_OF[fields["modality"]]
            self._done[content] += fields["n_rows"] + fields["n_failed"]
            # Of two that were in time for the same unit both have done it.
            done = min(self._done[content], self._todo[content])
            total = self._contents[content]
            done = done * total // max(1, self._todo[content])
            self.report(Progress(content, done, total, len(self._failed.get(content, ()))))


def merge_results(results: Sequence[ExtractResult]) -> ExtractResult:
    """Add up what the processes did."""
    sides = [_merge_sides(same) for same in zip(*(result.sides for result in results), strict=True)]
    contents = dict.fromkeys(each.content for result in results for each in result.passes)
    passes = [[each for r in results for each in r.passes if each.content == content] for content in contents]
    return replace(results[0], sides=tuple(sides), passes=tuple(map(_merge_passes, passes)))


def _merge_sides(same: Sequence[SideResult]) -> SideResult:
    n_encoded = sum(side.n_encoded for side in same)
    failures = tuple({failure.key: failure for side in same for failure in side.failures}.values())
    # What one of them found in the cache, another may have put there.
    n_cached = min(side.n_cached for side in same)
    n_known = min(side.n_failed_before for side in same)
    return replace(
        same[0],
        n_encoded=n_encoded,
        n_cached=n_cached,
        failures=failures,
        n_failed_before=n_known,
        failed_before=tuple(sorted(frozenset.intersection(*(frozenset(side.failed_before) for side in same)))),
        n_elsewhere=max(0, same[0].n_contents - n_cached - n_encoded - len(failures) - n_known - same[0].n_other_parts),
        seconds={step: sum(side.seconds.get(step, 0.0) for side in same) for step in same[0].seconds},
    )


def _merge_passes(same: Sequence[PassResult]) -> PassResult:
    slowest = max(same, key=lambda each: sum(each.seconds.values()))
    return replace(
        slowest,
        n_contents=sum(each.n_contents for each in same),
        n_rows=sum(each.n_rows for each in same),
        busy={step: sum(each.busy.get(step, 0.0) for each in same) for step in slowest.busy},
        workers=f"{len(same)} × {slowest.workers}",
        ways=dict(sum((Counter(each.ways) for each in same), Counter())),
        doubts=tuple(dict.fromkeys(doubt for each in same for doubt in each.doubts)),
    )
