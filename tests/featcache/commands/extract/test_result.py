"""What ``featcache extract`` prints at its end."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from featcache.cache.folder import Cache
from featcache.commands.extract.result import _render_next, _render_ways, render_result, result_document
from featcache.dataset.manifest import Manifest
from featcache.extraction.results import PassResult
from featcache.extraction.run import ExtractOptions, extract
from featcache.upkeep.status import cache_status

from factories import FakeSpec, make_cache, read_manifest, write_dataset

OPTIONS = ExtractOptions(device="cpu", unit_rows=4)


def test_a_folder_named_as_a_picture_is_not_said_to_be_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_dataset(tmp_path / "d")
    (tmp_path / "d" / "0-real.png").unlink()
    (tmp_path / "d" / "0-real.png").mkdir()
    (tmp_path / "d" / "1-real.png").unlink()
    manifest = Manifest.from_source(data, on_orphan="skip")
    render_result(extract(manifest, make_cache(tmp_path / "c"), [FakeSpec("image")], options=OPTIONS), tmp_path / "c")
    assert "16 samples, 2 skipped: no regular file there\n" in capsys.readouterr().out


@pytest.mark.slow
def test_a_broken_picture_is_counted_once_for_all_encoders_and_views(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = Manifest.from_source(write_dataset(tmp_path / "d"))
    (tmp_path / "d" / "0-real.png").write_bytes(b"broken")
    (tmp_path / "d" / "1-real.png").unlink()
    specs = [FakeSpec("text", ("cls",)), FakeSpec("image"), FakeSpec("spectral", ("a",))]
    made = make_cache(tmp_path / "c")
    for run in range(2):
        result = extract(manifest, made, specs, views=("clean", "hflip", "blur:1"), options=OPTIONS)
        assert (result.n_failed, result.n_failed_contents) == (7, 2)
        document = json.loads(json.dumps(result_document(result)))
        assert (document["n_failed"], document["n_failed_contents"]) == (7, 2)
        render_result(result, made.path)
        shown = capsys.readouterr().out
        assert shown.count("× 3 views") == shown.count(" 1 failed in all views\n") == 2
        assert shown.count("failed 0-real") == (run == 0) and shown.count("failed 1-real") == 1
        assert shown.count("1 failed in an earlier run") == 2 * run
    status = cache_status(Cache.open(made.path))
    assert (status.n_failures, status.n_failed_contents) == (7, 2)


def test_contents_that_failed_in_some_views_are_said_to_have_done_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = Manifest.from_source(write_dataset(tmp_path / "d"))
    cache = make_cache(tmp_path / "c")
    result = extract(manifest, cache, [FakeSpec("image")], views=("clean", "hflip"), options=OPTIONS)
    first, second = result.sides
    lacking = replace(first, n_failed_before=1, failed_before=("ab" * 32,))
    render_result(replace(result, sides=(lacking, second)), cache.path)
    assert " 1 failed in some views\n" in capsys.readouterr().out


def test_damage_elsewhere_is_told_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = make_cache(tmp_path / "c")
    extract(read_manifest(write_dataset(tmp_path / "d")), made, [FakeSpec("image")], options=ExtractOptions("cpu"))
    (path,) = made.path.glob("requests/d/*.json")
    path.write_bytes(b"{")
    _render_next("d", made.path)
    assert path.name in capsys.readouterr().out.replace("\n", "")


def test_who_decoded_is_told_with_reasons_and_doubts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seconds = {"forward": 1.0}
    ways = {"simplejpeg": 1970, "pillow: PNG": 20, "pillow: refused": 2, "pillow": 1}
    _render_ways(PassResult("image", 9, 9, seconds, {}, "1 thread", ways, ("decoder simplejpeg 1 lies",)))
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "doubt decoder simplejpeg 1 lies",
        "decoded 1,970 by simplejpeg; 23 by pillow (20 PNG, 2 refused)",
    ]
    _render_ways(PassResult("image", 9, 9, seconds, {}, "1 thread", {"simplejpeg": 128}))
    assert capsys.readouterr().out == "decoded 128 by simplejpeg\n"
    ways = {"nvjpeg": 90, "pillow+triton: PNG": 7, "pillow+triton": 2, "pillow": 1}
    _render_ways(PassResult("image", 9, 9, seconds, {}, "1 thread", ways))
    told = "decoded 90 by nvjpeg; 9 by pillow and resized on the GPU; 1 by pillow (7 PNG)"
    assert capsys.readouterr().out.replace("\n", " ").strip() == told
    _render_ways(PassResult("image", 9, 9, seconds, {}, "1 thread", {"pillow": 20}))
    assert capsys.readouterr().out == ""


def test_a_faster_decoder_is_named_where_many_pictures_were_pillows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    _render_ways(PassResult("image", 9, 9, {"forward": 1.0}, {}, "1 thread", {"pillow": 2000}))
    assert "pip install 'featcache[fast]'" in capsys.readouterr().out
    why = "the GPU resizes pictures that the CPU decodes: nvJPEG is not installed"
    for n, told in ((2000, f"decoded 2,000 by simplejpeg\n{why}\n"), (20, "decoded 20 by simplejpeg\n")):
        ways = {"simplejpeg": n}
        _render_ways(PassResult("image", 9, 9, {"forward": 1.0}, {}, "1 thread", ways, hint=why))
        assert capsys.readouterr().out == told
