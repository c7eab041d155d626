"""The whole plan of an extraction: what the data set holds, and what of it each encoder and view lacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from featcache.extraction.planning.freeze import freeze_plan
from featcache.extraction.planning.plan import Plan, build_plan
from featcache.extraction.results import Event, Progress
from featcache.extraction.survey.scan import Scan
from featcache.extraction.survey.survey import record_survey, samples_to_retry, survey
from featcache.extraction.work import Extraction
from featcache.identity.terms import CONTENT_OF, Content

__all__ = ["ExtractionPlan", "plan_extraction"]


@dataclass(frozen=True)
class ExtractionPlan:
    """What an extraction has to do.

    Attributes
    ----------
    extraction : Extraction
        What was asked for.
    scanned : Scan
        What the data set holds.
    unit_rows : int
        Contents a work unit, that is rows a shard.
    plans : tuple of Plan
        One for each encoder and view, captions before pictures.
    """

    extraction: Extraction
    scanned: Scan
    unit_rows: int
    plans: tuple[Plan, ...]

    @property
    def n_missing(self) -> dict[str, int]:
        """Samples without content, by the modality of each encoder."""
        table, items = self.scanned.table, self.extraction.work.items
        return {spec.modality: int((~table.has(CONTENT_OF[spec.modality])).sum()) for spec, _ in items}

    def of(self, content: Content) -> tuple[Plan, ...]:
        """Return the plans for the contents of one kind."""
        return tuple(plan for plan in self.plans if CONTENT_OF[plan.spec.modality] == content)


def plan_extraction(
    extraction: Extraction,
    *,
    report: Callable[[Progress], None],
    tell: Callable[[Event], None],
    is_dry: bool = False,
) -> ExtractionPlan:
    """Find out what there is to do; agree on it with the other parts of a division, and record it.

    Parameters
    ----------
    extraction : Extraction
        What is asked for.
    report : callable
        Called while contents are hashed.
    tell : callable
        Called with what is asked of which data set, and with the pictures that cannot be read.
    is_dry : bool
        Write nothing into the cache, which need not exist, but raise as always.

    Raises
    ------
    FeatcacheError
        If too few pictures can be read, or the other parts of a division mean something else.
    """
    work, manifest, cache, options = extraction.work, extraction.manifest, extraction.cache, extraction.options
    if not is_dry:
        for spec, _ in work.items:
            cache.add_producer(spec.fingerprint)
    tell(Event("start", {"dataset": manifest.name, "n_samples": len(manifest.samples)}))
    scanned = survey(extraction, report=report, is_dry=is_dry)
    unit_rows = work.unit_rows(scanned.table, options)
    if options.partition is not None:
        freeze_plan(
            cache, scanned.table, work.items,
            partition=options.partition, unit_rows=unit_rows, refreeze=options.refreeze, is_dry=is_dry,
        )  # fmt: skip
    # Before the survey is recorded: these are the samples of the extraction before this one.
    retry = samples_to_retry(extraction)
    if not is_dry:
        record_survey(extraction, scanned)
    for failure in scanned.unreadable:
        tell(Event("failure", {"stage": "scan", "sample_id": failure.sample_id, "message": failure.message}))
    return ExtractionPlan(extraction, scanned, unit_rows, _plans(extraction, scanned, unit_rows, retry))


def _plans(extraction: Extraction, scanned: Scan, unit_rows: int, retry: frozenset[str] | None) -> tuple[Plan, ...]:
    """Plan every encoder and view, in this order."""
    items, partition = extraction.work.items, extraction.options.partition
    plans = [
        build_plan(extraction.cache, spec, scanned.table, view=view, unit_rows=unit_rows, retry=retry)
        for spec, views in items
        for view in views
    ]
    mine = {spec.fingerprint.digest for spec, _ in items}
    # An encoder that is asked for too is no alternative to another.
    plans = [replace(p, misses=tuple(m for m in p.misses if m.fingerprint not in mine)) for p in plans]
    return tuple(plans if partition is None else [plan.only(partition.takes) for plan in plans])
