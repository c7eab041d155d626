"""Which of the stored vectors are meant: of which producer, under which view, which outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featcache.cache import Cache
from featcache.errors import FeatcacheError, FingerprintMismatch
from featcache.fingerprint import Fingerprint, check_same

__all__ = ["DEFAULT_OUTPUTS", "MODALITIES", "Selection", "check_selection", "choose"]

MODALITIES = ("text", "image")
DEFAULT_OUTPUTS = {"text": "cls", "image": "pooled"}

Widths = Callable[[str, str], Mapping[str, int]]
"""Stored outputs and their columns, by fingerprint and view."""


@dataclass(frozen=True)
class Selection:
    """Which stored vectors of one modality are meant.

    Attributes
    ----------
    modality : {"text", "image"}
        Side of the sample.
    fingerprint : str
        Digest of the producer, 64 hex digits.
    view : str
        Perturbation.
    outputs : tuple of str
        Named vectors, concatenated in this order.
    widths : tuple of int
        Columns of each.
    """

    modality: str
    fingerprint: str
    view: str
    outputs: tuple[str, ...]
    widths: tuple[int, ...]


def choose(
    cache: Cache, widths: Widths, modality: str, *, encoder: str | None, outputs: Sequence[str] | None, view: str
) -> Selection:
    """Return the selection that these choices mean, as `FeatureStore.select` describes it."""
    known = [f for f in cache.producers.values() if f.modality == modality]
    fitting = [f for f in known if encoder is None or f.digest.startswith(encoder) or f.model_name == encoder]
    if len(fitting) != 1:
        raise FeatcacheError(_no_choice(cache, modality, encoder, known, len(fitting)))
    (fingerprint,) = fitting
    stored = widths(fingerprint.digest, view)
    if outputs is None:
        default = DEFAULT_OUTPUTS[modality]
        outputs = (default,) if default in stored or len(stored) != 1 else tuple(stored)
    unknown = [name for name in outputs if name not in stored]
    if unknown or not outputs:
        raise FeatcacheError(
            f"{modality} encoder {fingerprint.short} ({fingerprint.model_name}), view {view!r}, has no output "
            f"{(unknown or ['(none named)'])[0]!r}; it has: {', '.join(stored) or 'nothing yet'}"
        )
    return Selection(modality, fingerprint.digest, view, tuple(outputs), tuple(stored[n] for n in outputs))


def _no_choice(cache: Cache, modality: str, encoder: str | None, known: Sequence[Fingerprint], n_fitting: int) -> str:
    if not known:
        return f"cache {str(cache.path)!r} has no {modality} features"
    asked = (
        f"{modality} encoder {encoder!r} fits {n_fitting}"
        if encoder is not None
        else f"there are {len(known)} {modality} encoders"
    )
    names = ", ".join(f"{f.short} ({f.model_name})" for f in known)
    return f"cache {str(cache.path)!r}: {asked}, expected exactly one; it has: {names}"


def check_selection(cache: Cache, widths: Widths, selection: Selection, document: Mapping[str, Any]) -> None:
    """Raise `FingerprintMismatch` unless the cache has these vectors, as `FeatureStore.check` describes it."""
    if selection.fingerprint not in cache.producers:
        wanted = Fingerprint.from_document(document, f"of {selection.modality} features")
        for found in cache.producers.values():
            if found.modality == selection.modality:
                check_same(wanted, found, f"{selection.modality} features of cache {str(cache.path)!r}")
        raise FingerprintMismatch(f"cache {str(cache.path)!r} has no {selection.modality} features")
    stored = widths(selection.fingerprint, selection.view)
    for name, width in zip(selection.outputs, selection.widths, strict=True):
        if stored.get(name) != width:
            raise FingerprintMismatch(
                f"{selection.modality} output {name!r}, view {selection.view!r}, has {stored.get(name, 0)} columns "
                f"in cache {str(cache.path)!r}, expected {width}"
            )
