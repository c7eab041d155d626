"""Captions are made ready in a thread, ahead of their turn; nothing of that shows in what is stored."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from featcache.extraction.results import Event
from featcache.extraction.run import ExtractOptions, ExtractResult, extract
from featcache.files.claims import Claims

from factories import FakeEncoder, FakeSpec, make_cache, read_manifest, write_dataset

SMALL: dict[str, Any] = {"device": "cpu", "batch_size": 2, "workers": 2, "unit_rows": 4}
IMAGE = FakeSpec("image")
_SECONDS = 20.0


def ignore(_: int) -> None:
    pass


@dataclass(frozen=True)
class Letters(FakeSpec):
    """A fake encoder of texts that cuts them into letters; calls ``before`` with how many units it has cut by then."""

    before: Callable[[int], None] = field(default=ignore, compare=False)

    def load(self, device: str, *, compile: bool = False) -> LettersEncoder:
        return LettersEncoder(self, self.before)


@dataclass(frozen=True)
class LettersEncoder(FakeEncoder):
    before: Callable[[int], None]
    cut: list[int] = field(default_factory=list)

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        self.before(len(self.cut))
        self.cut.append(len(texts))
        return [list(text.encode()) for text in texts]

    def encode(self, batch: Sequence[Any]) -> Mapping[str, NDArray[Any]]:
        return super().encode([bytes(tokens) for tokens in batch])


@pytest.fixture
def _in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featcache.extraction.encoding.execution.is_cuda", lambda device: True)


def run(folder: Path, specs: Sequence[FakeSpec], *, see: Callable[[Event], None] | None = None) -> ExtractResult:
    data = read_manifest(write_dataset(folder / "d", n_captions=24))
    return extract(data, make_cache(folder / "c"), specs, options=ExtractOptions(**SMALL), events=see)


def tokenisers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("tokenise")]


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "c" / "features").rglob("*.h5")}


def test_the_next_unit_is_tokenised_while_one_is_encoded(tmp_path: Path) -> None:
    second, names = threading.Event(), set()

    def note(n: int) -> None:
        names.add(threading.current_thread().name)
        if n == 1:
            second.set()

    class Waiting(Letters):
        def load(self, device: str, *, compile: bool = False) -> LettersEncoder:
            return _Waiting(self, self.before)

    class _Waiting(LettersEncoder):
        def encode(self, batch: Sequence[Any]) -> Mapping[str, NDArray[Any]]:
            assert second.wait(_SECONDS)
            return super().encode(batch)

    result = run(tmp_path, [Waiting("text", ("cls",), before=note)])
    assert result.n_encoded == 24 and len(names) == 1 and threading.main_thread().name not in names
    assert not tokenisers()


@pytest.mark.slow
@pytest.mark.usefixtures("_in_turns")
def test_pictures_go_on_while_captions_are_tokenised(tmp_path: Path) -> None:
    done = threading.Event()

    def see(event: Event) -> None:
        if event.name == "unit" and event.fields["modality"] == "image":
            done.set()

    def hold(n: int) -> None:
        assert n != 3 or done.wait(_SECONDS)

    result = run(tmp_path / "turns", [Letters("text", ("cls",), before=hold), IMAGE], see=see)
    assert result.n_encoded == 24 + 72
    run(tmp_path / "apart", [Letters("text", ("cls",))])
    run(tmp_path / "apart", [IMAGE])
    assert shards(tmp_path / "turns") == shards(tmp_path / "apart")


@pytest.mark.slow
@pytest.mark.usefixtures("_in_turns")
def test_pictures_go_on_while_captions_wait_for_another_writer(tmp_path: Path) -> None:
    text, published = Letters("text", ("cls",)), []
    cache = make_cache(tmp_path / "c")
    folder = cache.path / "claims" / text.fingerprint.short / "clean"
    theirs = Claims(folder, root=cache.path, timeout=60)

    class Holding(Claims):
        def take(self, unit: str) -> bool:
            if self._folder == folder and not published:
                theirs.take(unit)
            return super().take(unit)

    def see(event: Event) -> None:
        if event.name == "unit":
            published.append(event.fields["modality"])
            for unit in tuple(theirs._held) if len(published) == 18 else ():
                theirs.release(unit)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("featcache.extraction.encoding.side.Claims", Holding)
        result = run(tmp_path, [text, IMAGE], see=see)
    assert published == ["image"] * 18 + ["text"] * 6 and result.n_encoded == 24 + 72


@pytest.mark.parametrize("error", [ValueError("no such letter"), KeyboardInterrupt()])
def test_what_is_raised_in_the_thread_ends_the_extraction(tmp_path: Path, error: BaseException) -> None:
    def fail(n: int) -> None:
        if n == 2:
            raise error

    with pytest.raises(type(error)) as caught:
        run(tmp_path, [Letters("text", ("cls",), before=fail)])
    assert caught.value is error and not tokenisers() and len(shards(tmp_path)) == 2


def test_what_ends_the_extraction_ends_the_thread(tmp_path: Path) -> None:
    def see(event: Event) -> None:
        if event.name == "unit":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, [Letters("text", ("cls",))], see=see)
    assert not tokenisers() and shards(tmp_path)
