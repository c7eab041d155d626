"""One plan for an extraction and its forecast: a dry one is the same, and writes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache.folder import Cache, Defaults
from featcache.cache.requests import read_requests
from featcache.cache.samples import read_samples
from featcache.dataset.manifest import Manifest
from featcache.extraction.options import ExtractOptions
from featcache.extraction.partition import Partition
from featcache.extraction.planning.extraction_plan import ExtractionPlan, plan_extraction
from featcache.extraction.results import Event
from featcache.extraction.work import Extraction, Work

from factories import FakeSpec, make_cache, read_manifest, write_dataset

TEXT, IMAGE = FakeSpec("text", ("cls",)), FakeSpec("image")


def plan(data: Manifest, cache: Cache, *, is_dry: bool = False, **options: Any) -> tuple[ExtractionPlan, list[Event]]:
    events: list[Event] = []
    how = ExtractOptions(device="cpu", workers=2, unit_rows=4, **options)
    extraction = Extraction(Work.of([IMAGE, TEXT], "clean,hflip"), data, cache, how)
    return plan_extraction(extraction, report=lambda _: None, tell=events.append, is_dry=is_dry), events


def units(planned: ExtractionPlan) -> list[tuple[str, str, int, str]]:
    return [(own.spec.modality, own.view, unit.number, unit.name) for own in planned.plans for unit in own.units]


def test_a_dry_plan_is_the_plan_and_writes_nothing(tmp_path: Path) -> None:
    data = read_manifest(write_dataset(tmp_path / "d"))
    (tmp_path / "d" / "1-real.png").unlink()
    imagined = Cache.open_or_imagine(tmp_path / "c", Defaults("float32", "float16"))
    part = Partition(1, 2)
    dry, foretold = plan(data, imagined, is_dry=True, partition=part)
    assert not (tmp_path / "c").exists()
    real, told = plan(data, make_cache(tmp_path / "c"), partition=part)
    assert units(dry) == units(real) and units(real) and foretold == told
    assert dry.unit_rows == real.unit_rows == 4 and dry.n_missing == real.n_missing == {"text": 0, "image": 1}
    np.testing.assert_array_equal(dry.scanned.table.image_key, real.scanned.table.image_key)
    assert list((tmp_path / "c" / "plans").rglob("*.json"))


def test_captions_come_before_pictures_and_each_content_has_its_plans(tmp_path: Path) -> None:
    planned, _ = plan(read_manifest(write_dataset(tmp_path / "d")), make_cache(tmp_path / "c"))
    sides = [(own.spec.modality, own.view) for own in planned.plans]
    assert sides == [("text", "clean"), ("image", "clean"), ("image", "hflip")]
    assert planned.of("text") == planned.plans[:1] and planned.of("image") == planned.plans[1:]


def test_what_is_asked_for_and_what_was_found_is_on_record_before_anything_is_encoded(tmp_path: Path) -> None:
    data, cache = read_manifest(write_dataset(tmp_path / "d")), make_cache(tmp_path / "c")
    (tmp_path / "d" / "1-real.png").unlink()
    _, events = plan(data, cache)
    assert {request.fingerprint for request in read_requests(cache, "d")} == {
        spec.fingerprint.digest for spec in (TEXT, IMAGE)
    }
    assert len(read_samples(cache.sample_path("d"))) == 18
    assert [event.name for event in events] == ["start", "failure"]
    assert events[1].fields["stage"] == "scan" and events[1].fields["sample_id"] == "1-real"


def test_a_retry_replaces_no_request(tmp_path: Path) -> None:
    data, cache = read_manifest(write_dataset(tmp_path / "d")), make_cache(tmp_path / "c")
    planned, _ = plan(data, cache, retry_failed=True)
    assert read_requests(cache, "d") == () and len(read_samples(cache.sample_path("d"))) == 18
    assert [own.n_new for own in planned.plans] == [6, 18, 18] and not units(planned)
