"""An extraction: what the cache lacks is planned, encoded unit by unit, and published. The only writer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from featcache.cache.folder import Cache
from featcache.cache.index import update_index
from featcache.cache.layout import check_folders, is_claim, is_temporary, walk_cache
from featcache.cache.lease import shared_lease
from featcache.dataset.manifest import Manifest
from featcache.encoders.base import EncoderSpec
from featcache.errors import FeatcacheError
from featcache.extraction.encoding.execution import execute_plan
from featcache.extraction.options import ExtractOptions, FailureLimit
from featcache.extraction.planning.checks import check_extraction
from featcache.extraction.planning.extraction_plan import ExtractionPlan, plan_extraction
from featcache.extraction.planning.plan import Plan
from featcache.extraction.results import Event, ExtractResult, Progress, SideResult
from featcache.extraction.work import Extraction, Work
from featcache.files.claims import sweep_claims
from featcache.files.publish import remove_leftovers
from featcache.identity.terms import CLEAN

__all__ = [
    "ExtractOptions",
    "ExtractResult",
    "FailureLimit",
    "Progress",
    "SideResult",
    "carry_out",
    "check_sides",
    "extract",
]


def extract(
    manifest: Manifest,
    cache: Cache,
    specs: Sequence[EncoderSpec],
    *,
    views: str | Sequence[str] = (CLEAN,),
    options: ExtractOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
    announce: Callable[[Plan], None] | None = None,
    events: Callable[[Event], None] | None = None,
) -> ExtractResult:
    """Run encoders over what a cache lacks of a data set.

    Every picture is read and decoded once for all encoders and views, after a new one was read to be hashed. Safe
    to interrupt anywhere and to start again: what is published stays, the rest is planned anew. Several processes
    may do this to one cache at once.

    Parameters
    ----------
    manifest : Manifest
        The samples.
    cache : Cache
        Where to store; one that is only imagined is made.
    specs : sequence of EncoderSpec
        The encoders.
    views : str or sequence of str
        Perturbations under which pictures are encoded, as `featcache.pictures.views.expand_views` takes them. Captions
        have but the clean view.
    options : ExtractOptions
        How to run.
    progress : callable
        Called after every batch, from the calling thread.
    announce : callable
        Called with the plan of each encoder and view before any is carried out.
    events : callable
        Called with what happens, from the calling thread.

    Raises
    ------
    FeatcacheError
        If it cannot be done as it was asked for: before anything is read or written. If more contents fail than the
        options allow, or all of one encoder and view; if somebody deletes from the cache, or a folder of it is a link.
    """
    extraction = Extraction(Work.of(specs, views), manifest, cache, options or ExtractOptions())
    planned, result = carry_out(extraction, progress=progress, announce=announce, events=events)
    check_sides(result.sides, planned.plans)
    return result


def carry_out(
    extraction: Extraction,
    *,
    progress: Callable[[Progress], None] | None = None,
    announce: Callable[[Plan], None] | None = None,
    events: Callable[[Event], None] | None = None,
) -> tuple[ExtractionPlan, ExtractResult]:
    """Do what `extract` does, whatever fails; who calls it looks at what did.

    Returns
    -------
    planned : ExtractionPlan
        What the data set holds, and what there was to do.
    result : ExtractResult
        What was done.
    """
    report, tell = progress or _ignore, events or _ignore
    manifest, cache = extraction.manifest, extraction.cache
    check_extraction(extraction)
    check_folders(cache.path)
    cache.make()
    with shared_lease(cache.path):
        _sweep(cache)
        planned = plan_extraction(extraction, report=report, tell=tell)
        for plan in planned.plans:
            if announce:
                announce(plan)
            tell(_plan_event(plan))
        sides, passes = execute_plan(planned, report=report, tell=tell)
        update_index(cache)
    result = ExtractResult(
        manifest.name,
        len(planned.scanned.table),
        len(manifest.orphans),
        planned.n_missing,
        planned.scanned.unreadable,
        sides,
        tuple(gap.message for gap in manifest.broken),
        passes,
        sum(len(each.names) for each in manifest.left_out),
    )
    tell(Event("end", {"n_encoded": result.n_encoded, "n_failed": result.n_failed}))
    return planned, result


def _sweep(cache: Cache) -> None:
    """Remove what writers left that are gone."""
    # One walk: there can be a million shards among which these are looked for.
    found = [(path, name) for path, name in walk_cache(cache.path) if is_temporary(name) or is_claim(name)]
    remove_leftovers(path for path, name in found if is_temporary(name))
    sweep_claims(path for path, name in found if is_claim(name))


def _ignore(_: object) -> None:
    pass


def _plan_event(plan: Plan) -> Event:
    fingerprint = plan.spec.fingerprint
    names = {"modality": plan.spec.modality, "encoder": fingerprint.short, "model": fingerprint.model_name}
    counts = {"n_contents": plan.n_contents, "n_cached": plan.n_cached, "n_todo": plan.n_todo}
    return Event("plan", names | {"view": plan.view, "outputs": list(plan.spec.outputs)} | counts)


def check_sides(sides: Sequence[SideResult], plans: Sequence[Plan], *, excused: Collection[str] = ()) -> None:
    """Raise if every content of one failed: a fault of the encoder or of the data set, not of some contents.

    Parameters
    ----------
    sides : sequence of SideResult
        What was done.
    plans : sequence of Plan
        What there was to do, in the same order.
    excused : collection of str
        Stages: where all failures are of these, the contents are at fault.
    """
    found: list[str] = []
    for side, plan in zip(sides, plans, strict=True):
        failures = [*side.failures, *plan.earlier]
        is_excused = bool(failures) and all(failure.stage in excused for failure in failures)
        if not side.n_contents or side.n_failed < side.n_contents or is_excused:
            continue
        first = next(iter(failures), None)
        why = f", the first of sample {first.sample_id!r}: {first.message}" if first else ""
        again = "" if side.failures else "; --retry-failed tries them again"
        view = "" if side.view == CLEAN else f", view {side.view}"
        found.append(f"all {side.n_contents} {side.modality} contents failed with {side.model}{view}{why}{again}")
    if found:
        raise FeatcacheError("; ".join(found))
