"""What an extraction is asked for: encoders, the views of each, and how the contents are cut into units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from featcache.cache.folder import Cache
from featcache.cache.requests import Request
from featcache.cache.samples import SampleTable
from featcache.dataset.manifest import Manifest
from featcache.encoders.base import EncoderSpec
from featcache.errors import FeatcacheError
from featcache.extraction.options import ExtractOptions
from featcache.extraction.preparing.recipe import Recipe
from featcache.identity.terms import CLEAN, CONTENT_OF, Content
from featcache.pictures.decoders import find_decoder
from featcache.pictures.views import expand_views, parse_view

__all__ = ["Extraction", "Work"]

_MOST_ROWS = 4096
_UNIT_BYTES = 512 << 20
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
                table.rules,
                table.labels,
                table.columns,
                table.root,
                table.splits,
            )
            for spec, views in self.items
        ]

    def recipe(self) -> Recipe:
        """Return what is made of a picture: for each encoder of pictures its views."""
        pictures = [item for item in self.items if CONTENT_OF[item[0].modality] == "image"]
        return Recipe.of([(parse_view(view), spec) for spec, views in pictures for view in views])

    def unit_rows(self, table: SampleTable, options: ExtractOptions) -> int:
        """Return how many contents a unit has: 4096, fewer if their vectors would take more than 512 MB.

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
        n_rows = max(1, min(_MOST_ROWS, _UNIT_BYTES // (_BYTES_A_NUMBER * widest)))
        if options.partition is None:
            return n_rows
        n_contents = max((len(table.first_rows(content)) for content in self.contents), default=0)
        return options.partition.unit_rows(n_contents, n_rows)


@dataclass(frozen=True)
class Extraction:
    """One extraction: what is asked for, of which data set, into which cache, and how it runs.

    Attributes
    ----------
    work : Work
        The encoders, and the views of each.
    manifest : Manifest
        The samples.
    cache : Cache
        Where what is made is kept.
    options : ExtractOptions
        How to run.
    """

    work: Work
    manifest: Manifest
    cache: Cache
    options: ExtractOptions

    def recipe(self) -> Recipe:
        """Return what is made of a picture, and who decodes it."""
        return replace(self.work.recipe(), decoder=find_decoder(self.options.decoder))
