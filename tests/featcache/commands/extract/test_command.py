"""What an extraction says before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from featcache.commands.extract.command import _Errand
from featcache.extraction.run import ExtractOptions

from factories import FakeSpec, make_cache, read_manifest, write_dataset


@pytest.mark.parametrize(("free", "is_told"), [(5000, True), (1 << 30, False)])
def test_a_disk_that_is_too_small_is_told_once_before_anything_is_encoded(
    free: int, is_told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("featcache.extraction.forecast.free_bytes", lambda _: free)
    manifest, cache = read_manifest(write_dataset(tmp_path / "d")), make_cache(tmp_path / "c")
    specs = [FakeSpec("text", ("cls",)), FakeSpec("image")]
    errand = _Errand(manifest, cache, specs, "clean,hflip", ExtractOptions(device="cpu"))
    errand.extract((), as_json=True, json_log=None)
    said = capsys.readouterr().err
    assert said.count("the disk is too small: 5.0 kB are free, --dry-run says how much") == is_told
