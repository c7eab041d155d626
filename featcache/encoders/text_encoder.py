"""A loaded text encoder: token ids in batches through a tower, whatever family it is of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from featcache.encoders.base import Vectors
from featcache.encoders.compiled import Forward
from featcache.encoders.loading import computing_in
from featcache.encoders.tokens import Texts, Tokeniser
from featcache.encoders.transfer import fetch, send

__all__ = ["TextEncoder", "TextTower"]

_MULTIPLE = 8  # of tokens, when compiled: what matrix units like


class TextTower(Protocol):
    """A model with its weights on a device."""

    def __call__(self, ids: Any, mask: Any) -> Mapping[str, Any]:
        """Return one (n, d) tensor per output for token ids (n, w) and their mask."""
        ...


class TextEncoder:
    """A text encoder at work: one thread may encode token ids while another tokenises.

    Parameters
    ----------
    tower : TextTower
        The model that the tokens go through.
    tokeniser : Tokeniser
        What makes tokens of captions for it.
    widths : mapping of output name to int
        Columns that the outputs must have.
    device, compute_dtype : str
        Where the tower is, and in what it computes.
    compile : bool
        Whether to hand the forward to ``torch.compile``; one compiled form serves batches of all shapes.
    """

    def __init__(
        self,
        tower: TextTower,
        tokeniser: Tokeniser,
        *,
        widths: Mapping[str, int],
        device: str,
        compute_dtype: str,
        compile: bool = False,
    ) -> None:
        self.device = device
        self._tokeniser = tokeniser
        self._widths = widths
        self._compute_dtype = compute_dtype
        self._forward = Forward(tower, compile=compile, dynamic=True)

    @property
    def fallback(self) -> str | None:
        """Why the forward is not compiled although it was to be."""
        return self._forward.fallback

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of prepared captions, to be sorted by length and encoded later."""
        return self._tokeniser.tokenise(texts)

    def encode(self, batch: Texts) -> Vectors:
        """Return one (n, d) float32 array per output for ``n`` prepared captions or lists of token ids."""
        return self.start(batch)()

    def start(self, batch: Texts) -> Callable[[], Vectors]:
        """Begin to encode prepared captions or lists of token ids, padded to the longest of them."""
        ids, mask = self._tokeniser.pad(batch, multiple=_MULTIPLE if self._forward.is_compiled else 1)
        with computing_in(self.device, self._compute_dtype):
            vectors = self._forward(send(ids, self.device), send(mask, self.device))
            return fetch(vectors, self._widths, len(ids))
