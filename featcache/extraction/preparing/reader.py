"""Who prepares pictures: a GPU, threads of this process, or processes where there are enough cores and pictures."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, Self

from featcache.encoders.loading import is_cuda
from featcache.extraction.options import ExtractOptions
from featcache.extraction.preparing.card import Card
from featcache.extraction.preparing.card_reader import CardReader
from featcache.extraction.preparing.card_share import Share
from featcache.extraction.preparing.find_card import CardMissing, find_card
from featcache.extraction.preparing.process_reader import ProcessReader
from featcache.extraction.preparing.recipe import Prepared, Reading, Recipe
from featcache.extraction.preparing.thread_reader import ThreadReader

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["LEAST_FOR_CARD", "Reader", "open_reader"]

_AHEAD_A_WORKER = 4
_AHEAD = 64
LEAST_FOR_CARD = 2000
"""Inputs of encoders for which a GPU is opened: that may compile kernels, which takes seconds."""


class Reader(Protocol):
    """Who carries readings out, ahead of their use and in bounded memory; a context that leaves nobody at its end."""

    @property
    def recipe(self) -> Recipe:
        """What can be made of a picture."""
        ...

    @property
    def decoders(self) -> Mapping[str, str]:
        """Versions of those who decode some pictures beside Pillow, by the names that a `Way` has for them."""
        ...

    @property
    def hint(self) -> str:
        """Why a GPU does less than it could, and what to do; empty if there is nothing to do."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def divide(self, products: tuple[int, ...]) -> Sequence[tuple[int, ...]]:
        """Return which of the products of a picture are to be asked for together: a reading for each part."""
        ...

    def prepare(self, readings: Iterator[Reading | None]) -> Iterator[Prepared]:
        """Yield what came of each reading, in their order; None among them: no more before some came of those."""
        ...


def open_reader(recipe: Recipe, options: ExtractOptions, n_contents: int, *, some: Sequence[Reading] = ()) -> Reader:
    """Make those who prepare pictures; a context that leaves nobody at its end.

    A GPU that can prepares what it takes, and they the rest.

    Parameters
    ----------
    recipe : Recipe
        What can be made of a picture.
    options : ExtractOptions
        How to run.
    n_contents : int
        How many pictures.
    some : sequence of Reading, optional
        Some of them, from all over: a GPU that is not asked for does nothing where it would not take half of these.

    Raises
    ------
    CardMissing
        If the card is asked for, and cannot.
    """
    try:
        card, hint = _find_card(recipe, options, n_contents), ""
    except CardMissing as missing:
        if options.decoder == "card":
            raise
        card, hint = None, missing.hint
    n, memory = options.processes_for(n_contents), options.picture_bytes
    if card is not None and options.decoder == "auto" and not _is_for(card, some, memory, n or options.threads):
        card, hint = None, "the GPU does not prepare pictures: most are too large for its part of --memory"
    if card is None:
        others = _open_others(recipe, options, n, n_first=n, memory=memory)
        others.hint = hint
        return others
    # Where the card has a part in all, the others have little to do, and the loaders the more where they decode.
    n_first = 1 if len(card.resizers) == len(recipe.products) else n
    others = _open_others(recipe, options, n, n_first=n_first, memory=memory // 2)
    return CardReader(card, others, n_threads=options.threads, n_processes=n, memory=memory)


def _find_card(recipe: Recipe, options: ExtractOptions, n_contents: int) -> Card | None:
    """Return the card, if it is asked for or worth it."""
    n_inputs = n_contents * len(recipe.products)
    is_worth_it = options.decoder == "auto" and is_cuda(options.device) and n_inputs >= LEAST_FOR_CARD
    return find_card(recipe, options) if options.decoder == "card" or is_worth_it else None


def _is_for(card: Card, some: Sequence[Reading], memory: int, n_workers: int) -> bool:
    """Tell whether a card takes half of some pictures: else all of the memory does more than its half."""
    share = Share.of(card, memory, n_workers)
    return 2 * sum(not share.why_not(reading) for reading in some) >= len(some)


def _open_others(
    recipe: Recipe, options: ExtractOptions, n: int, *, n_first: int, memory: int
) -> ThreadReader | ProcessReader:
    # Not beside forwards on the same cores, unless it is asked for: threads share what those leave.
    if n and (options.processes or is_cuda(options.device)) and _is_portable(recipe):
        n_ahead = 2 * _AHEAD_A_WORKER * n + 2 * _AHEAD
        return ProcessReader(recipe, n_processes=n, n_first=n_first, n_ahead=n_ahead, memory=memory)
    n_ahead = _AHEAD_A_WORKER * options.threads + _AHEAD
    return ThreadReader(recipe, n_threads=options.threads, n_ahead=n_ahead, memory=memory)


def _is_portable(recipe: Recipe) -> bool:
    """Tell whether what the encoders do in the preparation can travel to another process."""
    if any(type(spec).__module__ == "__main__" for _, spec in recipe.products):
        return False
    try:
        pickle.dumps(recipe)
    except Exception:  # whatever an encoder of somebody else's raises
        return False
    return True
