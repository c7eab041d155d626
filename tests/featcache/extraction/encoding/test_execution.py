"""Captions are done before pictures, and their encoder makes room for the next."""

from __future__ import annotations

import weakref
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from featcache.extraction.encoding import claiming, passes
from featcache.extraction.encoding.execution import _take_turns
from featcache.extraction.encoding.passes import IsReady
from featcache.extraction.encoding.side import Side
from featcache.extraction.options import ExtractOptions
from featcache.extraction.planning.plan import WorkUnit
from featcache.extraction.results import Progress
from featcache.extraction.run import extract
from featcache.files.claims import Claims

from factories import FakeEncoder, FakeSpec, make_cache, read_manifest, write_dataset


@dataclass(frozen=True)
class Known(FakeSpec):
    """An encoder of which is known whether it is still in memory."""

    loaded: list[Any] = field(default_factory=list, compare=False)

    def load(self, device: str, *, compile: bool = False) -> FakeEncoder:
        encoder = super().load(device, compile=compile)
        self.loaded.append(weakref.ref(encoder))
        return encoder


def test_the_encoder_of_captions_is_gone_when_pictures_are_encoded(tmp_path: Path) -> None:
    text, image = Known("text", ("cls",)), Known("image")
    seen: list[tuple[str, bool, bool]] = []

    def look(state: Progress) -> None:
        alive = [any(ref() is not None for ref in spec.loaded) for spec in (text, image)]
        seen.append((state.stage, *alive))

    options = ExtractOptions(device="cpu", batch_size=4, workers=2)
    manifest = read_manifest(write_dataset(tmp_path / "d"))
    result = extract(manifest, make_cache(tmp_path / "c"), [image, text], options=options, progress=look)
    assert ("text", True, False) in seen and ("image", False, True) in seen
    assert not any(of_text for stage, of_text, _ in seen if stage == "image")
    assert [done.content for done in result.passes] == ["text", "image"]
    assert [side.modality for side in result.sides] == ["text", "image"]


def test_an_encoder_whose_units_others_have_in_hand_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other, refused = Known("image"), Known("image", weights="w1"), list[int]()
    claim = claiming._claim

    def refuse(side: Side, unit: WorkUnit, claims: Claims) -> tuple[WorkUnit | None, bool]:
        if side.number == 1 and len(refused) < 3:
            refused.append(len(other.loaded))
            return unit, False
        return claim(side, unit, claims)

    monkeypatch.setattr(claiming, "_claim", refuse)
    monkeypatch.setattr(passes, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr("featcache.extraction.encoding.loaded.is_cuda", lambda _: True)
    options = ExtractOptions(device="cpu", batch_size=4, workers=2)
    result = extract(
        read_manifest(write_dataset(tmp_path / "d")), make_cache(tmp_path / "c"), [own, other], options=options
    )
    assert refused == [0, 0, 0] and (len(own.loaded), len(other.loaded)) == (1, 1) and result.n_encoded == 36


def test_where_nobody_is_ready_the_first_to_be_goes_on_alone() -> None:
    over: list[str] = []

    def captions() -> Generator[IsReady, None, None]:
        for _ in range(3):
            asked: list[bool] = []
            yield lambda asked=asked: bool(asked) or asked.append(True) or False  # type: ignore[misc]
            assert asked  # not before it is ready
        over.append("text")

    def pictures() -> Generator[IsReady, None, None]:
        yield lambda: bool(over)
        assert over == ["text"]  # its turn would have been a wait for another writer
        over.append("image")

    assert _take_turns([captions(), pictures()], at_once=True) == ()
    assert over == ["text", "image"]
