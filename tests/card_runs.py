"""Whole extractions with a GPU, made up, and what they leave."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import pytest

from featcache.dataset.manifest import Manifest
from featcache.extraction import work
from featcache.extraction.options import ExtractOptions
from featcache.extraction.planning import checks
from featcache.extraction.preparing import card_reader, reader
from featcache.extraction.preparing.card import Card
from featcache.extraction.preparing.card_lane import CardLane
from featcache.extraction.preparing.find_card import CardMissing
from featcache.extraction.preparing.recipe import Recipe
from featcache.extraction.results import PassResult
from featcache.extraction.run import ExtractResult, extract

from cards import FakeCardDecoder, FakeCardResizer, FakePerturber
from factories import FakeSpec, make_cache


def run(
    data: Manifest,
    cache: Path,
    decoder: FakeCardDecoder | None,
    monkeypatch: pytest.MonkeyPatch,
    *,
    resizer: Mapping[str, int] | None = None,
    views: str = "clean",
    progress: Any = None,
    beside: Any = None,
    n_lanes: int = 1,
    **options: Any,
) -> tuple[ExtractResult, list[int]]:
    """Extract with a card that has this decoder, or by Pillow alone; returns the sizes of batches too.

    Parameters
    ----------
    data, cache, decoder, monkeypatch
        None of the third: without a card, or with one that has no engine if ``resizer`` is there.
    resizer : mapping, optional
        How the card's resizer fails; see `FakeCardResizer`.
    views, progress
        As for `extract`.
    beside : Decoder, optional
        Who decodes on the CPU beside Pillow.
    n_lanes
        Of the card.
    **options
        Further ones of the extraction.
    """

    def find(recipe: Recipe, _: ExtractOptions) -> Card:
        if decoder is None and resizer is None:
            raise CardMissing("none is there")
        made = {i: spec for i, (view, spec) in enumerate(recipe.products) if "jpeg" not in str(view)}
        resizers = {i: FakeCardResizer(spec.prepare, **(resizer or {})) for i, spec in made.items()}
        return Card(recipe, *[CardLane(decoder, resizers, FakePerturber())] * n_lanes)

    monkeypatch.setattr(card_reader, "_WINDOW", 8)
    monkeypatch.setattr(reader, "find_card", find)
    monkeypatch.setattr(reader, "LEAST_FOR_CARD", 1)
    monkeypatch.setattr(checks, "check_card", lambda *_: None)
    monkeypatch.setattr(checks, "find_decoder", lambda _: None)
    monkeypatch.setattr(work, "find_decoder", lambda _: beside)
    monkeypatch.setattr(reader, "is_cuda", lambda _: True)
    name: Any = "auto" if decoder is None and resizer is None else "card"
    common: dict[str, Any] = {"batch_size": 4, "workers": 2, "unit_rows": 16, "processes": False}
    own = ExtractOptions(device="cpu", decoder=name, **(common | options))
    spec = FakeSpec("image")
    return extract(data, make_cache(cache), [spec], options=own, views=views, progress=progress), spec.log


def rows_of(cache: Path) -> dict[str, list[bytes]]:
    """All that shards hold, but for their attributes."""
    found = {}
    for path in sorted(cache.glob("features/**/*.h5")):
        with h5py.File(path) as shard:
            found[str(path.relative_to(cache))] = [shard["key"][:].tobytes(), shard["features/pooled"][:].tobytes()]
    return found


def versions_of(cache: Path, name: str = "fake") -> list[str | None]:
    """The version that each shard has of a library."""
    return [versions_of_one(path, name) for path in sorted(cache.glob("features/**/*.h5"))]


def versions_of_one(path: Path, name: str = "fake") -> str | None:
    """The version that a shard has of a library."""
    with h5py.File(path) as shard:
        found: str | None = json.loads(shard.attrs["versions"]).get(name)
    return found


def pictures(result: ExtractResult) -> PassResult:
    """What going through the pictures took."""
    (found,) = (each for each in result.passes if each.content == "image")
    return found
