"""Pictures that stand together in the order, and what is known of each until its turn comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from featcache.extraction.preparing.recipe import Prepared, Reading

__all__ = ["Window"]


@dataclass(eq=False)
class Window:
    """Some pictures by their places, from 0.

    Attributes
    ----------
    readings : list of Reading
        What is asked for.
    mine : sequence of int
        Places that the card was given.
    made : dict of place to Prepared
        What it made of these, once it is done and before it is settled.
    prepared : list of (Prepared or None)
        What may be used; None: it is not there yet, or was used.
    whys : dict of place to str
        Why the others do it, as a `Way` says it.
    held : dict of place to Prepared
        What the card made, and is to be compared first.
    fetched : dict of place to (dict of product to array)
        What the card made of samples, in the memory of the host.
    checks : dict of place to (Prepared or None)
        Of what is compared, or was, what Pillow makes; None until it is there, and afterwards.
    lane : int
        Which of the card's made it.
    is_settled : bool
        Whether what the card made of it, if anything, found its place.
    is_new : bool
        Whether it has kinds of which too few were compared when it was settled.
    n_used : int
        Places that were used, from the first.
    """

    readings: list[Reading]
    mine: Sequence[int] = ()
    made: dict[int, Prepared] = field(default_factory=dict)
    prepared: list[Prepared | None] = field(default_factory=list)
    whys: dict[int, str] = field(default_factory=dict)
    held: dict[int, Prepared] = field(default_factory=dict)
    fetched: dict[int, dict[int, NDArray[np.uint8]]] = field(default_factory=dict)
    checks: dict[int, Prepared | None] = field(default_factory=dict)
    lane: int = 0
    is_settled: bool = False
    is_new: bool = False
    n_used: int = 0

    def __post_init__(self) -> None:
        self.prepared = [None] * len(self.readings)

    @property
    def n_left(self) -> int:
        """Places that are to be used."""
        return len(self.readings) - self.n_used
