"""What an extraction is asked for: encoders, the views of each, and how the contents are cut into runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Self

from featcache.cache.folder import Cache
from featcache.cache.requests import Request
from featcache.cache.samples import SampleTable
from featcache.dataset.manifest import Manifest
from featcache.encoders.base import EncoderSpec, loading_check
from featcache.errors import FeatcacheError, ManifestError, ShardError
from featcache.extraction.options import ExtractOptions
from featcache.extraction.planning.freeze import check_division
from featcache.extraction.planning.plan import Plan, build_plan
from featcache.extraction.preparing.recipe import Recipe
from featcache.identity.outputs import check_names
from featcache.identity.terms import CLEAN, CONTENT_OF, Content
from featcache.pictures.views import expand_views, parse_view
from featcache.store.shard_set import ShardSet

__all__ = ["Work"]

_MOST_ROWS = 4096
_RUN_BYTES = 512 << 20
_BYTES_A_NUMBER = 4
_UNKNOWN_WIDTH = 1024


@dataclass(frozen=True)
class Work:
    """Encoders, and under which views each of them is to run.

    Attributes
    ----------
    items : tuple of (EncoderSpec, tuple of view names)
        Captions before pictures.
    """

    items: tuple[tuple[EncoderSpec, tuple[str, ...]], ...]

    @classmethod
    def of(cls, specs: Sequence[EncoderSpec], views: str | Sequence[str] = (CLEAN,)) -> Self:
        """Give pictures these views, and captions the clean one.

        Raises
        ------
        FeatcacheError
            If a view is none, two encoders are the same, or they cannot share a decoding.
        """
        names = tuple(map(str, expand_views(views)))
        digests = [spec.fingerprint.digest for spec in specs]
        for spec, digest in zip(specs, digests, strict=True):
            if digests.count(digest) > 1:
                name = f"{spec.modality} encoder {spec.fingerprint.short} ({spec.fingerprint.model_name})"
                raise FeatcacheError(f"{name} is asked for twice, expected once, with all its outputs")
        items = [(spec, names if CONTENT_OF[spec.modality] == "image" else (CLEAN,)) for spec in specs]
        work = cls(tuple(sorted(items, key=lambda item: CONTENT_OF[item[0].modality] != "text")))
        work.recipe()
        return work

    def check(self, manifest: Manifest, cache: Cache, options: ExtractOptions) -> None:
        """Make sure that it can be done, before anything is hashed or written.

        Encoders are loaded for it that have a ``check`` and of whose outputs nothing is stored yet: what is stored was
        made with the same weights.

        Raises
        ------
        FeatcacheError
            If the data set has nothing for these encoders, an encoder names no outputs or cannot be loaded with them,
            or the data set is being divided otherwise.
        """
        if not len(manifest.samples):
            raise ManifestError(f"data set {manifest.name!r} has no samples, expected at least one")
        has = {"text": manifest.samples.caption.is_filled.any(), "image": manifest.samples.has_image.any()}
        for spec, _ in self.items:
            owner = f"{spec.modality} encoder {spec.fingerprint.model_name}"
            check_names(spec.outputs, owner=owner)
            if not any(has[content] for content in self.contents):
                what = "captions" if spec.modality == "text" else "pictures"
                raise FeatcacheError(f"data set {manifest.name!r} has no {what}, expected some for {owner}")
        if options.partition is not None:
            check_division(
                cache, manifest.name, self.items,
                partition=options.partition, unit_rows=options.unit_rows, refreeze=options.refreeze,
            )  # fmt: skip
        for spec, _ in self.items:
            check = loading_check(spec)
            if check and has[CONTENT_OF[spec.modality]] and not _is_proven(cache, spec):
                check()

    @property
    def contents(self) -> tuple[Content, ...]:
        """The kinds of contents that are needed."""
        return tuple(dict.fromkeys(CONTENT_OF[spec.modality] for spec, _ in self.items))

    def requests(self, table: SampleTable, *, skips_orphans: bool) -> list[Request]:
        """Say what is asked for of a data set, to be kept with it."""
        return [
            Request(
                table.dataset,
                table.origin,
                spec.fingerprint.digest,
                tuple(spec.outputs),
                views,
                table.split_seed,
                skips_orphans,
                table.reading,
            )
            for spec, views in self.items
        ]

    def recipe(self) -> Recipe:
        """Return what is made of a picture: for each encoder of pictures its views."""
        pictures = [item for item in self.items if CONTENT_OF[item[0].modality] == "image"]
        return Recipe.of([(parse_view(view), spec) for spec, views in pictures for view in views])

    def unit_rows(self, table: SampleTable, options: ExtractOptions) -> int:
        """Return how many contents a run has: 4096, fewer if their vectors would take more than 512 MB.

        A function of the request and the data set alone: an interrupted extraction that is started again has the
        same units, and so have all parts of a division, each of which has some. Outputs of unknown width count as
        1024 columns.
        """
        if options.unit_rows is not None:
            return options.unit_rows
        n_columns = dict.fromkeys(self.contents, 1)
        for spec, views in self.items:
            widths = spec.widths
            columns = sum(widths.get(name, _UNKNOWN_WIDTH) for name in spec.outputs)
            n_columns[CONTENT_OF[spec.modality]] += columns * len(views)
        widest = max(n_columns.values(), default=1)
        n_rows = max(1, min(_MOST_ROWS, _RUN_BYTES // (_BYTES_A_NUMBER * widest)))
        if options.partition is None:
            return n_rows
        n_contents = max((len(table.first_rows(content)) for content in self.contents), default=0)
        return options.partition.unit_rows(n_contents, n_rows)

    def plans(
        self, cache: Cache, table: SampleTable, *, options: ExtractOptions, retry: Collection[str] | None
    ) -> list[Plan]:
        """Plan every encoder and view, in this order.

        Parameters
        ----------
        cache : Cache
            Where to look for what is there.
        table : SampleTable
            The samples.
        options : ExtractOptions
            Say how large a unit is, and which part of a division is wanted.
        retry : collection of str or None
            As `build_plan` takes it.
        """
        n_rows, partition = self.unit_rows(table, options), options.partition
        plans = [
            build_plan(cache, spec, table, view=view, unit_rows=n_rows, retry=retry)
            for spec, views in self.items
            for view in views
        ]
        mine = {spec.fingerprint.digest for spec, _ in self.items}
        # An encoder that is asked for too is no alternative to another.
        plans = [replace(p, misses=tuple(m for m in p.misses if m.fingerprint not in mine)) for p in plans]
        return plans if partition is None else [plan.only(partition.takes) for plan in plans]


def _is_proven(cache: Cache, spec: EncoderSpec) -> bool:
    """Tell whether every output was stored before by this very producer."""
    stored: set[str] = set()
    for view in cache.views(spec.fingerprint):
        with suppress(ShardError):
            stored.update(ShardSet.open(cache, spec.fingerprint, view).widths)
        if stored.issuperset(spec.outputs):
            return True
    return False
