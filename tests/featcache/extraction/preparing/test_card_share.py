"""What the CPU decodes for a card stays within its share of the memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from featcache.dataset.sample import ImageFile
from featcache.extraction.preparing.card import Card
from featcache.extraction.preparing.card_lane import CardLane
from featcache.extraction.preparing.card_share import Share
from featcache.extraction.preparing.recipe import Reading, Recipe
from featcache.pictures.checked_decoder import DECODED

from cards import FakeCardDecoder

PNG = Reading(0, 0, ImageFile("a"), b"", (), n_bytes=9000, file_bytes=700, n_pixels=1000, format="PNG")
JPEG = replace(PNG, format="JPEG")
MEMORY = 48 * 12_000


def share_of(decoder: FakeCardDecoder | None, *, n_workers: int = 1) -> Share:
    return Share.of(Card(Recipe(()), CardLane(decoder)), MEMORY, n_workers)


def test_without_an_engine_everything_is_decoded_that_fits() -> None:
    share = share_of(None)
    for reading in (PNG, JPEG):
        assert share.decoded_bytes(reading) == share.pixel_bytes(reading) == 3000 and share.why_not(reading) == ""
    for large in (replace(PNG, n_pixels=1001), replace(JPEG, n_bytes=MEMORY // 4 + 1)):
        assert share.pixel_bytes(large) == 0 and share.why_not(large) == "large"
    assert share.why_not(replace(PNG, n_pixels=0)) == "unknown"
    assert share_of(None, n_workers=20).why_not(PNG) == "large"
    assert share.space_for([PNG, JPEG, replace(PNG, n_pixels=9999)], 4) == 6000


def test_beside_an_engine_files_that_it_may_decode_are_looked_at() -> None:
    share = share_of(FakeCardDecoder())
    assert share.decoded_bytes(JPEG) == 0 and share.pixel_bytes(JPEG) == 3000
    assert share.decoded_bytes(PNG) == 3000
    assert share.why_not(replace(JPEG, n_pixels=9999)) == "" and share.why_not(replace(PNG, n_pixels=9999)) == "large"
    assert share.space_for([JPEG, PNG, PNG], 4) == 6000 + share.window // 8


@pytest.mark.parametrize("decoder", [None, FakeCardDecoder()], ids=["no engine", "engine"])
@pytest.mark.parametrize("is_given_up", [False, True])
def test_nothing_is_decoded_for_a_card_that_is_not_trusted(decoder: FakeCardDecoder | None, is_given_up: bool) -> None:
    share = share_of(decoder)
    share.card.is_given_up = is_given_up
    if not is_given_up:
        share.card.trust.distrusted = frozenset({DECODED})
    assert share.pixel_bytes(PNG) == share.space_for([PNG, JPEG], 1) == 0
    assert share.why_not(PNG) == share.why_not(JPEG) == "not trusted"
