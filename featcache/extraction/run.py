"""Running encoders over what a cache lacks: plan, encode work unit by work unit, publish. The only writer."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from featcache.cache.failures import Failure
from featcache.cache.folder import Cache
from featcache.cache.index import update_index
from featcache.cache.layout import check_folders, is_claim, is_temporary, walk_cache
from featcache.cache.lease import shared_lease
from featcache.cache.requests import write_requests
from featcache.cache.samples import SampleTable
from featcache.dataset.manifest import Manifest
from featcache.encoders.base import EncoderSpec
from featcache.encoders.loading import is_cuda
from featcache.extraction.encoding.feeds import Feed, PictureFeed, TextFeed
from featcache.extraction.encoding.forwards import Forwards
from featcache.extraction.encoding.passes import Pass
from featcache.extraction.encoding.side import Side
from featcache.extraction.encoding.tally import Tally, Toll
from featcache.extraction.options import ExtractOptions, FailureLimit
from featcache.extraction.planning.freeze import freeze_plan
from featcache.extraction.planning.plan import Plan
from featcache.extraction.planning.work import Work
from featcache.extraction.preparing.reader import Reader, open_reader
from featcache.extraction.results import Event, ExtractResult, NothingEncoded, PassResult, Progress, SideResult
from featcache.extraction.survey.scan import Scan
from featcache.extraction.survey.survey import record_survey, samples_to_retry, survey
from featcache.files.claims import sweep_claims
from featcache.files.publish import remove_leftovers
from featcache.identity.terms import CLEAN, CONTENT_OF, Content

__all__ = ["ExtractOptions", "ExtractResult", "FailureLimit", "Progress", "SideResult", "extract"]

_END = object()


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
    options = options or ExtractOptions()
    run = _Run(manifest, cache, options, progress or _ignore, events or _ignore)
    work = Work.of(specs, views)
    work.check(manifest, cache, options)
    check_folders(cache.path)
    cache.make()
    with shared_lease(cache.path):
        scanned, plans = run.plan(work)
        for plan in plans:
            if announce:
                announce(plan)
            run.tell(_plan_event(plan))
        by_content = {c: [plan for plan in plans if CONTENT_OF[plan.spec.modality] == c] for c in work.contents}
        with run.reading(by_content.get("image", []), work) as reader:
            passes = [run.encode(content, own, scanned, reader) for content, own in by_content.items()]
            n_busy = sum(any(plan.units for plan in own) for own in by_content.values())
            _carry_out(passes, in_turns=n_busy > 1 and is_cuda(options.device))
        update_index(cache)
    result = run.result(scanned, work)
    run.tell(Event("end", {"n_encoded": result.n_encoded, "n_failed": result.n_failed}))
    _check_sides(result, plans)
    return result


class _Run:
    """One call of `extract`."""

    def __init__(
        self,
        manifest: Manifest,
        cache: Cache,
        options: ExtractOptions,
        report: Callable[[Progress], None],
        tell: Callable[[Event], None],
    ) -> None:
        self._manifest = manifest
        self._cache = cache
        self._options = options
        self._report = report
        self.tell = tell
        self._sides: list[Side] = []
        self._passes: list[PassResult] = []
        self._toll = Toll(options.max_failures)

    def plan(self, work: Work) -> tuple[Scan, list[Plan]]:
        """Find out what there is to do, and record the samples."""
        cache, manifest, options = self._cache, self._manifest, self._options
        # One walk: there can be a million shards among which these are looked for.
        found = [(path, name) for path, name in walk_cache(cache.path) if is_temporary(name) or is_claim(name)]
        remove_leftovers(path for path, name in found if is_temporary(name))
        sweep_claims(path for path, name in found if is_claim(name))
        for spec, _ in work.items:
            cache.add_producer(spec.fingerprint)
        self.tell(Event("start", {"dataset": manifest.name, "n_samples": len(manifest.samples)}))
        scanned = survey(manifest, cache, work, options=options, report=self._report)
        if options.partition is not None:
            n_rows = work.unit_rows(scanned.table, options)
            freeze_plan(
                cache, scanned.table, work.items,
                partition=options.partition, unit_rows=n_rows, refreeze=options.refreeze,
            )  # fmt: skip
        retry = samples_to_retry(cache, manifest, options)
        if not options.retry_failed:
            write_requests(cache, work.requests(scanned.table, skips_orphans=bool(manifest.orphans)))
        record_survey(manifest, cache, scanned)
        for failure in scanned.unreadable:
            self.tell(Event("failure", {"stage": "scan", "sample_id": failure.sample_id, "message": failure.message}))
        self._toll.n_failed = len(scanned.news)
        return scanned, work.plans(cache, scanned.table, options=options, retry=retry)

    @contextmanager
    def reading(self, plans: Sequence[Plan], work: Work) -> Iterator[Reader | None]:
        """Have somebody ready to prepare pictures: processes start while captions are encoded. None: none is wanted."""
        n_contents = max((plan.n_todo for plan in plans), default=0)
        if not n_contents:
            yield None
            return
        with open_reader(work.recipe(), self._options, n_contents) as reader:
            yield reader

    def encode(
        self, content: Content, plans: Sequence[Plan], scanned: Scan, reader: Reader | None
    ) -> Generator[None, None, None]:
        """Carry out the plans of one kind of contents, all at the same time, a batch a step."""
        sides = [Side(number, plan, scanned.table, self._cache) for number, plan in enumerate(plans)]
        self._sides += sides
        for side in sides:
            side.forget_finished_claims()
        if not any(plan.units for plan in plans):
            return
        tally = Tally(sides, content, toll=self._toll, tell=self.tell)
        forwards = Forwards(self._options)
        feed: Feed
        if content == "image":
            assert reader is not None
            feed = PictureFeed(self._manifest, sides, reader=reader, forwards=forwards, failures=tally)
        else:
            feed = TextFeed(self._manifest, sides, forwards=forwards, failures=tally)
        done = Pass(content, sides, feed=feed, forwards=forwards, tally=tally, report=self._report, tell=self.tell)
        yield from done.steps(claim_timeout=self._options.claim_timeout)
        workers = str(reader) if content == "image" else "1 thread"
        self._passes.append(PassResult(content, feed.n_contents, done.n_rows, done.seconds, dict(feed.busy), workers))

    def result(self, scanned: Scan, work: Work) -> ExtractResult:
        """Say what was done."""
        table: SampleTable = scanned.table
        missing: dict[str, int] = {
            spec.modality: int((~table.has(CONTENT_OF[spec.modality])).sum()) for spec, _ in work.items
        }
        return ExtractResult(
            self._manifest.name,
            len(table),
            len(self._manifest.orphans),
            missing,
            scanned.unreadable,
            tuple(side.result() for side in self._sides),
            self._manifest.broken,
            tuple(sorted(self._passes, key=lambda done: work.contents.index(done.content))),
        )


def _carry_out(passes: Sequence[Generator[None, None, None]], *, in_turns: bool) -> None:
    """Run passes to their ends.

    Parameters
    ----------
    passes : sequence of generator
        Each step starts a batch.
    in_turns : bool
        Whether they take their steps in turns: beside a GPU, the time in which captions are encoded is then time in
        which pictures are prepared. On a CPU they would only take each other's cores.
    """
    with ExitStack() as stack:
        alive = [stack.enter_context(closing(each)) for each in passes]
        while alive:
            steps = alive if in_turns else alive[:1]
            ended = [each for each in steps if next(each, _END) is _END]
            alive = [each for each in alive if each not in ended]


def _ignore(_: Any) -> None:
    pass


def _plan_event(plan: Plan) -> Event:
    fingerprint = plan.spec.fingerprint
    names = {"modality": plan.spec.modality, "encoder": fingerprint.short, "model": fingerprint.model_name}
    counts = {"n_contents": plan.n_contents, "n_cached": plan.n_cached, "n_todo": plan.n_todo}
    return Event("plan", names | {"view": plan.view, "outputs": list(plan.spec.outputs)} | counts)


def _check_sides(result: ExtractResult, plans: Sequence[Plan]) -> None:
    """Raise if every content of one failed: a fault of the encoder or of the data set, not of some contents."""
    found: list[str] = []
    failures: list[Failure] = []
    for side, plan in zip(result.sides, plans, strict=True):
        if not side.n_contents or side.n_failed < side.n_contents:
            continue
        own = [*side.failures, *plan.earlier]
        failures += own
        first = next(iter(own), None)
        why = f", the first of sample {first.sample_id!r}: {first.message}" if first else ""
        again = "" if side.failures else "; --retry-failed tries them again"
        view = "" if side.view == CLEAN else f", view {side.view}"
        found.append(f"all {side.n_contents} {side.modality} contents failed with {side.model}{view}{why}{again}")
    if found:
        raise NothingEncoded("; ".join(found), result, failures)
