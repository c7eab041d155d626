"""How far a card is trusted: what it made of samples is compared with what Pillow makes, kind by kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from featcache.extraction.preparing.recipe import STEPS, Prepared
from featcache.pictures.checked_decoder import DECODED, Doubt, Kind, Way

__all__ = ["Trust"]

_FIRST_OF_A_KIND = 2
_CHECK = STEPS.index("check")


class Trust:
    """What comparisons have shown; for one thread, but for ``distrusted``.

    Parameters
    ----------
    makers : collection of str
        Names of the card's decoder and resizer.

    Attributes
    ----------
    distrusted : frozenset of (JpegKind or DECODED)
        Kinds of which it made other pixels than Pillow. With `DECODED` all are: what resizes these resizes the others.
    """

    def __init__(self, makers: Collection[str]) -> None:
        self._makers = makers
        self.distrusted: frozenset[Kind] = frozenset()
        self._n_begun: Counter[tuple[Kind, int]] = Counter()
        self._n_compared: Counter[tuple[Kind, int]] = Counter()

    def is_distrusted(self, way: Way | None) -> bool:
        """Tell whether the card made a picture, of a kind with which it is not trusted."""
        if way is None or way.maker not in self._makers:
            return False
        return not self.is_left or way.kind in self.distrusted

    @property
    def is_left(self) -> bool:
        """Whether there is trust in any kind: where pixels that Pillow decoded became others, nobody but the kernels
        that resize all kinds can have done it.
        """
        return DECODED not in self.distrusted

    def is_proven(self, ways: Iterable[Way | None], lane: int) -> bool:
        """Tell whether the first pictures were compared of each kind that a lane of the card made on these ways."""
        kinds = (way.kind for way in ways if way is not None and way.maker in self._makers)
        return all(kind is None or self._n_compared[kind, lane] >= _FIRST_OF_A_KIND for kind in kinds)

    def begin(self, way: Way | None, lane: int) -> bool:
        """Tell whether a picture is one of the first of its kind in a lane, to be compared; it counts from now on."""
        assert way is not None and way.kind is not None
        self._n_begun[way.kind, lane] += 1
        return self._n_begun[way.kind, lane] <= _FIRST_OF_A_KIND

    def compare(
        self, made: Prepared, pixels: Mapping[int, NDArray[np.uint8]], expected: Prepared, lane: int
    ) -> Prepared:
        """Return what a lane of the card made, whose pixels are these, if it is what Pillow made, and else that.

        A difference ends the trust in the kind. A damaged picture, of which Pillow makes nothing, says nothing.
        """
        assert made.way is not None and made.way.kind is not None
        kind = made.way.kind
        spent = list(made.seconds)
        spent[_CHECK] += sum(expected.seconds)
        instead = replace(expected, reading=made.reading, seconds=tuple(spent))
        if self.is_distrusted(made.way):
            return replace(instead, way=expected.way and Way(why="not trusted"))
        if expected.faults and not expected.inputs:
            return replace(instead, way=expected.way and Way(why="refused"))
        self._n_compared[kind, lane] += 1
        is_same = expected.inputs.keys() == pixels.keys() and all(
            np.array_equal(own, expected.inputs[product]) for product, own in pixels.items()
        )
        if is_same:
            return replace(made, seconds=instead.seconds)
        self.distrusted |= {kind}
        reason, is_resizer = f"makes other pixels than Pillow of {kind}", kind == DECODED
        doubt = Doubt(made.way.maker, reason, kind, is_wrong=True, is_resizer=is_resizer)
        return replace(instead, way=Way(why="not trusted", doubt=doubt))
