"""Carrying out the plan of an extraction: one pass over the captions, one over the pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

import numpy as np

from featcache.encoders.loading import is_cuda
from featcache.extraction.encoding.feeds import Feed, TextFeed
from featcache.extraction.encoding.loaded import LoadedEncoders
from featcache.extraction.encoding.passes import IsReady, Pass
from featcache.extraction.encoding.picture_feed import PictureFeed
from featcache.extraction.encoding.side import Side
from featcache.extraction.encoding.tally import Tally, Toll
from featcache.extraction.planning.extraction_plan import ExtractionPlan
from featcache.extraction.preparing.reader import Reader, open_reader
from featcache.extraction.results import Event, PassResult, Progress, SideResult

__all__ = ["execute_plan"]

_STEP_SECONDS = 0.005
_LOOKED_AT = 256  # pictures, to know what those of the data are like


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
    n_busy = sum(any(own.units for own in plan.of(content)) for content in contents)
    with _reading(plan) as reader:
        passes = [
            _go_through(plan, sides[content], Tally(sides[content], content, toll=toll, tell=tell),
                        reader=reader, report=report, tell=tell)
            for content in contents
        ]  # fmt: skip
        done = _take_turns(passes, at_once=n_busy > 1 and is_cuda(options.device))
    return tuple(side.result() for content in contents for side in sides[content]), done


@contextmanager
def _reading(plan: ExtractionPlan) -> Iterator[Reader | None]:
    """Have somebody ready to prepare pictures: processes start while captions are encoded. None: none is wanted."""
    n_contents = max((own.n_todo for own in plan.of("image")), default=0)
    if not n_contents:
        yield None
        return
    recipe, table = plan.extraction.recipe(), plan.scanned.table
    rows = table.first_rows("image")
    chosen = rows[np.linspace(0, len(rows) - 1, min(_LOOKED_AT, len(rows)), dtype=np.int64)].tolist()
    some = list(recipe.readings(table, plan.extraction.manifest.samples, [(row, ()) for row in chosen]))
    with open_reader(recipe, plan.extraction.options, n_contents, some=some) as reader:
        yield reader


def _go_through(
    plan: ExtractionPlan,
    sides: Sequence[Side],
    tally: Tally,
    *,
    reader: Reader | None,
    report: Callable[[Progress], None],
    tell: Callable[[Event], None],
) -> Generator[IsReady, None, PassResult | None]:
    """Go through the contents of one kind, a batch a turn; returns None if nothing of them is to be encoded.

    Its encoders are gone when it ends: those of captions make room for those of pictures.
    """
    for side in sides:
        side.forget_finished_claims()
    if not any(side.plan.units for side in sides):
        return None
    manifest, options = plan.extraction.manifest, plan.extraction.options
    encoders = LoadedEncoders(options)
    feed: Feed
    if tally.content == "image":
        assert reader is not None
        feed = PictureFeed(manifest, sides, reader=reader, encoders=encoders, failures=tally)
    else:
        feed = TextFeed(manifest, sides, encoders=encoders, failures=tally)
    work = Pass(tally.content, sides, feed=feed, encoders=encoders, tally=tally, report=report, tell=tell)
    yield from work.turns(claim_timeout=options.claim_timeout)
    return work.result()


def _take_turns(
    passes: Sequence[Generator[IsReady, None, PassResult | None]], *, at_once: bool
) -> tuple[PassResult, ...]:
    """Run passes to their ends; returns what those did that had something to do, in their order.

    Parameters
    ----------
    passes : sequence of generator
        Each turn starts a batch.
    at_once : bool
        Whether turns alternate: beside a GPU, the time in which captions are encoded is then time in which pictures
        are prepared. Who would only wait is passed over; if all would, the first that is ready goes on. On a CPU they
        would only take each other's cores.
    """
    results: list[PassResult | None] = [None] * len(passes)
    with ExitStack() as stack:
        alive = {number: stack.enter_context(closing(each)) for number, each in enumerate(passes)}
        is_ready: dict[int, IsReady] = dict.fromkeys(alive, lambda: True)
        while alive:
            in_turn = list(alive) if at_once else list(alive)[:1]
            if len(in_turn) > 1:  # who is alone waits in its own turn
                in_turn = [each for each in in_turn if is_ready[each]()]
            if not in_turn:
                time.sleep(_STEP_SECONDS)
            for number in in_turn:
                try:
                    is_ready[number] = next(alive[number])
                except StopIteration as end:
                    results[number] = end.value
                    del alive[number]
    return tuple(done for done in results if done is not None)
