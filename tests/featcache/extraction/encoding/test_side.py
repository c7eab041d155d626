"""Laws of units that take long: what is done of them is published, and a resumed extraction does the rest alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from featcache.cache.failures import read_failures
from featcache.cache.folder import Cache
from featcache.extraction.encoding import job, side
from featcache.extraction.fault import Fault
from featcache.extraction.planning.plan import Plan, build_plan
from featcache.extraction.results import Event
from featcache.extraction.run import ExtractOptions, ExtractResult, extract
from featcache.extraction.survey.scan import scan
from featcache.store.shard_set import ShardSet
from featcache.upkeep.verify import verify

from factories import FakeEncoder, FakeSpec, make_cache, read_manifest, write_dataset

TESTS = Path(__file__).resolve().parents[3]
PLAIN = {"image": FakeSpec("image"), "text": FakeSpec("text", ("cls",))}


class Interrupted(Exception):
    """The end of an extraction that somebody interrupts."""


@dataclass(frozen=True)
class Dying(FakeSpec):
    """An encoder in whose hands an extraction ends, at a batch: counted from 1, 0 for never."""

    deadly: int = 0
    how: Any = None

    def load(self, device: str, *, compile: bool = False) -> FakeEncoder:
        return DyingEncoder(self)


@dataclass(frozen=True)
class DyingEncoder(FakeEncoder):
    spec: Dying

    def encode(self, batch: Sequence[Any]) -> Mapping[str, NDArray[np.float32]]:
        vectors = super().encode(batch)
        if len(self.spec.log) == self.spec.deadly:
            self.spec.how()
        return vectors


def interrupt() -> None:
    raise Interrupted


def dying(content: str, deadly: int) -> Dying:
    plain = PLAIN[content]
    return Dying(plain.modality, plain.outputs, deadly=deadly, how=interrupt)


def run(data: Path, cache: Path, spec: FakeSpec, **options: Any) -> ExtractResult:
    settings = ExtractOptions(device="cpu", batch_size=2, workers=1, unit_rows=100)
    return extract(read_manifest(data), make_cache(cache), [spec], options=settings, **options)


def stored(cache: Path, spec: FakeSpec) -> ShardSet:
    return ShardSet.open(Cache.open(cache), spec.fingerprint, "clean")


def vectors(cache: Path, spec: FakeSpec) -> dict[bytes, bytes]:
    """What is stored, each content once."""
    (output,) = spec.outputs
    keys = stored(cache, spec).keys(output)
    found, _ = stored(cache, spec).gather([output], keys)
    assert len({bytes(key) for key in keys}) == len(keys)
    return {bytes(key): vector.tobytes() for key, vector in zip(keys, found, strict=True)}


def plan_of(data: Path, cache: Path, spec: FakeSpec, *, retry: Sequence[str] | None = None) -> Plan:
    table = scan(read_manifest(data)).table
    return build_plan(make_cache(cache), spec, table, view="clean", unit_rows=100, retry=retry)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve captions, and 36 pictures of which one cannot be decoded."""
    data = write_dataset(tmp_path / "d", n_captions=12)
    (data.parent / "0-real.png").write_bytes(b"no picture")
    return data


@pytest.fixture
def every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is due at once."""
    monkeypatch.setattr(job, "SPLIT_SECONDS", 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("content", ["image", "text"])
def test_what_is_done_of_a_slow_unit_outlives_an_interruption_and_only_the_rest_is_encoded(
    data: Path, tmp_path: Path, every_batch: None, content: str
) -> None:
    whole, cache, spec = tmp_path / "whole", tmp_path / "c", PLAIN[content]
    n_batches = len(plan_batches(data, whole, spec))
    with pytest.raises(Interrupted):
        run(data, cache, dying(content, deadly=4))
    saved = vectors(cache, spec)
    assert len(saved) >= 4 and verify(make_cache(cache), deep=True).is_sound
    (left,) = plan_of(data, cache, spec).units
    assert left.number == 0 and not list(cache.glob("claims/*/*/*"))
    resumed = FakeSpec(spec.modality, spec.outputs)
    result = run(data, cache, resumed)
    assert result.n_encoded == len(vectors(whole, spec)) - len(saved)
    assert vectors(cache, spec) == vectors(whole, spec)
    assert len(resumed.log) == n_batches - len(saved) // 2
    assert verify(make_cache(cache), deep=True).is_sound


def plan_batches(data: Path, cache: Path, spec: FakeSpec) -> list[int]:
    """Return the sizes of the batches of one pass, of which each batch is split off."""
    own = FakeSpec(spec.modality, spec.outputs)
    events: list[Event] = []
    run(data, cache, own, events=events.append)
    told = [event.fields for event in events if event.name == "unit"]
    n_failed = 1 if spec.modality == "image" else 0
    assert sum(each["n_rows"] for each in told) == sum(own.log) and sum(each["n_failed"] for each in told) == n_failed
    assert len({each["unit"] for each in told}) == len(told) == len(list(cache.glob("features/*/*/*.h5")))
    return own.log


def test_without_delay_units_are_published_whole(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(data, tmp_path / "a", PLAIN["image"])
    (path,) = tmp_path.glob("a/features/*/*/*.h5")
    assert path.stem == plan_of(data, tmp_path / "b", PLAIN["image"]).units[0].name


def test_a_writer_that_planned_before_takes_over_what_a_dead_one_left_of_a_unit(
    data: Path, tmp_path: Path, every_batch: None
) -> None:
    cache, spec = tmp_path / "c", PLAIN["image"]
    table, early = scan(read_manifest(data)).table, plan_of(data, cache, spec)
    (unit,) = early.units
    with pytest.raises(Interrupted):
        run(data, cache, dying("image", deadly=5))
    waiting = side.Side(0, early, table, make_cache(cache))
    n_saved = len(vectors(cache, spec))
    (expected,) = plan_of(data, cache, spec).units
    while (left := waiting.left_of(unit)) is not unit:
        unit = left
    assert (unit.name, unit.contents.tolist()) == (expected.name, expected.contents.tolist())
    assert waiting.n_elsewhere == n_saved and waiting.n_failed_elsewhere == 1
    run(data, cache, spec)
    while not waiting.is_done_elsewhere(unit):
        unit = waiting.left_of(unit)
    assert (waiting.n_elsewhere, waiting.n_failed_elsewhere) == (35, 1)


def test_a_unit_that_waits_for_its_first_batch_is_not_due(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(job.time, "monotonic", lambda: now[0])
    (unit,) = plan_of(data, tmp_path / "c", PLAIN["text"]).units
    begun = job.Job(0, unit, "float16")
    for part in range(2):
        now[0] += 2 * job.SPLIT_SECONDS
        assert not begun.is_due
        begun.add(unit.contents[2 * part : 2 * part + 2], {"cls": np.ones((2, 4), np.float32)})
        assert not begun.is_due
        now[0] += job.SPLIT_SECONDS
        assert begun.is_due
        begun.split(replace(unit, contents=begun.left))


def test_what_another_has_in_hand_of_a_unit_is_not_split_off(data: Path, tmp_path: Path, every_batch: None) -> None:
    cache, spec = tmp_path / "c", PLAIN["text"]
    table = scan(read_manifest(data)).table
    own = side.Side(0, plan_of(data, cache, spec), table, make_cache(cache))
    begun = own.job(own.plan.units[0])
    with own.open_claims(timeout=60) as claims:
        assert own.split(begun, claims) is None
        begun.add(begun.unit.contents[:2], {"cls": np.ones((2, 4), np.float32)})
        with side.Side(1, own.plan, table, make_cache(cache)).open_claims(timeout=60) as theirs:
            rest = own._rest(begun.unit, begun.unit.contents[2:])
            assert theirs.take(rest.name) and own.split(begun, claims) is None
        done = own.split(begun, claims)
        assert done is not None and (len(done.rows), begun.in_hand.name) == (2, rest.name)
        assert own.finish(begun).vectors["cls"].shape == (0, 4)


def test_of_a_unit_that_is_begun_again_nothing_is_published_when_the_work_ends(data: Path, tmp_path: Path) -> None:
    cache, spec = tmp_path / "c", PLAIN["text"]
    own = side.Side(0, plan_of(data, cache, spec), scan(read_manifest(data)).table, make_cache(cache))
    begun = own.job(own.plan.units[0])
    begun.add(begun.unit.contents[:2], {"cls": np.ones((2, 4), np.float32)})
    with own.open_claims(timeout=60) as claims:
        begun.is_void = True
        assert not list(own.split_begun(claims))
        begun.is_void = False
        assert [len(each.rows) for each in own.split_begun(claims)] == [2]


def test_of_two_writers_without_claims_none_loses_rows_to_the_name_of_the_other(data: Path, tmp_path: Path) -> None:
    cache, spec = tmp_path / "c", PLAIN["text"]
    table = scan(read_manifest(data)).table
    own = side.Side(0, plan_of(data, cache, spec), table, make_cache(cache))
    unit = own.plan.units[0]
    with own.open_claims(timeout=60) as claims:
        for n in (2, 5):
            rows = unit.contents[:n]
            own.publish(job.EncodedUnit(unit, rows, {"cls": np.ones((n, 4), np.float32)}, (), {}), claims)
    assert stored(cache, spec).contains("cls", table.keys("text")[unit.contents]).sum() == 5


@pytest.mark.parametrize("n_theirs", [0, 5, 7, 12])
def test_who_lost_a_unit_splits_nothing_off_and_publishes_what_is_not_stored(
    data: Path, tmp_path: Path, every_batch: None, n_theirs: int
) -> None:
    cache, spec = tmp_path / "c", PLAIN["text"]
    table, ones = scan(read_manifest(data)).table, np.ones((12, 4), np.float32)
    own, theirs = (side.Side(0, plan_of(data, cache, spec), table, make_cache(cache)) for _ in range(2))
    (unit,) = own.plan.units
    with own.open_claims(timeout=60) as claims, theirs.open_claims(timeout=60) as their_claims:
        assert claims.take(unit.name)
        begun = own.job(unit)
        begun.add(unit.contents[:3], {"cls": ones[:3]})
        (own.claim_folder / f"{unit.name}.json").rename(tmp_path / "lost")
        assert their_claims.take(unit.name) and own.split(begun, claims) is None
        other = theirs.job(unit)
        other.add(unit.contents[:n_theirs], {"cls": ones[:n_theirs]})
        if done := theirs.finish(other) if n_theirs == 12 else theirs.split(other, their_claims):
            theirs.publish(done, their_claims)
        begun.add(unit.contents[3:], {"cls": ones[3:]})
        own.publish(own.finish(begun), claims)
        other.add(unit.contents[n_theirs:], {"cls": ones[n_theirs:]})
        theirs.publish(theirs.finish(other), their_claims)
    assert len(vectors(cache, spec)) == 12
    assert not list(cache.glob("claims/*/*/*"))


@pytest.mark.parametrize("n_theirs", [0, 5, 11])
def test_a_unit_is_not_lost_because_a_shard_of_another_writer_cannot_be_read(
    data: Path, tmp_path: Path, n_theirs: int
) -> None:
    cache, spec = tmp_path / "c", PLAIN["text"]
    table = scan(read_manifest(data)).table
    own, theirs = (side.Side(0, plan_of(data, cache, spec), table, make_cache(cache)) for _ in range(2))
    (unit,) = own.plan.units
    bad = Cache.open(cache).shard_folder(spec.fingerprint, "clean") / f"{'f' * 32}.h5"
    with own.open_claims(timeout=60) as claims:
        for each, n in ((theirs, n_theirs), (own, 12)):
            bad.unlink(missing_ok=True)
            if each is own:
                bad.parent.mkdir(parents=True, exist_ok=True)
                bad.write_bytes(b"no shard")
            each.publish(job.EncodedUnit(unit, unit.contents[:n], {"cls": np.ones((n, 4), np.float32)}, (), {}), claims)
    bad.unlink()
    assert len(vectors(cache, spec)) == own.result().n_encoded == 12


@pytest.mark.parametrize(("n_races", "n_stored"), [(1, 12), (3, 12), (4, 11)])
def test_who_is_forestalled_under_a_name_tries_others_and_counts_what_is_stored(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_races: int, n_stored: int
) -> None:
    cache, spec = tmp_path / "c", PLAIN["text"]
    own = side.Side(0, plan_of(data, cache, spec), scan(read_manifest(data)).table, make_cache(cache))
    (unit,) = own.plan.units
    write, n_written = own._write, []

    def forestalled(encoded: job.EncodedUnit) -> bool:
        n_written.append(len(encoded.rows))
        if len(n_written) <= n_races:  # all that is left but for a row is published just before
            few = slice(None, -1) if len(n_written) == n_races else slice(0, 1)
            assert write(replace(encoded, rows=encoded.rows[few], vectors={"cls": encoded.vectors["cls"][few]}))
        return write(encoded)

    monkeypatch.setattr(own, "_write", forestalled)
    with own.open_claims(timeout=60) as claims:
        told = own.publish(job.EncodedUnit(unit, unit.contents, {"cls": np.ones((12, 4), np.float32)}, (), {}), claims)
    assert len(vectors(cache, spec)) == own.result().n_encoded == told == n_stored


def test_a_claim_that_somebody_deleted_is_taken_again_before_something_is_split_off(
    data: Path, tmp_path: Path, every_batch: None
) -> None:
    own = side.Side(
        0, plan_of(data, tmp_path / "c", PLAIN["text"]), scan(read_manifest(data)).table, make_cache(tmp_path / "c")
    )
    (unit,) = own.plan.units
    with own.open_claims(timeout=60) as claims:
        assert claims.take(unit.name)
        (own.claim_folder / f"{unit.name}.json").unlink()
        begun = own.job(unit)
        begun.add(unit.contents[:3], {"cls": np.ones((3, 4), np.float32)})
        assert own.split(begun, claims) is not None and claims.holds(unit.name)


def test_a_part_of_a_unit_that_failed_before_leaves_the_others_of_its_failures_on_record(
    data: Path, tmp_path: Path
) -> None:
    cache, spec = tmp_path / "c", PLAIN["text"]
    table, fault = scan(read_manifest(data)).table, Fault("encode", "ValueError", "bad")
    for n_stored in (0, 2):
        plan = plan_of(data, cache, spec, retry=() if n_stored else None)
        own, (unit,) = side.Side(0, plan, table, make_cache(cache)), plan.units
        begun, rows = own.job(unit), unit.contents
        for row in rows if not n_stored else rows[2:3]:
            begun.fail(int(row), own.failure(int(row), fault))
        with own.open_claims(timeout=60) as claims:
            begun.add(rows[:n_stored], {"cls": np.ones((n_stored, 4), np.float32)})
            done = own.split(begun, claims) if n_stored else own.finish(begun)
            assert done is not None
            own.publish(done, claims)
    keys = [bytes(key).hex() for key in table.keys("text")[rows[2:]]]
    found = {failure.key: failure.attempt for failure in read_failures(Cache.open(cache), spec.fingerprint, "clean")}
    assert found == dict.fromkeys(keys, 1) | {keys[0]: 2}


KILLED = """
import os, signal, sys, time
sys.path[:0] = sys.argv[1:3]
from featcache.extraction.encoding import job
from tests.featcache.extraction.encoding.test_side import Dying, run
from pathlib import Path
job.SPLIT_SECONDS = 0.0
count = lambda: len(list(Path(sys.argv[4]).glob("features/*/*/[!.]*.h5")))
before = count()
def die():
    while count() == before:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
run(Path(sys.argv[3]), Path(sys.argv[4]), Dying("image", deadly=4, how=die))
"""


@pytest.mark.slow
def test_a_killed_slow_extraction_goes_on_from_what_was_split_off(data: Path, tmp_path: Path) -> None:
    cache, spec = tmp_path / "c", PLAIN["image"]
    sizes = [0]
    words = [str(word) for word in (TESTS, TESTS.parent, data, cache)]
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", KILLED, *words], env=dict(os.environ), check=False)
        assert done.returncode == -signal.SIGKILL
        assert verify(make_cache(cache), deep=True).is_sound
        sizes.append(len(vectors(cache, spec)))
    assert np.diff(sizes).min() >= 2
    run(data, cache, spec)
    run(data, tmp_path / "whole", spec)
    assert vectors(cache, spec) == vectors(tmp_path / "whole", spec)
    assert [f.sample_id for f in read_failures(Cache.open(cache), spec.fingerprint, "clean")] == ["0-real"]
    assert not list(cache.glob("claims/*/*/*"))


def test_a_unit_is_told_with_the_rows_that_are_stored(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = list[Event]()
    monkeypatch.setattr(side.Side, "_write", lambda own, encoded: False)
    monkeypatch.setattr(side.Side, "_write_missing", lambda own, encoded: len(encoded.rows) - 1)
    result = run(data, tmp_path / "c", PLAIN["text"], events=events.append)
    (told,) = (event.fields for event in events if event.name == "unit")
    assert told["n_rows"] == result.n_encoded == 11
