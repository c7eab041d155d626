"""Which of the stored vectors are meant: of which producer, under which view, which outputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from featcache.cache.folder import Cache
from featcache.errors import FeatcacheError, FingerprintMismatch
from featcache.identity.fingerprint import Fingerprint, check_same
from featcache.identity.outputs import abbreviate, expand, is_layer, layer_family, natural_order
from featcache.identity.terms import CLEAN, CONTENT_OF, DEFAULT_OUTPUTS, MODALITIES, Content, Modality
from featcache.store.hints import hint_at_extract

__all__ = [
    "Outputs",
    "Selection",
    "check_selection",
    "choose",
    "choose_defaults",
    "default_outputs",
    "find_producers",
    "stored_modalities",
    "stored_views",
]


Outputs = str | Sequence[str]
"""A request as `featcache.identity.outputs.parse_outputs` reads it; ``layers:all`` means those that are stored."""

Widths = Callable[[str, str], Mapping[str, int]]
"""Stored outputs and their columns, by fingerprint and view."""


@dataclass(frozen=True)
class Selection:
    """Which stored vectors of one modality are meant.

    Attributes
    ----------
    modality : {"text", "image", "spectral"}
        What the vectors are.
    fingerprint : str
        Digest of the producer, 64 hex digits.
    view : str
        Perturbation under which the contents were encoded.
    outputs : tuple of str
        Named vectors, concatenated in this order.
    widths : tuple of int
        How many columns each output has.
    """

    modality: Modality
    fingerprint: str
    view: str
    outputs: tuple[str, ...]
    widths: tuple[int, ...]

    @property
    def content(self) -> Content:
        """Of which content of a sample the vectors are made: its keys are theirs."""
        return CONTENT_OF[self.modality]


def choose(
    cache: Cache, widths: Widths, modality: str, *, encoder: str | None, outputs: Outputs | None, view: str
) -> Selection:
    """Return the selection that these choices mean, as `FeatureStore.select` describes it."""
    fitting = find_producers(cache, modality, encoder)
    if encoder is None and len(fitting) > 1:
        standard = _standard({f.digest: widths(f.digest, view) for f in fitting}, outputs, modality)
        fitting = tuple(f for f in fitting if f.digest in standard) or fitting
    if len(fitting) != 1:
        raise FeatcacheError(_no_choice(cache, modality, encoder, len(fitting)))
    (fingerprint,) = fitting
    stored = widths(fingerprint.digest, view)
    owner = f"{modality} encoder {fingerprint.short} ({fingerprint.model_name}), view {view!r},"
    if not stored:
        raise FeatcacheError(f"{owner} has no vectors yet; {_views(cache, fingerprint, view)}")
    if outputs is None:
        outputs = default_outputs(stored, modality)
        if outputs[0] not in stored:
            raise FeatcacheError(
                f"{owner} has no output {outputs[0]!r}, which is taken where none is named; name some of its own "
                f"with --{modality}-outputs (in Python with selections={{{modality!r}: store.select({modality!r}, "
                f"outputs=…)}}): {abbreviate(natural_order(stored))}"
            )
    names = expand(outputs, stored, owner=owner)
    return Selection(fingerprint.modality, fingerprint.digest, view, names, tuple(stored[name] for name in names))


def find_producers(cache: Cache, modality: str, encoder: str | None = None) -> tuple[Fingerprint, ...]:
    """Return the producers of a modality, or those of them that ``encoder`` may mean.

    Parameters
    ----------
    cache : Cache
        The cache whose producers are looked at.
    modality : str
        What the vectors are.
    encoder : str
        Beginning of a fingerprint, or a model's name.
    """
    known = (f for f in cache.producers.values() if f.modality == modality)
    return tuple(f for f in known if encoder is None or f.digest.startswith(encoder) or f.model_name == encoder)


def stored_modalities(cache: Cache) -> tuple[Modality, ...]:
    """Return the modalities of which a cache has a producer."""
    found = {f.modality for f in cache.producers.values()}
    return tuple(modality for modality in MODALITIES if modality in found)


def stored_views(cache: Cache, producers: Iterable[Fingerprint]) -> tuple[str, ...]:
    """Return the views of which any of these producers has shards, the clean one first."""
    found = {view for f in producers for view in cache.views(f) if any(cache.shard_paths(f, view))}
    return tuple(sorted(found, key=lambda view: (view != CLEAN, view)))


def choose_defaults(cache: Cache, widths: Widths, view: str) -> Mapping[str, Selection]:
    """Return one selection a modality, as `FeatureStore.default_selections` describes it."""
    modalities = stored_modalities(cache)
    views = {modality: stored_views(cache, find_producers(cache, modality)) for modality in modalities}
    in_view = {modality: view if CONTENT_OF[modality] == "image" else CLEAN for modality in modalities}
    if view != CLEAN:
        if not any(view in known for known in views.values()):
            pictured = [f for f in cache.producers.values() if f.content == "image"]
            known = ", ".join(map(repr, sorted(set(chain.from_iterable(views.values()))))) or "none"
            raise FeatcacheError(
                f"cache {str(cache.path)!r} has no vectors of view {view!r}; it has views: {known}; "
                f"{hint_at_extract(cache, pictured, '--views', view)}"
            )
        in_view = {modality: v for modality, v in in_view.items() if v == CLEAN or v in views[modality]}
    return {m: choose(cache, widths, m, encoder=None, outputs=None, view=v) for m, v in in_view.items()}


def _standard(stored: Mapping[str, Mapping[str, int]], outputs: Outputs | None, modality: str) -> tuple[str, ...]:
    """Return which of several producers have what is asked for; if those are several, which have the default output."""
    asked = [digest for digest, widths in stored.items() if outputs is None or _has(widths, outputs)]
    if len(asked) == 1:
        return tuple(asked)
    default = DEFAULT_OUTPUTS.get(modality)
    return tuple(d for d in asked or stored if stored[d] and (default is None or default in stored[d]))


def _has(stored: Mapping[str, int], outputs: Outputs) -> bool:
    try:
        return bool(expand(outputs, stored))
    except FeatcacheError:
        return False


def default_outputs(stored: Collection[str], modality: str) -> tuple[str, ...]:
    """Return the outputs that are taken of these where none is named.

    The standard one, else the only one, else the last layer where there are layers only: class tokens before means
    of patch tokens. Where there are others, the standard one is returned though it is not among them.
    """
    names, default = natural_order(stored), DEFAULT_OUTPUTS.get(modality)
    if default is None:
        return names
    if default in stored or not (len(names) == 1 or all(map(is_layer, names))):
        return (default,)
    return tuple(name for name in names if layer_family(name) == layer_family(names[0]))[-1:]


def _no_choice(cache: Cache, modality: str, encoder: str | None, n_fitting: int) -> str:
    known = find_producers(cache, modality)
    if not known:
        return f"cache {str(cache.path)!r} has no {modality} features"
    asked = (
        f"{modality} encoder {encoder!r} fits {n_fitting}"
        if encoder is not None
        else f"there are {len(known)} {modality} encoders"
    )
    names = ", ".join(f"{f.short} ({f.model_name})" for f in known)
    return f"cache {str(cache.path)!r}: {asked}, expected exactly one; it has: {names}; --{modality}-encoder says which"


def check_selection(cache: Cache, widths: Widths, selection: Selection, document: Mapping[str, Any]) -> None:
    """Raise `FingerprintMismatch` unless the cache has these vectors, as `FeatureStore.check` describes it."""
    if selection.fingerprint not in cache.producers:
        wanted = Fingerprint.from_document(document, f"of {selection.modality} features")
        for found in cache.producers.values():
            if found.modality == selection.modality:
                remedy = "encode with the expected model, or fit a head on these"
                check_same(wanted, found, f"{selection.modality} features of cache {str(cache.path)!r}", remedy)
        raise FingerprintMismatch(f"cache {str(cache.path)!r} has no {selection.modality} features")
    stored = widths(selection.fingerprint, selection.view)
    for name, width in zip(selection.outputs, selection.widths, strict=True):
        owner = f"{selection.modality} output {name!r}, view {selection.view!r},"
        if not stored:
            fingerprint = cache.producers[selection.fingerprint]
            known = _views(cache, fingerprint, selection.view)
            raise FingerprintMismatch(f"{owner} is not in cache {str(cache.path)!r}; {known}")
        if name not in stored:
            known = f"it has outputs: {abbreviate(stored)}"
            producer = cache.producers[selection.fingerprint]
            lacking = abbreviate(set(selection.outputs) - stored.keys()).replace(", ", ",")
            hint = hint_at_extract(cache, [producer], f"--{selection.modality}-outputs", lacking)
            raise FingerprintMismatch(f"{owner} is not in cache {str(cache.path)!r}; {known}; {hint}")
        if stored[name] != width:
            raise FingerprintMismatch(
                f"{owner} has {stored[name]} columns in cache {str(cache.path)!r}, expected {width}"
            )


def _views(cache: Cache, producer: Fingerprint, lacking: str) -> str:
    """Say which views of a producer are stored, and what would store another."""
    known = ", ".join(map(repr, stored_views(cache, [producer]))) or "none"
    return f"it has those of views: {known}; {hint_at_extract(cache, [producer], '--views', lacking)}"
