"""How far a card is trusted: what it made of samples is compared with what Pillow makes, kind by kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from featcache.extraction.preparing.recipe import STEPS, Prepared
from featcache.pictures.checked_decoder import Doubt, Way
from featcache.pictures.jpeg_kind import JpegKind

__all__ = ["Trust"]

_FIRST_OF_A_KIND = 2
_CHECK = STEPS.index("check")


class Trust:
    """What comparisons have shown; for one thread, but for ``distrusted``.

    Parameters
    ----------
    name : str
        Of the decoder.

    Attributes
    ----------
    distrusted : frozenset of JpegKind
        Kinds of which it made other pixels than Pillow.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.distrusted: frozenset[JpegKind] = frozenset()
        self._n_begun: Counter[JpegKind] = Counter()
        self._n_compared: Counter[JpegKind] = Counter()

    def is_proven(self, ways: Iterable[Way | None]) -> bool:
        """Tell whether the first pictures were compared of each kind that the card decoded on these ways."""
        kinds = (way.kind for way in ways if way is not None and way.decoder == self.name)
        return all(kind is None or self._n_compared[kind] >= _FIRST_OF_A_KIND for kind in kinds)

    def begin(self, way: Way | None) -> bool:
        """Tell whether a picture is one of the first of its kind, to be compared; it counts from now on."""
        assert way is not None and way.kind is not None
        self._n_begun[way.kind] += 1
        return self._n_begun[way.kind] <= _FIRST_OF_A_KIND

    def compare(self, made: Prepared, pixels: Mapping[int, NDArray[np.uint8]], expected: Prepared) -> Prepared:
        """Return what the card made, whose pixels are these, if it is what Pillow made, and else that.

        A difference ends the trust in the kind. A damaged picture, of which Pillow makes nothing, says nothing.
        """
        assert made.way is not None and made.way.kind is not None
        kind = made.way.kind
        spent = list(made.seconds)
        spent[_CHECK] += sum(expected.seconds)
        instead = replace(expected, reading=made.reading, seconds=tuple(spent))
        if kind in self.distrusted:
            return replace(instead, way=expected.way and Way(why="not trusted"))
        if expected.faults and not expected.inputs:
            return replace(instead, way=expected.way and Way(why="refused"))
        self._n_compared[kind] += 1
        is_same = expected.inputs.keys() == pixels.keys() and all(
            np.array_equal(own, expected.inputs[product]) for product, own in pixels.items()
        )
        if is_same:
            return replace(made, seconds=instead.seconds)
        self.distrusted |= {kind}
        doubt = Doubt(self.name, f"makes other pixels than Pillow of {kind}", kind, is_wrong=True)
        return replace(instead, way=Way(why="not trusted", doubt=doubt))
