"""Who prepares pictures where a GPU, made up, has a part in it."""

from __future__ import annotations

import os

import pytest

from featcache.extraction.options import ExtractOptions
from featcache.extraction.preparing import reader
from featcache.extraction.preparing.card import Card
from featcache.extraction.preparing.recipe import Recipe
from featcache.pictures.views import View

from cards import FakeCardDecoder, FakeCardResizer
from factories import FakeSpec

RECIPE = Recipe(((View(), FakeSpec("image")),))


@pytest.mark.skipif(os.name != "posix", reason="workers need POSIX pipes")
@pytest.mark.parametrize("decoder", [None, FakeCardDecoder()], ids=["no engine", "engine"])
def test_as_many_processes_may_decode_for_a_card_as_there_are_workers(
    monkeypatch: pytest.MonkeyPatch, decoder: FakeCardDecoder | None
) -> None:
    opened: list[int] = []
    resizers = {0: FakeCardResizer(RECIPE.products[0][1].prepare)}
    monkeypatch.setattr(reader, "find_card", lambda *_: Card(RECIPE, decoder, resizers))
    monkeypatch.setattr(reader, "CardReader", lambda *_, n_processes, **__: opened.append(n_processes))
    monkeypatch.setattr(reader, "_open_others", lambda *_, **__: None)
    reader.open_reader(RECIPE, ExtractOptions(decoder="card", workers=40, processes=True), 9)
    assert opened == [40]
