"""What cannot be done as it is asked for is refused before anything is hashed or written."""

from __future__ import annotations

from contextlib import suppress

from featcache.cache.folder import Cache
from featcache.encoders.base import EncoderSpec, loading_check
from featcache.errors import FeatcacheError, ManifestError, ShardError
from featcache.extraction.planning.freeze import check_division
from featcache.extraction.preparing.find_card import check_card
from featcache.extraction.work import Extraction
from featcache.identity.outputs import check_names
from featcache.identity.terms import CONTENT_OF
from featcache.pictures.decoders import find_decoder
from featcache.store.shard_set import ShardSet

__all__ = ["check_extraction"]


def check_extraction(extraction: Extraction) -> None:
    """Make sure that an extraction can be done, before anything is hashed or written.

    Encoders are loaded for it that have a ``check`` and of whose outputs nothing is stored yet: what is stored was
    made with the same weights.

    Raises
    ------
    FeatcacheError
        If the decoder that is asked for is not there or has nothing to do, the data set has nothing for these
        encoders, an encoder names no outputs or cannot be loaded with them, or the data set is being divided otherwise.
    """
    manifest, cache, work, options = extraction.manifest, extraction.cache, extraction.work, extraction.options
    is_empty = not len(manifest.samples)
    if is_empty and not manifest.is_loose:
        raise ManifestError(f"data set {manifest.name!r} has no samples, expected at least one")
    find_decoder(options.decoder)
    if options.decoder == "card" and "image" in work.contents:
        check_card(work.recipe(), options)
    has = {"text": manifest.samples.caption.is_filled.any(), "image": manifest.samples.has_image.any()}
    for spec, _ in work.items:
        owner = f"{spec.modality} encoder {spec.fingerprint.model_name}"
        check_names(spec.outputs, owner=owner)
        if not (is_empty or any(has[content] for content in work.contents)):
            what = "captions" if spec.modality == "text" else "pictures"
            raise FeatcacheError(f"data set {manifest.name!r} has no {what}, expected some for {owner}")
    if options.partition is not None:
        check_division(
            cache, manifest.name, work.items,
            partition=options.partition, unit_rows=options.unit_rows, refreeze=options.refreeze,
        )  # fmt: skip
    for spec, _ in work.items:
        check = loading_check(spec)
        if check and has[CONTENT_OF[spec.modality]] and not _is_proven(cache, spec):
            check()


def _is_proven(cache: Cache, spec: EncoderSpec) -> bool:
    """Tell whether every output was stored before by this very producer."""
    stored: set[str] = set()
    for view in cache.views(spec.fingerprint):
        with suppress(ShardError):
            stored.update(ShardSet.open(cache, spec.fingerprint, view).widths)
        if stored.issuperset(spec.outputs):
            return True
    return False
