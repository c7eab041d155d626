"""A GPU, made up, and others share pictures: each takes its way, in one order, and all have Pillow's pixels."""

from __future__ import annotations

import gc
import hashlib
import logging
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from featcache.dataset.sample import ImageFile
from featcache.encoders.vision import ImageSpec
from featcache.extraction.preloaded import Preloaded
from featcache.extraction.preparing import card, card_reader, thread_reader
from featcache.extraction.preparing.card import Card
from featcache.extraction.preparing.card_lane import CardLane
from featcache.extraction.preparing.card_loading import Found, Loaded, PixelSpace
from featcache.extraction.preparing.card_reader import CardReader
from featcache.extraction.preparing.card_trust import Trust
from featcache.extraction.preparing.recipe import STEPS, Prepared, Reading, Recipe, prepare
from featcache.extraction.preparing.thread_reader import ThreadReader
from featcache.pictures.checked_decoder import Way
from featcache.pictures.jpeg_kind import JpegHeader, JpegKind
from featcache.pictures.preprocess import Preprocessor
from featcache.pictures.views import parse_view

from cards import FakeCardDecoder, FakeCardResizer, FakePerturber
from factories import FakeSpec

N = 40


class Spec(ImageSpec):
    """An encoder of which there is but what it does to pictures."""

    def __init__(self) -> None:
        object.__setattr__(self, "preprocessor", Preprocessor(resize=8, crop=(8, 8)))

    @property
    def device_preprocessor(self) -> Preprocessor:
        return self.preprocessor


RECIPE = Recipe(((parse_view("clean"), Spec()),))


RESIZER = FakeCardResizer(RECIPE.products[0][1].prepare)


@pytest.fixture
def readings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Reading]:
    monkeypatch.setattr(card_reader, "_WINDOW", 8)
    rng, found = np.random.default_rng(0), []
    for number in range(N):
        levels = rng.integers(0, 256, (rng.integers(9, 30), rng.integers(9, 30), 3), dtype=np.uint8)
        path = tmp_path / f"{number}.jpg"
        exif = Image.Exif()
        exif[0x0112] = 1 + number % 8
        other: dict[str, Any] = {"progressive": True} if number % 7 == 3 else {"exif": exif} if number % 5 == 2 else {}
        Image.fromarray(levels).save(path, "PNG" if number % 11 == 4 else "JPEG", **other)
        if number == 20:
            path.write_bytes(path.read_bytes()[:200])
        data = path.read_bytes()
        if number == 30:
            path.unlink()
        key = hashlib.sha256(data).digest()
        found.append(Reading(number // 16, number, ImageFile(str(path)), key, (0,), 1000, is_sample=number % 9 == 0))
    return found


def run(readings: list[Reading], decoder: FakeCardDecoder) -> tuple[list[Prepared], Card]:
    card = Card(RECIPE, CardLane(decoder, {0: RESIZER}))
    others = ThreadReader(RECIPE, n_threads=2, n_ahead=4, memory=1 << 20)
    with CardReader(card, others, n_threads=2, memory=1 << 20) as reader:
        return list(reader.prepare(iter(readings))), card


def check(found: list[Prepared], readings: list[Reading]) -> None:
    assert [each.reading for each in found] == readings
    check_pixels(found)


def check_pixels(found: list[Prepared]) -> None:
    for each in found:
        expected = prepare(RECIPE, each.reading)
        assert each.faults.keys() == expected.faults.keys(), each.reading.row
        assert [str(fault) for fault in each.faults.values()] == [str(fault) for fault in expected.faults.values()]
        for product, pixels in expected.inputs.items():
            np.testing.assert_array_equal(each.inputs[product], pixels)


def ways(found: list[Prepared]) -> dict[str, int]:
    names = [each.way.decoder if each.way else "none" for each in found]
    return {name: names.count(name) for name in set(names)}


def test_each_picture_takes_its_way_and_all_keep_their_order(readings: list[Reading]) -> None:
    found, _ = run(readings, FakeCardDecoder(refused=frozenset({3, 5})))
    check(found, readings)
    assert ways(found)["fake"] > 20
    assert not [each for each in found if each.way and each.way.doubt]
    others = {each.reading.row for each in found if each.way is None or each.way.decoder != "fake"}
    assert {3, 4, 15, 20, 30} <= others


@dataclass
class Meeting(FakeCardDecoder):
    """Decodes for the first time only while another lane does, too, and does not always take the same time."""

    others: threading.Barrier = field(default_factory=lambda: threading.Barrier(2, timeout=30))

    def decode(self, files: Sequence[bytes | memoryview], headers: Sequence[JpegHeader]) -> list[torch.Tensor | None]:
        if not self.calls:
            self.others.wait()
        time.sleep(0.02 * (len(self.calls) % 3))
        return super().decode(files, headers)


def run_in_lanes(readings: list[Reading], *decoders: FakeCardDecoder) -> tuple[list[Prepared], Card]:
    card = Card(RECIPE, *[CardLane(decoder, {0: RESIZER}) for decoder in decoders])
    return list(run_on(card, readings)), card


def test_lanes_work_at_once_and_the_order_stays(readings: list[Reading]) -> None:
    first, second = Meeting(), Meeting()
    second.others = first.others
    found, card = run_in_lanes(readings, first, second)
    check(found, readings)
    assert ways(found)["fake"] > 20 and not card.doubts and not first.others.broken
    assert min(first.n_seen, second.n_seen) > 0


def test_lanes_that_fail_at_once_give_the_card_up_in_one_line(readings: list[Reading]) -> None:
    decoders = [FakeCardDecoder(error=RuntimeError("an illegal memory access was encountered")) for _ in range(2)]
    found, card = run_in_lanes(readings, *decoders)
    check(found, readings)
    doubts = [each.way.doubt for each in found if each.way and each.way.doubt]
    assert card.is_given_up and len(doubts) == 1 and doubts[0].reason.startswith("failed 3 times")


@pytest.mark.parametrize("wrong", [frozenset(range(99)), frozenset(range(8, 99))])
def test_a_lane_that_lies_where_the_other_does_not_is_found_out_by_samples(
    readings: list[Reading], wrong: frozenset[int]
) -> None:
    sampled = [replace(reading, is_sample=True) for reading in readings]
    found, _ = run_in_lanes(sampled, FakeCardDecoder(), FakeCardDecoder(wrong=wrong))
    check(found, sampled)
    assert all(doubt.is_wrong for each in found if each.way and (doubt := each.way.doubt))


def test_the_first_pictures_of_a_kind_are_compared_in_each_lane(readings: list[Reading]) -> None:
    unsampled = [replace(reading, is_sample=False) for reading in readings]
    sound, liar = Meeting(), Meeting(wrong=frozenset(range(99)))
    liar.others = sound.others
    found, _ = run_in_lanes(unsampled, sound, liar)
    check(found, unsampled)
    assert [doubt.is_wrong for each in found if each.way and (doubt := each.way.doubt)] == [True]


def test_what_does_not_fit_is_halved_in_each_lane(readings: list[Reading]) -> None:
    found, card = run_in_lanes(readings, FakeCardDecoder(most=2), FakeCardDecoder(most=1))
    check(found, readings)
    assert not card.is_given_up and ways(found)["fake"] > 20


def test_turned_pictures_stand_upright(readings: list[Reading]) -> None:
    found, _ = run(readings, FakeCardDecoder())
    turned = [each for each in found if each.reading.row % 5 == 2 and each.way and each.way.decoder == "fake"]
    assert len({each.reading.row % 8 for each in turned}) >= 5
    check(found, readings)


def test_a_lie_about_a_sample_ends_the_trust_in_its_kind(readings: list[Reading]) -> None:
    decoder = FakeCardDecoder(wrong=frozenset(range(15, 1000)))
    found, card = run(readings, decoder)
    doubts = [each.way.doubt for each in found if each.way and each.way.doubt]
    assert len(doubts) == 1
    assert doubts[0].is_wrong
    assert doubts[0].kind is not None
    again = [each for each in run_on(card, readings) if each.way and each.way.decoder == "fake"]
    assert not again


def run_on(card: Card, readings: list[Reading]) -> Iterator[Prepared]:
    others = ThreadReader(RECIPE, n_threads=2, n_ahead=4, memory=1 << 20)
    with CardReader(card, others, n_threads=2, memory=1 << 20) as reader:
        yield from reader.prepare(iter(readings))


def test_what_does_not_fit_together_is_done_in_parts(readings: list[Reading]) -> None:
    decoder = FakeCardDecoder(most=2)
    found, card = run(readings, decoder)
    check(found, readings)
    assert not card.is_given_up
    assert ways(found)["fake"] > 20
    assert max(decoder.calls) == 8 or max(decoder.calls) > 2


class Watching(FakeCardDecoder):
    """Notes how many of the pictures that it made before are still there when it is asked again."""

    made: Sequence[weakref.ref[torch.Tensor]] = ()
    n_held = 0

    def decode(self, files: Sequence[Any], headers: Sequence[JpegHeader]) -> list[torch.Tensor | None]:
        self.n_held += sum(each() is not None for each in self.made)
        found = super().decode(files, headers)
        self.made = [weakref.ref(each) for each in found if each is not None]
        return found


def test_what_a_failed_try_made_is_freed_before_the_next_and_doubts_survive(readings: list[Reading]) -> None:
    decoder, plain = Watching(wrong=frozenset({4, 5})), [reading for reading, _ in plain_work(readings)]
    card = Card(RECIPE, CardLane(decoder, {0: FakeCardResizer(RESIZER.prepare, most=3)}))
    (doubt,) = [each.way.doubt for each in run_on(card, plain[:4]) if each.way and each.way.doubt]
    assert decoder.calls == [4, 2, 2] and decoder.n_held == 0
    assert doubt.is_wrong and doubt.kind is not None


def test_what_fails_in_pillow_is_no_failure_of_the_card(
    readings: list[Reading], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Prepared:
        raise MemoryError

    monkeypatch.setattr(thread_reader, "prepare", fail)
    decoder, plain = FakeCardDecoder(), [reading for reading, _ in plain_work(readings)]
    card = Card(RECIPE, CardLane(decoder, {0: RESIZER}))
    with pytest.raises(MemoryError):
        list(run_on(card, plain[:4]))
    assert decoder.calls == [4] and not card.is_given_up and not card.doubts


def load(card: Card, reading: Reading) -> Found:
    """Read a picture that is not to be decoded."""
    return card.load(reading, PixelSpace(np.empty(0, np.uint8), 2), 0)


def plain_work(readings: list[Reading]) -> list[tuple[Reading, Loaded]]:
    """Return those that a card takes, loaded."""
    loading = Card(RECIPE, CardLane(FakeCardDecoder(), {0: RESIZER}))
    return [(each, loaded) for each in readings if isinstance(loaded := load(loading, each), Loaded)]


@pytest.mark.parametrize("stray", [b"\xff\xc8\xff\xd9", b"\xff\xff\xda", b""])
def test_files_whose_scan_does_not_end_with_them_are_for_pillow(readings: list[Reading], stray: bytes) -> None:
    reading, loaded = plain_work(readings)[0]
    path = Path(str(reading.image.path))
    path.write_bytes(loaded.data[:-20] + stray)
    assert load(Card(RECIPE, CardLane(FakeCardDecoder(), {0: RESIZER})), reading) == "refused"
    path.write_bytes(loaded.data[:-2] + b"\xff\x00\xff\xd3\xff\xff\xd9" + stray)
    assert load(Card(RECIPE, CardLane(FakeCardDecoder(), {0: RESIZER})), reading) == ""


class Lenient(FakeCardDecoder):
    """Makes black pictures, also of what Pillow refuses."""

    def decode(self, _: Sequence[Any], headers: Sequence[JpegHeader]) -> list[torch.Tensor | None]:
        return [torch.zeros((each.height, each.width, 3), dtype=torch.uint8) for each in headers]


def damaged(reading: Reading, path: Path) -> Reading:
    """Return a picture whose quantization tables are called something else: its header and its end are in order."""
    path.write_bytes(reading.image.read_bytes().replace(b"\xff\xdb", b"\xff\xef"))
    return replace(reading, image=ImageFile(str(path)), key=hashlib.sha256(path.read_bytes()).digest())


@pytest.mark.parametrize("n_sound", [1, 5])
def test_damaged_pictures_say_nothing_about_their_kind_and_the_next_is_compared_instead(
    readings: list[Reading], tmp_path: Path, n_sound: int
) -> None:
    plain = [replace(reading, is_sample=False) for reading, _ in plain_work(readings)]
    wanted = [damaged(each, tmp_path / f"damaged-{each.row}.jpg") for each in plain[:4]] + plain[4 : 4 + n_sound]
    found = list(run_on(Card(RECIPE, CardLane(Lenient(), {0: RESIZER})), wanted))
    for each in found[:2]:
        assert not each.inputs and each.faults and each.way == Way(why="refused")
        assert str(each.faults[0]) == str(prepare(RECIPE, each.reading).faults[0])
    (doubted,) = [each for each in found if each.way and each.way.doubt]
    assert doubted.reading == plain[4]
    check_pixels(found)


def test_no_more_pixels_than_fit_are_on_the_card_at_once(
    readings: list[Reading], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "_PIXELS_AT_ONCE", 800)
    decoder = FakeCardDecoder()
    found, _ = run(readings, decoder)
    check(found, readings)
    assert ways(found)["fake"] > 20 and 1 < max(decoder.calls) < 8


@pytest.mark.parametrize(
    ("file_bytes", "limit", "most"),
    [
        (1, {"_WINDOW_BYTES": 2500}, 6),
        (100, {"_WINDOW_BYTES": 250}, 3),
        (0, {"_WINDOW_BYTES": 2500}, 3),
        (1, {"_PRODUCT_BYTES": 192 * 8}, 2),
    ],
)
def test_windows_are_as_large_as_their_files_and_what_comes_of_them_allow(
    readings: list[Reading], monkeypatch: pytest.MonkeyPatch, file_bytes: int, limit: dict[str, int], most: int
) -> None:
    for name, value in limit.items():
        monkeypatch.setattr(card_reader, name, value)
    decoder, found, n_waiting = FakeCardDecoder(), [], 0
    others = ThreadReader(RECIPE, n_threads=2, n_ahead=4, memory=1 << 20)
    with CardReader(Card(RECIPE, CardLane(decoder, {0: RESIZER})), others, n_threads=2, memory=1 << 20) as reader:
        for prepared in reader.prepare(iter([replace(each, file_bytes=file_bytes) for each in readings])):
            n_waiting = max(n_waiting, reader._n_waiting)
            found.append(replace(prepared, reading=replace(prepared.reading, file_bytes=0)))
    check(found, readings)
    assert max(decoder.calls) == most and n_waiting < (8 if most == 2 else 32)


def test_a_card_that_fails_is_given_up_and_nothing_is_lost(
    readings: list[Reading], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    found, card = run(readings, FakeCardDecoder(error=RuntimeError("an illegal memory access\nwas encountered")))
    check(found, readings)
    assert card.is_given_up
    doubts = [each.way.doubt for each in found if each.way and each.way.doubt]
    assert [doubt.reason for doubt in doubts] == [
        "failed 3 times, at last with RuntimeError: an illegal memory access was encountered"
    ]
    assert "the GPU failed with 1 pictures\nTraceback" in caplog.text  # where, for those who look for it


def test_a_card_that_is_ahead_of_all_use_ends_nothing_early(
    readings: list[Reading], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card_reader, "_WINDOW", 4)
    others = ThreadReader(RECIPE, n_threads=2, n_ahead=4, memory=1 << 20)
    card, found = Card(RECIPE, CardLane(FakeCardDecoder(), {0: RESIZER})), []
    plain = [reading for reading in readings if isinstance(load(card, reading), Loaded) and reading.row != 20]
    assert len(plain) > 5 * 4
    with CardReader(card, others, n_threads=2, memory=1 << 20) as reader:
        for prepared in reader.prepare(iter(plain)):
            found.append(prepared.reading)
            wait([done for _, done in reader._windows])
    assert found == plain


def test_readings_may_pause(readings: list[Reading]) -> None:
    card, n = Card(RECIPE, CardLane(FakeCardDecoder(), {0: RESIZER})), 0

    def some() -> Iterator[Reading | None]:
        for reading in readings:
            yield reading
            while reading.row - n > 10:
                yield None

    others = ThreadReader(RECIPE, n_threads=2, n_ahead=4, memory=1 << 20)
    found = []
    with CardReader(card, others, n_threads=2, memory=1 << 20) as reader:
        for prepared in reader.prepare(some()):
            n += 1
            found.append(prepared)
    check(found, readings)


def test_products_are_divided_into_what_the_card_makes_and_what_is_for_the_others(readings: list[Reading]) -> None:
    recipe = Recipe(tuple((parse_view(view), Spec()) for view in ("clean", "hflip+jpeg:50", "hflip")))
    assert list(Card.products_of(recipe)) == [0, 2]
    card = Card(recipe, CardLane(FakeCardDecoder(), {0: RESIZER, 2: RESIZER}, FakePerturber()))
    assert [list(card.divide(each)) for each in ((0, 1, 2), (2,), (1,))] == [[(0, 2), (1,)], [(2,)], [(1,)]]
    assert card.takes(readings[0]) and not card.takes(replace(readings[0], products=(0, 1)))
    card.is_given_up = True
    assert list(card.divide((0, 1, 2))) == [(0, 1, 2)]


def test_encoders_that_are_loaded_already_have_a_card_and_those_of_others_have_none() -> None:
    class Other(ImageSpec):
        preprocessor = RECIPE.products[0][1].preprocessor

        def __init__(self) -> None:
            pass

    specs = (Preloaded(Spec(), FakeSpec("image").load("cpu")), Other(), FakeSpec("image"))
    assert list(Card.products_of(Recipe(tuple((parse_view("clean"), spec) for spec in specs)))) == [0]


def test_nothing_of_the_card_is_left_when_a_reader_ends(readings: list[Reading]) -> None:
    gc.collect()
    gc.disable()
    try:
        card = Card(RECIPE, CardLane(FakeCardDecoder(), {0: RESIZER}))
        left = weakref.ref(card)
        assert len(list(run_on(card, readings))) == len(readings)
        del card
        assert left() is None
    finally:
        gc.enable()


class Noting(ThreadReader):
    """Notes what Pillow alone is to make, and when."""

    def __init__(self) -> None:
        super().__init__(RECIPE, n_threads=2, n_ahead=16, memory=1 << 20)
        self.checks: list[int] = []

    def _prepare(self, reading: Reading) -> Prepared:
        if reading.by_pillow:
            self.checks.append(reading.row)
        return super()._prepare(reading)


def test_samples_are_made_ahead_compared_before_they_are_used_and_their_time_is_that_of_the_check(
    readings: list[Reading], monkeypatch: pytest.MonkeyPatch
) -> None:
    compared, n_used = dict[int, int](), 0
    compare = Trust.compare

    def note(self: Trust, made: Prepared, *others: Any) -> Prepared:
        compared[made.reading.row] = n_used
        return compare(self, made, *others)

    monkeypatch.setattr(Trust, "compare", note)
    plain = [replace(reading, row=i, is_sample=i in (9, 13)) for i, (reading, _) in enumerate(plain_work(readings))]
    card = Card(RECIPE, CardLane(FakeCardDecoder(), {0: RESIZER}))
    with CardReader(card, others := Noting(), n_threads=2, memory=1 << 20) as reader:
        found = []
        for prepared in reader.prepare(iter(plain)):
            found.append(prepared)
            n_used += 1
            if n_used == 1:
                assert {9, 13} <= {window.readings[place].row for window, place, _ in reader._sent} | set(others.checks)
    assert [each.reading for each in found] == plain
    check_pixels(found)
    assert set(compared) == set(others.checks) == {0, 1, 9, 13}
    assert all(n_before <= row for row, n_before in compared.items())
    took = {each.reading.row for each in found if each.seconds[STEPS.index("check")] > 0}
    assert took == set(compared) and all(each.way == Way("fake", kind=plain_kind(found)) for each in found)


def plain_kind(found: list[Prepared]) -> JpegKind:
    (kind,) = {each.way.kind for each in found if each.way and each.way.kind}
    return kind


def test_what_was_made_of_a_kind_and_not_used_is_made_again_after_a_lie(readings: list[Reading]) -> None:
    plain = [replace(reading, is_sample=i == 20) for i, (reading, _) in enumerate(plain_work(readings))]
    found = list(run_on(Card(RECIPE, CardLane(FakeCardDecoder(wrong=frozenset(range(18, 99))), {0: RESIZER})), plain))
    assert [each.reading for each in found] == plain
    (doubted,) = [i for i, each in enumerate(found) if each.way and each.way.doubt]
    assert doubted == 20
    check_pixels([each for i, each in enumerate(found) if i not in (18, 19)])  # who uses them knows what is void
    assert {str(each.way) for each in found[20:]} == {"pillow: not trusted"}


def test_an_end_in_between_leaves_nobody(readings: list[Reading]) -> None:
    card = Card(RECIPE, CardLane(FakeCardDecoder(), {0: RESIZER}))
    others = ThreadReader(RECIPE, n_threads=2, n_ahead=4, memory=1 << 20)
    with pytest.raises(KeyboardInterrupt), CardReader(card, others, n_threads=2, memory=1 << 20) as reader:
        for number, _ in enumerate(reader.prepare(iter(readings))):
            if number == 12:
                raise KeyboardInterrupt
