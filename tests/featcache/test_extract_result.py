"""What ``featcache extract`` prints at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from featcache.commands.extract_result import render_result
from featcache.extract import ExtractOptions, extract
from featcache.manifest import Manifest

from factories import FakeSpec, make_cache, write_dataset

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
    assert "16 samples, 2 entries skipped: no regular file there\n" in capsys.readouterr().out
