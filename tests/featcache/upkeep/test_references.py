"""What documents name and is not there, and what an extraction that is stopped leaves behind."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import featcache_app
from featcache.cache.failures import read_failure_file
from featcache.cache.folder import Cache
from featcache.dataset.manifest import Manifest
from featcache.extraction.partition import Partition
from featcache.extraction.run import ExtractOptions, extract
from featcache.store.opening import open_store
from featcache.upkeep.failure_list import list_failures
from featcache.upkeep.repair import repair
from featcache.upkeep.status import cache_status
from featcache.upkeep.steps import next_steps
from featcache.upkeep.verify import VerifyReport, verify

from factories import FakeSpec, make_cache, write_dataset

TEXT, IMAGE = FakeSpec("text", ("cls",)), FakeSpec("image")
A = IMAGE.fingerprint.short


def run(folder: Path, name: str = "d", *, gone: str = "2-real", parts: int = 1) -> Cache:
    """Extract a data set in which a picture cannot be read, one cannot be decoded, and one is not there."""
    if not (folder / name).exists():
        write_dataset(folder / name, n_captions=3)
        (folder / name / "0-beta.png").unlink()
    manifest = Manifest.from_source(folder / name / "manifest.csv", on_orphan="skip", name=name)
    (folder / name / "1-alpha.png").write_bytes(b"broken")
    picture = (folder / name / f"{gone}.png").read_bytes()
    (folder / name / f"{gone}.png").unlink()
    cache = make_cache(folder / "c")
    try:
        for part in range(parts):
            partition = Partition(part, parts) if parts > 1 else None
            options = ExtractOptions(device="cpu", workers=1, unit_rows=4, partition=partition, refreeze=True)
            extract(manifest, cache, [TEXT, IMAGE], options=options)
    finally:
        (folder / name / f"{gone}.png").write_bytes(picture)
    return Cache.open(cache.path)


def again(folder: Path, name: str = "d") -> None:
    """Extract once more, now that every picture can be read."""
    manifest = Manifest.from_source(folder / name / "manifest.csv", on_orphan="skip", name=name)
    extract(manifest, Cache.open(folder / "c"), [TEXT, IMAGE], options=ExtractOptions(device="cpu", unit_rows=4))


def look(cache: Cache) -> VerifyReport:
    return verify(Cache.open(cache.path), deep=True)


def told(report: VerifyReport) -> tuple[dict[str, str], dict[str, str]]:
    """Return problems and notes by the names of their files."""
    return {p.path.name: p.message for p in report.problems}, {n.path.name: n.message for n in report.notes}


def test_what_is_whole_is_sound_and_without_requests_or_failures_it_still_is(tmp_path: Path) -> None:
    cache = run(tmp_path, parts=2)
    assert look(cache).is_sound and look(cache).notes == ()
    for folder in ("requests", "plans", "failures"):
        shutil.rmtree(cache.path / folder)
    report = look(cache)
    assert report.is_sound and told(report)[1].keys() == {"read.json"}
    (cache.path / "index.json").unlink()
    assert look(cache).is_sound


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["features", "failures", "requests", "plans"])
def test_an_encoder_whose_document_is_lost_is_named_by_whatever_names_it(folder: str, tmp_path: Path) -> None:
    cache = run(tmp_path, parts=2)
    (cache.path / "index.json").unlink()
    (cache.path / "encoders" / f"{A}.json").unlink()
    for other in {"features", "failures", "requests", "plans"} - {folder}:
        shutil.rmtree(cache.path / other)
    problems, _ = told(look(cache))
    assert problems.keys() == {f"{A}.json"}
    assert f"producer '{A}', named by " in problems[f"{A}.json"] and "featcache extract" in problems[f"{A}.json"]
    report = repair(cache.path)
    assert report.moved == report.remade == () and told(report.after)[0] == problems
    printed = CliRunner().invoke(featcache_app, ["repair", str(cache.path)])
    assert printed.exit_code == 1 and "says itself what brings it back" in printed.output
    again(tmp_path)
    assert look(cache).is_sound


def test_the_document_of_an_encoder_that_the_index_copies_is_made_anew(tmp_path: Path) -> None:
    cache = run(tmp_path)
    path = cache.path / "encoders" / f"{A}.json"
    before = path.read_bytes()
    path.unlink()
    for folder in ("features", "failures", "requests"):
        shutil.rmtree(cache.path / folder)
    problems, _ = told(look(cache))
    assert "named by the index, has no readable document; `featcache repair` makes it anew" in problems[path.name]
    report = repair(cache.path)
    assert report.remade == (path,) and path.read_bytes() == before and look(cache).is_sound


def test_the_message_of_a_lost_encoder_says_where_it_was_run(tmp_path: Path) -> None:
    cache = run(tmp_path)
    (cache.path / "index.json").unlink()
    (cache.path / "encoders" / f"{A}.json").unlink()
    data = tmp_path / "d" / "manifest.csv"
    assert f"`featcache extract {data} --cache {cache.path} --name d` with" in told(look(cache))[0][f"{A}.json"]


@pytest.mark.slow
@pytest.mark.parametrize("is_asked", [True, False])
def test_a_sample_table_that_was_there_is_missed_until_it_is_read_again_or_forgotten(
    is_asked: bool, tmp_path: Path
) -> None:
    cache = run(tmp_path)
    run(tmp_path, "e")
    cache.sample_path("d").unlink()
    if not is_asked:
        shutil.rmtree(cache.path / "requests" / "d")
    problems, _ = told(look(cache))
    assert problems.keys() == {"d.h5"} and "was there and is gone" in problems["d.h5"]
    how = "featcache status" if is_asked else "featcache extract DATA --cache"
    assert how in problems["d.h5"] and "delete " in problems["d.h5"]
    report = repair(cache.path)
    assert report.moved == () and told(report.after)[0] == problems and bool(report.commands) is is_asked
    assert len(open_store(cache.path, dataset="e").arrays().sample_id) == 8
    forgotten = tmp_path / "forgotten"
    shutil.copytree(cache.path, forgotten)
    for folder in problems["d.h5"].partition("delete ")[2].split(" and "):
        shutil.rmtree(forgotten / folder)
    assert look(Cache.open(forgotten)).is_sound
    again(tmp_path)
    assert look(cache).is_sound and look(cache).notes == ()


def test_a_sample_table_in_the_quarantine_is_no_damage_any_more(tmp_path: Path) -> None:
    cache = run(tmp_path)
    cache.sample_path("d").write_bytes(b"")
    report = repair(cache.path)
    assert report.after.is_sound and len(report.commands) == 1
    assert (
        "is in the quarantine" in told(report.after)[1]["d.h5"] and "featcache status" in told(report.after)[1]["d.h5"]
    )


@pytest.mark.parametrize("folder", ["requests", "plans"])
def test_what_was_asked_for_and_never_read_is_a_note_with_the_next_step(folder: str, tmp_path: Path) -> None:
    cache = run(tmp_path, parts=2)
    cache.sample_path("d").unlink()
    shutil.rmtree(cache.path / "failures" / "samples")
    shutil.rmtree(cache.path / ("plans" if folder == "requests" else "requests"))
    report = look(cache)
    note = told(report)[1]["d.h5"]
    assert report.is_sound and f"delete {folder}/d" in note
    assert ("featcache status" if folder == "requests" else "featcache extract DATA") in note


def test_a_lost_record_of_what_could_not_be_read_is_made_anew_without_reasons(tmp_path: Path) -> None:
    cache = run(tmp_path)
    path = cache.path / "failures" / "samples" / "d" / "read.json"
    (failure,) = read_failure_file(path)
    path.unlink()
    problems, _ = told(look(cache))
    assert "unreadable pictures of data set 'd' (1 in its sample table) is lost" in problems["read.json"]
    report = repair(cache.path)
    assert report.remade == (path,) and report.after.is_sound and look(cache).notes == ()
    (made,) = read_failure_file(path)
    assert (made.sample_id, made.stage) == (failure.sample_id, "read") and "lost" in made.message
    assert {f.sample_id for f in list_failures(cache)} == {"1-alpha", failure.sample_id}
    printed = CliRunner().invoke(featcache_app, ["repair", str(cache.path)]).output
    assert "Nothing was damaged" in printed


def test_a_record_of_other_pictures_than_the_table_has_is_a_note(tmp_path: Path) -> None:
    cache = run(tmp_path)
    run(tmp_path, "e", gone="1-real")
    one, other = (cache.path / "failures" / "samples" / name / "read.json" for name in ("d", "e"))
    spare = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(spare)
    report = look(cache)
    notes = {note.path: note.message for note in report.notes}
    assert report.is_sound and notes.keys() == {one, other}
    assert "but those of data set 'e'" in notes[one] and "next `featcache extract`" in notes[one]
    for name in ("d", "e"):
        again(tmp_path, name)
    assert look(cache).notes == ()


def test_a_lost_record_of_what_was_left_out_is_a_note(tmp_path: Path) -> None:
    cache = run(tmp_path)
    (cache.path / "failures" / "samples" / "d" / "orphans.json").unlink()
    report = look(cache)
    assert report.is_sound and "left out is not on record" in told(report)[1]["orphans.json"]
    again(tmp_path)
    assert look(cache).notes == ()


class Stopped(BaseException):
    pass


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Raise in place of the publication with this number; what was published before stays."""
    count = [0]
    link, rename = os.link, Path.replace

    def counted(real: object) -> object:
        def publish(*arguments: object, **options: object) -> object:
            count[0] += 1
            if count[0] == step:
                raise Stopped
            return real(*arguments, **options)  # type: ignore[operator]

        return publish

    monkeypatch.setattr(os, "link", counted(link))
    monkeypatch.setattr(Path, "replace", counted(rename))
    return count


@pytest.mark.slow
@pytest.mark.parametrize("is_first", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_wherever_an_extraction_stops_what_it_leaves_is_sound(
    is_first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first extraction of a data set, and one of a data set of which other pictures can be read by now."""
    notes: set[str] = set()
    for step in itertools.count(1):
        folder = tmp_path / str(step)
        if not is_first:
            run(folder, parts=2)
        with monkeypatch.context() as patch:
            stop_at(step, patch)
            try:
                run(folder, parts=2, gone="2-alpha")
                break
            except Stopped:
                pass
        if (folder / "c" / "cache.json").exists():
            report = verify(Cache.open(folder / "c"), deep=True)
            assert report.is_sound, (step, report.problems)
            notes |= {note.path.name for note in report.notes}
    assert step > 8 and notes >= ({"d.h5", "index.json"} if is_first else {"read.json"})
    for stopped in (2, step // 2, step - 1):
        report = look(run(tmp_path / str(stopped), parts=2, gone="2-alpha"))
        assert report.is_sound and report.notes == (), stopped


def test_status_says_how_to_forget_a_data_set(tmp_path: Path) -> None:
    cache = run(tmp_path)
    cache.sample_path("d").unlink()
    step, look_at_failures = next_steps(cache_status(cache))
    assert look_at_failures.command == ("featcache", "failures", str(cache.path))
    assert "to forget it, delete it in requests and failures/samples" in step.why
