"""In what two producers of a cache differ."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from featcache.commands.diff import diff
from featcache.commands.extract.misses import print_misses
from featcache.errors import FeatcacheError
from featcache.identity.fingerprint import FieldChange
from featcache.store.near_misses import NearMiss, diff_producers, find_producer

from factories import FakeSpec, make_cache

A, B, T = (
    FakeSpec("image", weights="w0"),
    FakeSpec("image", weights="w1"),
    FakeSpec("text", ("cls",), weights="t\x1b[31m"),
)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    opened = make_cache(tmp_path / "c")
    for spec in (A, B, T):
        opened.add_producer(spec.fingerprint)
    return tmp_path / "c"


@pytest.mark.parametrize("name", ["fake-w0", A.fingerprint.short, A.fingerprint.digest, A.fingerprint.digest[:3]])
def test_a_producer_is_found_by_its_models_name_or_the_beginning_of_its_fingerprint(cache: Path, name: str) -> None:
    assert find_producer(make_cache(cache), name).digest == A.fingerprint.digest


@pytest.mark.parametrize(("name", "n"), [("", 3), ("nobody", 0), ("fake", 0), (A.fingerprint.digest + "0", 0)])
def test_a_name_that_is_not_clear_is_an_error_that_lists_what_there_is(cache: Path, name: str, n: int) -> None:
    with pytest.raises(FeatcacheError, match=rf"fits {n} encoders.*image {A.fingerprint.short} \(fake-w0\)"):
        find_producer(make_cache(cache), name)


def test_an_empty_cache_has_none(tmp_path: Path) -> None:
    with pytest.raises(FeatcacheError, match="it has: none yet"):
        find_producer(make_cache(tmp_path / "c"), "x")


def test_a_difference_is_the_reverse_of_its_reverse(cache: Path) -> None:
    opened = make_cache(cache)
    there, back = diff_producers(opened, "fake-w0", "fake-w1"), diff_producers(opened, "fake-w1", "fake-w0")
    assert [str(c) for c in there.changes] == ["model.weights: 'w0' → 'w1'"]
    assert [(c.field, c.after, c.before) for c in back.changes] == [(c.field, c.before, c.after) for c in there.changes]
    assert diff_producers(opened, "fake-w0", A.fingerprint.short).changes == ()


def test_the_command_tells_people_and_machines_the_same(cache: Path) -> None:
    app = typer.Typer()
    app.command()(diff)
    text = CliRunner().invoke(app, [str(cache), "fake-w0", "fake-w1"])
    assert text.exit_code == 0 and "model.weights: 'w0' → 'w1'" in text.stdout
    found = json.loads(CliRunner().invoke(app, [str(cache), "fake-w0", "fake-w1", "--json"]).stdout)
    assert found["changes"] == [{"field": "model.weights", "before": "w0", "after": "w1"}]
    assert found["a"]["fingerprint"] == A.fingerprint.digest
    same = CliRunner().invoke(app, [str(cache), "fake-w0", "fake-w0"])
    assert same.exit_code == 0 and "same producer" in same.stdout
    hostile = CliRunner().invoke(app, [str(cache), "fake-w0", T.fingerprint.short])
    assert hostile.exit_code == 0 and "\x1b" not in hostile.stdout


@pytest.mark.parametrize(("n", "told"), [(4, ""), (5, "and 1 more field: "), (6, "and 2 more fields: ")])
def test_fields_that_are_not_shown_are_counted(n: int, told: str) -> None:
    changes = tuple(FieldChange(f"field{i}", 1, 2) for i in range(n))
    console = Console(file=io.StringIO(), width=200)
    miss = NearMiss("a" * 64, "other", 3, changes)
    print_misses(console, [miss], what="will encode", producer=("model", "b" * 64), cache=Path("c"))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert told in shown and ("more" in shown) == bool(told)
