"""Processes that read pictures for a card: they find what threads find, and whatever ends them, nothing is lost."""

from __future__ import annotations

import gc
import hashlib
import io
import os
import signal
import tarfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featcache.dataset.readers.tar_samples import TarImage
from featcache.dataset.sample import ImageFile
from featcache.encoders.vision import ImageSpec
from featcache.errors import FeatcacheError
from featcache.extraction.preparing import card_reader
from featcache.extraction.preparing.card import Card
from featcache.extraction.preparing.card_lane import CardLane
from featcache.extraction.preparing.card_loading import Found, Loaded, Pixels
from featcache.extraction.preparing.card_reader import CardReader
from featcache.extraction.preparing.card_share import Share
from featcache.extraction.preparing.loaders import Loaders
from featcache.extraction.preparing.recipe import Prepared, Reading, Recipe, prepare
from featcache.extraction.preparing.thread_reader import ThreadReader
from featcache.pictures.decode import decode_rgb
from featcache.pictures.preprocess import Preprocessor
from featcache.pictures.views import parse_view

from cards import FakeCardDecoder, FakeCardResizer
from factories import children

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers need POSIX pipes")

N = 30


class Spec(ImageSpec):
    """An encoder of which there is but what it does to pictures."""

    def __init__(self) -> None:
        object.__setattr__(self, "preprocessor", Preprocessor(resize=8, crop=(8, 8)))


RECIPE = Recipe(((parse_view("clean"), Spec()),))


class Cell:
    """A picture that only this process can read: it cannot even be sent."""

    name = "cell"

    def __init__(self, data: bytes) -> None:
        self._read = lambda: data

    def read_bytes(self) -> bytes:
        return self._read()


def new_card(*, has_engine: bool = True) -> Card:
    return Card(
        RECIPE, CardLane(FakeCardDecoder() if has_engine else None, {0: FakeCardResizer(RECIPE.products[0][1].prepare)})
    )


def shared(card: Card) -> tuple[Card, Share]:
    return card, Share.of(card, 1 << 20, 1)


@pytest.fixture
def readings(tmp_path: Path) -> list[Reading]:
    """JPEGs, some turned, progressive, cut, gone, changed, in a tar, in this process or of a size that is not known."""
    rng, found = np.random.default_rng(0), []
    for row in range(N):
        path, exif = tmp_path / f"{row}.jpg", Image.Exif()
        exif[0x0112] = 1 + row % 8
        other: dict[str, Any] = {"progressive": True} if row in (3, 19) else {"exif": exif} if row % 2 else {}
        levels = rng.integers(0, 256, (rng.integers(9, 30), rng.integers(9, 30), 3), dtype=np.uint8)
        Image.fromarray(levels).save(path, "PNG" if row == 4 else "JPEG", **other)
        data = path.read_bytes()
        image: Any = ImageFile(str(path))
        if row == 6:
            path.unlink()
        elif row == 8:
            path.write_bytes(data[:-2])
            data = data[:-2]
        elif row == 10:
            path.write_bytes(data + b" and more")
        elif row == 12:
            image = in_tar(tmp_path / "a.tar", data)
        elif row == 14:
            image = Cell(data)
        n_bytes = 0 if row == 16 else len(data)
        found.append(Reading(0, row, image, hashlib.sha256(data).digest(), (0,), 1000, file_bytes=n_bytes))
    return found


def in_tar(path: Path, data: bytes) -> TarImage:
    info = tarfile.TarInfo("a.jpg")
    info.size = len(data)
    with tarfile.open(path, "w") as tar:
        tar.addfile(info, io.BytesIO(data))
    with tarfile.open(path) as tar:
        return TarImage(str(path), tar.getmember("a.jpg").offset_data, len(data), "a.jpg")


@pytest.fixture
def nothing_left() -> Iterator[None]:
    before = children(), n_open()
    yield
    assert (children(), n_open()) == before


def n_open() -> int:
    """Return how many files are open, mapped ones included, where that can be told."""
    gc.collect()  # a generator and its reader hold each other
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def contents(found: Sequence[Found]) -> list[Any]:
    """Return all but the time it took."""
    return [content(each) for each in found]


def content(found: Found) -> Any:
    match found:
        case Loaded():
            return replace(found, data=bytes(found.data), seconds=0.0)
        case Pixels():
            return found.levels.shape, found.levels.tobytes(), found.why, found.kind
        case why:
            return why


@pytest.mark.slow
def test_processes_find_what_threads_find(readings: list[Reading], nothing_left: None) -> None:
    with Loaders(*shared(new_card()), n_threads=2, n_processes=0, n_loads=3) as loaders:
        expected = contents(loaders.start(readings).done.result())
    with Loaders(*shared(card := new_card()), n_threads=2, n_processes=1, n_loads=3) as loaders:
        first, second = loaders.start(readings), loaders.start(readings[:9])
        found, again = contents(first.done.result()), contents(second.done.result())
    assert found == expected and again == expected[:9]
    assert [each for each in expected if isinstance(each, str)] == [
        "JPEG progressive 4:2:0", "PNG", "", "refused", "", "JPEG progressive 4:2:0",
    ]  # fmt: skip
    assert len({each.turn for each in found if isinstance(each, Loaded)}) > 3
    assert not card.doubts


@pytest.mark.slow
@pytest.mark.parametrize("has_engine", [True, False])
def test_processes_decode_what_threads_decode(readings: list[Reading], has_engine: bool, nothing_left: None) -> None:
    sized = [replace(each, n_pixels=900, format="PNG" if each.row == 4 else "JPEG") for each in readings]
    card = new_card(has_engine=has_engine)
    share = Share.of(card, 1 << 24, 1)
    with Loaders(card, share, n_threads=2, n_processes=0, n_loads=3) as loaders:
        by_threads = loaders.start(sized).done.result()
        expected = contents(by_threads)
    with Loaders(card, share, n_threads=2, n_processes=1, n_loads=3) as loaders:
        found = contents(loaders.start(sized).done.result())
        small = contents(loaders.start([replace(each, n_pixels=1) for each in sized[:5]]).done.result())
    assert found == expected
    decoded = [row for row, each in enumerate(by_threads) if isinstance(each, Pixels)]
    assert decoded == ([3, 4, 19] if has_engine else sorted(set(range(N)) - {6, 8, 10}))
    for row in decoded:
        upright = np.asarray(decode_rgb(sized[row].image.read_bytes()))
        assert found[row][:2] == (upright.shape, upright.tobytes())
    if not has_engine:
        assert small == [""] * 5  # their headers said less than there is


class NotedCell(Cell):
    """Notes when it is read, and by whom."""

    def __init__(self, data: bytes, number: int, log: list[tuple[int, str]]) -> None:
        super().__init__(data)
        self._note = lambda: log.append((number, threading.current_thread().name))

    def read_bytes(self) -> bytes:
        self._note()
        return super().read_bytes()


def test_pictures_that_are_no_files_are_read_in_order_by_one_thread_and_decoded_by_all(readings: list[Reading]) -> None:
    log: list[tuple[int, str]] = []
    files = [each.image.read_bytes() for each in readings[20:]]
    noted = [NotedCell(data, i, log) for i, data in enumerate(files)]
    cells = [replace(each, image=cell) for each, cell in zip(readings[20:], noted, strict=True)] * 4
    with Loaders(*shared(new_card()), n_threads=3, n_processes=0, n_loads=3) as loaders:
        expected = contents(loaders.start(readings[20:] * 4).done.result())
        loads = [loaders.start(cells) for _ in range(2)]
        assert [contents(load.done.result()) for load in loads] == [expected] * 2
    assert [number for number, _ in log] == list(range(len(files))) * 8
    assert len({thread for _, thread in log}) == 1


def test_an_end_does_not_wait_for_what_is_no_file(readings: list[Reading]) -> None:
    data, log = readings[20].image.read_bytes(), list[tuple[int, str]]()
    cells = [replace(readings[20], image=NotedCell(data, i, log)) for i in range(5000)]
    with Loaders(*shared(new_card()), n_threads=2, n_processes=0, n_loads=3) as loaders:
        loads = [loaders.start(cells) for _ in range(2)]
    assert len(log) < 2 * 5000 and all(load.done.done() for load in loads)


@pytest.mark.slow
def test_no_memory_is_kept_for_the_bytes_of_what_is_decoded(readings: list[Reading], nothing_left: None) -> None:
    sized = [replace(each, n_pixels=900, format="PNG", file_bytes=4 << 20) for each in readings[20:]]
    card = new_card(has_engine=False)
    with Loaders(card, Share.of(card, 1 << 24, 1), n_threads=1, n_processes=1, n_loads=1) as loaders:
        load = loaders.start(sized)
        assert all(isinstance(each, Pixels) for each in load.done.result())
        assert len(load.memory) <= 16 << 20
        loaders.free(load)


@pytest.mark.slow
def test_what_is_larger_than_was_said_is_for_the_cpu(readings: list[Reading], nothing_left: None) -> None:
    (wanted,) = [replace(reading, file_bytes=reading.file_bytes - 1) for reading in readings[20:21]]
    with Loaders(*shared(new_card()), n_threads=1, n_processes=1, n_loads=1) as loaders:
        assert loaders.start([wanted]).done.result() == [""]


@pytest.mark.slow
def test_memory_is_used_again_and_what_finds_none_is_read_here(readings: list[Reading], nothing_left: None) -> None:
    with Loaders(*shared(new_card()), n_threads=1, n_processes=1, n_loads=1) as loaders:
        first, without = loaders.start(readings[20:]), loaders.start(readings[20:])
        expected = contents(first.done.result())
        assert (first.slab, without.slab) == (0, None) and contents(without.done.result()) == expected
        assert all(isinstance(each.data, memoryview) and each.data.readonly for each in first.found)  # type: ignore[union-attr]
        loaders.free(first)
        large = [replace(each, file_bytes=each.file_bytes + (1 << 20)) for each in readings[20:]]
        again = loaders.start(large * 4)
        assert again.slab == 0 and contents(again.done.result()) == expected * 4


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("place", [0, 1])
def test_a_fault_of_a_process_is_an_error_of_its_load_alone(
    readings: list[Reading], monkeypatch: pytest.MonkeyPatch, nothing_left: None, place: int
) -> None:
    both = [list(readings[20:]) for _ in range(2)]
    spoilt, make = [], Loaders._task

    def spoil(self: Loaders, part: Any) -> Any:
        task = make(self, part)
        if part.load.readings is not both[place] or spoilt:
            return task
        spoilt.append(True)
        return task._replace(slab=99)

    monkeypatch.setattr(Loaders, "_task", spoil)
    with Loaders(*shared(new_card()), n_threads=1, n_processes=1, n_loads=3) as loaders:
        loads = [loaders.start(each) for each in both]
        with pytest.raises(FeatcacheError, match=r"a worker failed.*IndexError"):
            loads[place].done.result()
        expected = contents(loads[1 - place].done.result())
        assert contents(loaders.start(readings[20:]).done.result()) == expected


def kill(loaders: Loaders, number: int) -> None:
    for worker in loaders._crew.workers[:number]:
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("n_killed", [1, 2])
def test_what_a_dead_process_had_is_for_the_cpu_and_the_others_go_on(
    readings: list[Reading], n_killed: int, nothing_left: None
) -> None:
    plain = readings[20:]
    with Loaders(*shared(card := new_card()), n_threads=1, n_processes=2, n_loads=3) as loaders:
        expected = contents(loaders.start(plain).done.result())
        kill(loaders, n_killed)
        for load in [loaders.start(plain) for _ in range(3)]:
            found = contents(load.done.result())
            assert all(each in (own, "reader ended") for each, own in zip(found, expected, strict=True))
        assert contents(loaders.start(plain).done.result()) == expected
    assert len(card.doubts) == n_killed
    assert "ended (killed by SIGKILL) while it read pictures: the others go on" in card.doubts[0].reason


def read(readings: list[Reading], *, each: Any = None) -> list[Prepared]:
    others = ThreadReader(RECIPE, n_threads=2, n_ahead=4, memory=1 << 20)
    found = []
    with CardReader(new_card(), others, n_threads=2, n_processes=2, memory=1 << 20) as reader:
        for prepared in reader.prepare(iter(readings)):
            found.append(prepared)
            if each is not None:
                each(reader, len(found))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("n_killed", [0, 1, 2])
def test_a_card_makes_pillows_pixels_of_what_processes_read_whatever_becomes_of_them(
    readings: list[Reading], monkeypatch: pytest.MonkeyPatch, n_killed: int, nothing_left: None
) -> None:
    monkeypatch.setattr(card_reader, "_WINDOW", 8)

    def interfere(reader: CardReader, number: int) -> None:
        if number == 9:
            kill(reader._loaders, n_killed)

    wanted = [replace(reading, row=N * i + reading.row) for i in range(4) for reading in readings]
    found = read(wanted, each=interfere)
    assert [each.reading for each in found] == wanted
    for prepared in found:
        expected = prepare(RECIPE, prepared.reading)
        assert str(prepared.faults) == str(expected.faults)
        for product, pixels in expected.inputs.items():
            np.testing.assert_array_equal(prepared.inputs[product], pixels)
    doubts = [each.way.doubt for each in found if each.way and each.way.doubt]
    assert len(doubts) == n_killed


@pytest.mark.slow
def test_an_end_in_between_leaves_nobody(
    readings: list[Reading], monkeypatch: pytest.MonkeyPatch, nothing_left: None
) -> None:
    monkeypatch.setattr(card_reader, "_WINDOW", 4)

    def interrupt(_: CardReader, number: int) -> None:
        if number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read(readings, each=interrupt)


@pytest.mark.slow
def test_a_process_that_hangs_is_not_waited_for_at_the_end(readings: list[Reading], nothing_left: None) -> None:
    with Loaders(*shared(new_card()), n_threads=1, n_processes=1, n_loads=3) as loaders:
        loaders.start(readings[20:]).done.result()
        os.kill(loaders._crew.workers[0].process.pid, signal.SIGSTOP)
        load = loaders.start(readings[20:])
    assert load.done.done()
