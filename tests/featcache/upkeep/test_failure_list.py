from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from featcache.cache.failures import Failure, write_failures
from featcache.cache.folder import Cache
from featcache.commands.failures import failures
from featcache.commands.status import status
from featcache.dataset.manifest import Manifest
from featcache.extraction.run import ExtractOptions, extract
from featcache.upkeep.failure_list import count_contents, list_failures, merge_failures
from featcache.upkeep.status import cache_status

from factories import FakeSpec, make_cache, png, read_manifest, write_dataset

OPTIONS = ExtractOptions(device="cpu", unit_rows=4)
RETRY = ExtractOptions(device="cpu", unit_rows=4, retry_failed=True)
IMAGE = FakeSpec("image")


def output(*arguments: object) -> str:
    app = typer.Typer()
    app.command()(failures)
    result = CliRunner(env={"COLUMNS": "80"}).invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """One broken picture, and one that goes before it can be read."""
    found = read_manifest(write_dataset(tmp_path / "d"))
    (tmp_path / "d" / "1-beta.png").write_bytes(b"broken \x1b[31m")
    (tmp_path / "d" / "2-real.png").unlink()
    return found


@pytest.fixture
def cache(manifest: Manifest, tmp_path: Path) -> Cache:
    made = make_cache(tmp_path / "c")
    extract(manifest, made, [FakeSpec("text", ("cls",)), IMAGE], options=OPTIONS)
    return Cache.open(made.path)


def test_every_failure_is_listed_with_its_stage_and_producer(cache: Cache) -> None:
    found = {f.sample_id: f for f in list_failures(cache)}
    assert set(found) == {"1-beta", "2-real"}
    read, decode = found["2-real"], found["1-beta"]
    assert (read.stage, read.producer, read.key, read.error) == ("read", None, None, "FileNotFoundError")
    assert (decode.stage, decode.producer, decode.error) == ("decode", IMAGE.fingerprint.short, "ImageError")
    assert {f.dataset for f in found.values()} == {"d"} and decode.attempts == 1 and decode.time


def test_a_failure_that_was_mended_is_no_longer_listed(cache: Cache, manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "d" / "2-real.png").write_bytes(png(77))
    extract(manifest, cache, [IMAGE], options=OPTIONS)
    assert [f.sample_id for f in list_failures(Cache.open(cache.path))] == ["1-beta"]
    (tmp_path / "d" / "1-beta.png").write_bytes(png(78))
    extract(manifest, cache, [IMAGE], options=RETRY)
    assert list_failures(Cache.open(cache.path)) == () and "no failures" in output(cache.path)


def test_a_failure_whose_content_is_stored_meanwhile_is_not_listed(cache: Cache, manifest: Manifest) -> None:
    key = bytes(extract_key(cache)).hex()
    failure = Failure(key, "0-real", "decode", "ImageError", "once", 1, "2025-01-01T00:00:00+00:00")
    write_failures(cache.failure_folder(IMAGE.fingerprint, "clean"), "old", [failure], root=cache.path)
    assert "0-real" not in {f.sample_id for f in list_failures(cache)}


def extract_key(cache: Cache) -> bytes:
    from featcache.cache.samples import read_samples

    return read_samples(cache.sample_path("d")).image_key[0].tobytes()


def test_attempts_are_counted(cache: Cache, manifest: Manifest) -> None:
    extract(manifest, cache, [IMAGE], options=RETRY)
    assert {f.sample_id: f.attempts for f in list_failures(cache)} == {"1-beta": 2, "2-real": 1}


def test_failures_are_listed_even_if_nothing_of_a_producer_was_stored(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", n_captions=1, caption=["x"] * 3)
    made = make_cache(tmp_path / "c")
    manifest = read_manifest(data)
    made.add_producer(IMAGE.fingerprint)
    from featcache.cache.samples import write_samples
    from featcache.extraction.survey.scan import scan

    table = scan(manifest).table
    write_samples(made.sample_path("d"), table, root=made.path)
    rows = [Failure(bytes(k).hex(), "s", "decode", "E", "m", 1, "") for k in table.image_key]
    write_failures(made.failure_folder(IMAGE.fingerprint, "clean"), "u", rows, root=made.path)
    assert len(list_failures(Cache.open(made.path))) == 3


def test_the_table_is_harmless_and_ends_with_what_to_type(cache: Cache, tmp_path: Path) -> None:
    unit = cache.failure_folder(IMAGE.fingerprint, "clean")
    key = json.loads(next(unit.glob("*.json")).read_text())["failures"][0]["key"]
    hostile = Failure(key, "\x1b[2J[red]x", "decode", "Image\x1bError", "a\nb \x1b]0;title\x07", 9, "\x1b")
    write_failures(unit, "zz", [hostile], root=unit)
    text = output(cache.path)
    assert "\x1b" not in text and "\x07" not in text and r"\x1b[2J[red]x" in "".join(text.split())
    words = text[text.index("Next") :].replace("\\\n", " ").split()
    assert words[-1] == "--retry-failed" and {"featcache", "extract", "fake-w0", "none"} <= set(words)
    assert max(map(len, text[: text.index("Next")].splitlines())) <= 80


def test_json_holds_everything(cache: Cache) -> None:
    document = json.loads(output(cache.path, "--json"))
    assert {f["sample_id"] for f in document["failures"]} == {"1-beta", "2-real"}
    assert document["next"][0]["command"][-1] == "--retry-failed" and document["n_failed_contents"] == 2


def test_what_of_a_source_is_damaged_or_refused_is_on_record_until_it_is_mended(tmp_path: Path) -> None:
    data = tmp_path / "t"
    data.mkdir()
    with tarfile.open(data / "a.tar", "w") as tar:
        for name in ("good.png", "../../evil.png"):
            member = tarfile.TarInfo(name)
            member.size = len(png(1))
            tar.addfile(member, io.BytesIO(png(1)))
    (data / "b.tar").write_bytes(b"no tar \x1b[31m" * 100)
    cache = make_cache(tmp_path / "c")
    extract(Manifest.from_source(data), cache, [IMAGE], options=OPTIONS)
    told = json.loads(output(cache.path, "--json"))["broken"]
    assert [(part["dataset"], part["n"]) for part in told] == [("t", 2)]
    for word in ("evil.png", "b.tar"):
        assert word in "".join(told[0]["lines"]) and word in output(cache.path).replace("\n", "")
    (dataset,) = cache_status(cache).to_dict()["datasets"]
    assert dataset["audit"]["orphans"]["n_broken"] == 2 and "2 parts of the source" in output(cache.path)
    result = CliRunner().invoke(status_app(), [str(cache.path)], catch_exceptions=False)
    assert "broken" in result.output and "2 parts of the source damaged or refused" in " ".join(result.output.split())
    (data / "b.tar").unlink()
    with tarfile.open(data / "a.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("empty.png"))
    extract(Manifest.from_source(data), cache, [], options=OPTIONS)
    assert "broken" not in json.dumps(output(cache.path)) and not json.loads(output(cache.path, "--json"))["broken"]


def status_app() -> typer.Typer:
    app = typer.Typer()
    app.command()(status)
    return app


VIEWS = ("clean", "hflip", "jpeg:50", "blur:1", "noise:0.05", "rescale:0.5")
SPECTRAL = FakeSpec("spectral", ("a",))


@pytest.fixture
def viewed(manifest: Manifest, tmp_path: Path) -> Cache:
    made = make_cache(tmp_path / "v")
    (tmp_path / "d" / "3-real.png").write_bytes(b"broken too")
    extract(manifest, made, [FakeSpec("text", ("cls",)), IMAGE, SPECTRAL], views=VIEWS, options=OPTIONS)
    return Cache.open(made.path)


@pytest.mark.slow
def test_a_broken_picture_is_told_once_for_all_encoders_and_views(viewed: Cache) -> None:
    found = list_failures(viewed)
    assert len(found) == 1 + 2 * 12 and count_contents(found) == 3
    causes = {cause.sample_id: cause for cause in merge_failures(found)}
    assert {name: len(cause.places) for name, cause in causes.items()} == {"1-beta": 12, "3-real": 12, "2-real": 0}
    text = " ".join(output(viewed.path).split())
    assert text.count("1-beta") == text.count("3-real") == 1
    assert "2 pictures of d: decode, ImageError" in text and "1 picture of d: read, FileNotFoundError before" in text
    short = [spec.fingerprint.short for spec in (IMAGE, SPECTRAL)]
    assert f"by image fake-w0 {short[0]} and spectral fake-w0 {short[1]}, all 6 views" in text


@pytest.mark.slow
def test_views_that_failed_are_named_where_others_did_not(viewed: Cache) -> None:
    key = next(f.key for f in list_failures(viewed) if f.sample_id == "3-real")
    assert key is not None
    for view in VIEWS:
        (folder,) = {p.parent for p in viewed.failure_folder(IMAGE.fingerprint, view).glob("*.json")}
        for path in folder.glob("*.json"):
            path.unlink()
        if view != "clean":
            write_failures(folder, "u", [Failure(key, "3-real", "encode", "ValueError", "inf", 1, "")], root=folder)
    text = " ".join(output(viewed.path).split())
    assert "by spectral fake-w0" in text and text.count("3-real") == 2
    assert f"{IMAGE.fingerprint.short}, views blur:1, hflip, jpeg:50, noise:0.05 and 1 more" in text
