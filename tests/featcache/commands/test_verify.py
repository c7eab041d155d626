"""``featcache verify`` proposes only what helps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import featcache_app
from featcache.cache.folder import Cache
from featcache.commands.verify import _lack_lines
from featcache.extraction.run import ExtractOptions, extract
from featcache.upkeep.damage import Lack

from factories import FakeSpec, make_cache, read_manifest, write_dataset

IMAGE = FakeSpec("image")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    manifest = read_manifest(write_dataset(tmp_path / "d", n_captions=2))
    extract(manifest, make_cache(tmp_path / "c"), [IMAGE], options=ExtractOptions(batch_size=4))
    return tmp_path / "c"


def lose_table(cache: Path) -> None:
    Cache.open(cache).sample_path("d").unlink()


def lose_document(cache: Path) -> None:
    (cache / "encoders" / f"{IMAGE.fingerprint.short}.json").unlink()


def lose_document_and_index(cache: Path) -> None:
    lose_document(cache)
    (cache / "index.json").unlink()


@pytest.mark.parametrize("harm", [lose_table, lose_document_and_index])
def test_what_no_repair_brings_back_is_not_given_to_repair(harm: Callable[[Path], None], cache: Path) -> None:
    harm(cache)
    result = CliRunner().invoke(featcache_app, ["verify", str(cache)])
    assert result.exit_code == 1 and "Next" not in result.stdout
    assert "what is left is lost here: it says itself what brings it back" in result.stdout
    assert CliRunner().invoke(featcache_app, ["repair", str(cache)]).exit_code == 1


def test_what_a_repair_mends_is_given_to_it(cache: Path) -> None:
    lose_document(cache)
    result = CliRunner().invoke(featcache_app, ["verify", str(cache)])
    assert result.exit_code == 1 and "featcache repair" in result.stdout.partition("Next:")[2]
    assert CliRunner().invoke(featcache_app, ["repair", str(cache)]).exit_code == 0


def test_outputs_that_lack_the_same_are_told_in_one_line() -> None:
    lack = Lack("d", "0123", "m", "clean", "cls", 5, 2, 0)
    lacks = [
        *(replace(lack, output=f"layers:{k}") for k in (1, 10, 2, 3)),
        lack,
        replace(lack, output="mean", n_missing=5),
    ]
    assert _lack_lines([*lacks, replace(lack, output="pooled", n_missing=0)]) == [
        "2 of 5 contents of data set d have no vectors of 0123 (m), view clean, output cls, layers:1..3-10",
        "5 of 5 contents of data set d have no vectors of 0123 (m), view clean, output mean",
    ]
