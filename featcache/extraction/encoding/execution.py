"""Carrying out the plan of an extraction: one pass over the captions, one over the pictures."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

from featcache.encoders.loading import is_cuda
from featcache.extraction.encoding.feeds import Feed, PictureFeed, TextFeed
from featcache.extraction.encoding.loaded import LoadedEncoders
from featcache.extraction.encoding.passes import Pass
from featcache.extraction.encoding.side import Side
from featcache.extraction.encoding.tally import Tally, Toll
from featcache.extraction.planning.extraction_plan import ExtractionPlan
from featcache.extraction.preparing.reader import Reader, open_reader
from featcache.extraction.results import Event, PassResult, Progress, SideResult

__all__ = ["execute_plan"]

_END = object()


def execute_plan(
    plan: ExtractionPlan, *, report: Callable[[Progress], None], tell: Callable[[Event], None]
) -> tuple[tuple[SideResult, ...], tuple[PassResult, ...]]:
    """Encode and publish what is planned, unless other writers do.

    Parameters
    ----------
    plan : ExtractionPlan
        What to do.
    report, tell : callable
        Called from this thread with where each pass stands, and with what happened.

    Returns
    -------
    sides : tuple of SideResult
        What each encoder did under each view, in the order of the plans.
    passes : tuple of PassResult
        One for each kind of contents of which something was to be encoded.

    Raises
    ------
    FeatcacheError
        If more contents fail than the options allow; what was published stays.
    """
    contents, options = plan.extraction.work.contents, plan.extraction.options
    toll = Toll(options.max_failures, n_failed=len(plan.scanned.news))
    table, cache = plan.scanned.table, plan.extraction.cache
    sides = {c: [Side(number, own, table, cache) for number, own in enumerate(plan.of(c))] for c in contents}
    with _reading(plan) as reader:
        passes = {}
        for content in contents:
            if any(own.units for own in plan.of(content)):
                tally = Tally(sides[content], content, toll=toll, tell=tell)
                encoders = LoadedEncoders(options)
                feed = _feed(plan, sides[content], tally, encoders, reader if content == "image" else None)
                passes[content] = Pass(
                    content, sides[content], feed=feed, encoders=encoders, tally=tally, report=report, tell=tell
                )
        steps = [_steps(sides[c], passes.get(c), claim_timeout=options.claim_timeout) for c in contents]
        _go_through(steps, in_turns=len(passes) > 1 and is_cuda(options.device))
    results = tuple(side.result() for content in contents for side in sides[content])
    return results, tuple(each.result() for each in passes.values())


@contextmanager
def _reading(plan: ExtractionPlan) -> Iterator[Reader | None]:
    """Have somebody ready to prepare pictures: processes start while captions are encoded. None: none is wanted."""
    n_contents = max((own.n_todo for own in plan.of("image")), default=0)
    if not n_contents:
        yield None
        return
    with open_reader(plan.extraction.work.recipe(), plan.extraction.options, n_contents) as reader:
        yield reader


def _feed(
    plan: ExtractionPlan, sides: Sequence[Side], tally: Tally, encoders: LoadedEncoders, reader: Reader | None
) -> Feed:
    manifest = plan.extraction.manifest
    if reader is None:
        return TextFeed(manifest, sides, encoders=encoders, failures=tally)
    return PictureFeed(manifest, sides, reader=reader, encoders=encoders, failures=tally)


def _steps(sides: Sequence[Side], work: Pass | None, *, claim_timeout: float) -> Generator[None, None, None]:
    """Go through the contents of one kind, a batch a step; None: nothing of them is to be encoded."""
    for side in sides:
        side.forget_finished_claims()
    if work is not None:
        yield from work.steps(claim_timeout=claim_timeout)


def _go_through(passes: Sequence[Generator[None, None, None]], *, in_turns: bool) -> None:
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
