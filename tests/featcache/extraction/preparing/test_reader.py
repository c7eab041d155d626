"""Who prepares pictures where a GPU, made up, has a part in it."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from featcache.dataset.sample import ImageFile
from featcache.extraction.options import ExtractOptions
from featcache.extraction.preparing import reader
from featcache.extraction.preparing.card import Card
from featcache.extraction.preparing.card_lane import CardLane
from featcache.extraction.preparing.recipe import Reading, Recipe
from featcache.pictures.views import View

from cards import FakeCardDecoder, FakeCardResizer
from factories import FakeSpec

RECIPE = Recipe(((View(), FakeSpec("image")),))


PICTURE = Reading(0, 0, ImageFile("a"), b"", (0,), n_bytes=9000, file_bytes=700, n_pixels=1000, format="PNG")


@pytest.mark.parametrize(("n_large", "who"), [(5, "the GPU and 2 threads"), (6, "2 threads")])
def test_where_most_pictures_are_too_large_for_a_card_the_others_have_all_of_the_memory(
    monkeypatch: pytest.MonkeyPatch, n_large: int, who: str
) -> None:
    card = Card(RECIPE, CardLane(None, {0: FakeCardResizer(RECIPE.products[0][1].prepare)}))
    monkeypatch.setattr(reader, "find_card", lambda *_: card)
    monkeypatch.setattr(reader, "is_cuda", lambda _: True)
    memory = []
    open_others = reader._open_others
    monkeypatch.setattr(reader, "_open_others", lambda *a, **k: memory.append(k["memory"]) or open_others(*a, **k))
    some = [replace(PICTURE, n_pixels=10**7 if i < n_large else 1000) for i in range(10)]
    options = ExtractOptions(memory=1 << 20, workers=2, processes=False)
    with reader.open_reader(RECIPE, options, 5000, some=some) as opened:
        assert str(opened) == who and ("too large" in opened.hint) == (n_large == 6)
    assert memory == [1 << 20 if n_large == 6 else 1 << 19]
    with reader.open_reader(RECIPE, replace(options, decoder="card"), 5000, some=some) as opened:
        assert str(opened) == "the GPU and 2 threads"


@pytest.mark.skipif(os.name != "posix", reason="workers need POSIX pipes")
@pytest.mark.parametrize("decoder", [None, FakeCardDecoder()], ids=["no engine", "engine"])
def test_as_many_processes_may_decode_for_a_card_as_there_are_workers(
    monkeypatch: pytest.MonkeyPatch, decoder: FakeCardDecoder | None
) -> None:
    opened: list[int] = []
    resizers = {0: FakeCardResizer(RECIPE.products[0][1].prepare)}
    monkeypatch.setattr(reader, "find_card", lambda *_: Card(RECIPE, CardLane(decoder, resizers)))
    monkeypatch.setattr(reader, "CardReader", lambda *_, n_processes, **__: opened.append(n_processes))
    monkeypatch.setattr(reader, "_open_others", lambda *_, **__: None)
    reader.open_reader(RECIPE, ExtractOptions(decoder="card", workers=40, processes=True), 9)
    assert opened == [40]
