"""Facts about picture files that tell real from AI are found, and nothing else is taken for one."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from featcache.cache.file_facts import FORMATS, FileFacts
from featcache.cache.samples import ABSENT, PRESENT, SampleTable, write_samples
from featcache.commands.status import status
from featcache.files.string_column import StringColumn
from featcache.upkeep.audit import audit
from featcache.upkeep.status import cache_status
from featcache.upkeep.tells import MIN_PICTURES, Tell, count_formats, find_tells

from factories import make_cache

JPEG, PNG = FORMATS.index("JPEG"), FORMATS.index("PNG")


def table(
    label: Sequence[int],
    *,
    format: object = JPEG,
    size: object = 512,
    n_bytes: object = 1000,
    exif: object = 0,
    split: object = "train",
    picture: Sequence[int] | None = None,
) -> SampleTable:
    """A table of pictures of which everything is the same but what is given: a number, or one a row."""
    n = len(label)
    key = [hashlib.sha256(b"%d" % i).digest() for i in (range(n) if picture is None else picture)]
    a = np.array(label, np.int8)
    empty = StringColumn.from_strings([""] * n)
    side = np.broadcast_to(np.asarray(size, np.uint32), n)
    files = FileFacts(
        np.array(np.broadcast_to(np.asarray(format, np.uint8), n)),
        np.array(np.broadcast_to(np.asarray(n_bytes, np.uint32), n)),
        np.array(np.broadcast_to(np.asarray(exif, np.int8), n)),
    )
    keys = np.frombuffer(b"".join(key), np.uint8).reshape(-1, 32)
    return SampleTable(
        "d", "/d", ("real", "alpha"),
        StringColumn.from_strings([f"s{i}" for i in range(n)]), empty, empty,
        np.array(np.broadcast_to(np.asarray(split, "U5"), n)), a, a.astype(np.int16),
        keys, np.zeros((n, 32), np.uint8), np.full(n, PRESENT, np.uint8), np.full(n, ABSENT, np.uint8),
        np.array(side), np.array(side), files,
    )  # fmt: skip


def tells(found: SampleTable) -> dict[str, Tell]:
    return {tell.fact: tell for tell in find_tells(found)}


def output(*arguments: object) -> str:
    app = typer.Typer()
    app.command()(status)
    result = CliRunner(env={"COLUMNS": "80"}).invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


LABEL = [0, 1] * 200
AI = np.array(LABEL)


def test_a_fact_that_is_the_label_is_told_right_always() -> None:
    found = tells(table(LABEL, format=np.where(AI, PNG, JPEG), size=512 + AI, n_bytes=1000 + 9000 * AI, exif=1 - AI))
    assert set(found) == {"file format", "picture size", "bytes per pixel", "EXIF data"}
    assert all(tell.accuracy == 1 and tell.gives_away and tell.split == "train" for tell in found.values())
    assert {(v.name, v.n_real, v.n_ai) for v in found["file format"].values} == {("JPEG", 200, 0), ("PNG", 0, 200)}
    assert {v.name for v in found["picture size"].values} == {"512×512", "513×513"}
    low, high = found["bytes per pixel"].values
    assert (low.name[0], low.n_real, low.n_ai, high.name[0], high.n_ai) == ("≤", 200, 0, ">", 200)


def test_a_fact_that_is_the_same_everywhere_is_luck() -> None:
    assert all(tell.accuracy == 0.5 and not tell.gives_away for tell in find_tells(table(LABEL)))


def test_facts_that_have_nothing_to_do_with_the_label_are_not_warned_of() -> None:
    """Also not sizes of which nearly every picture has its own: what was learnt is not what is judged."""
    rng = np.random.default_rng(0)
    for n_values in (2, 30, 300, 1_000_000):
        random = rng.integers(1, 1 + n_values, 400)
        found = tells(table(LABEL, format=rng.integers(1, 9, 400), size=random, n_bytes=rng.integers(1, 9**6, 400)))
        assert all(0.4 < tell.accuracy < 0.6 for tell in found.values()), (n_values, found)


def test_sizes_of_their_own_tell_against_one_size_for_all() -> None:
    found = tells(table(LABEL, size=np.where(AI, 512, 1000 + np.arange(400))))["picture size"]
    assert found.accuracy == 1 and found.values[0].name == "512×512"


def test_classes_of_unlike_size_count_alike() -> None:
    label = [1] * 900 + [0] * 100
    # Three in ten AI pictures are JPEGs, as all real ones are: of the JPEGs 270 are AI.
    found = tells(table(label, format=[PNG] * 630 + [JPEG] * 370))["file format"]
    assert found.accuracy == pytest.approx((1 + 0.7) / 2) and (found.n_real, found.n_ai) == (100, 900)


@pytest.mark.parametrize("flipped", [False, True])
def test_the_threshold_is_the_best_and_exact_about_ties(flipped: bool) -> None:
    # Of the three values of each class one is in both, equally often: half of its pictures are told right.
    values = np.array([10, 20, 30, 30, 40, 50] * 100, np.uint32)
    label = [int(flipped), int(flipped), 0, 1, int(not flipped), int(not flipped)] * 100
    found = tells(table(label, n_bytes=values, size=1))["bytes per pixel"]
    assert found.accuracy == pytest.approx(5 / 6, abs=0.02)


def test_one_class_alone_and_unknown_labels_and_few_pictures_are_not_judged() -> None:
    assert find_tells(table([0] * 400, format=PNG)) == () == find_tells(table([-1] * 400))
    few = [0] * 400 + [1] * (MIN_PICTURES - 1)
    assert find_tells(table(few, format=np.where(few, PNG, JPEG))) == ()
    assert find_tells(table([])) == ()
    unknown = [0, 1, -1] * 100
    found = tells(table(unknown, format=np.where(unknown, PNG, JPEG)))["file format"]
    assert (found.n_real, found.n_ai, found.accuracy) == (100, 100, 0.5 + 0.5)


def test_unknown_facts_are_left_out_and_a_fact_hardly_known_is_not_judged() -> None:
    known = np.arange(400) < 300
    found = tells(table(LABEL, format=np.where(known, np.where(AI, PNG, JPEG), 0), exif=np.where(AI, 1, -1)))
    assert (found["file format"].n_real, found["file format"].n_ai) == (150, 150) and "EXIF data" not in found
    assert "picture size" not in tells(table(LABEL, size=0)) and "bytes per pixel" not in tells(table(LABEL, size=0))
    assert "bytes per pixel" not in tells(table(LABEL, n_bytes=0))


def test_a_picture_counts_once_however_many_samples_have_it() -> None:
    label = LABEL + [1] * 5000
    found = tells(table(label, format=np.where(label, PNG, JPEG), picture=[*range(400), *[1] * 5000]))
    assert found["file format"].n_ai == 200


def test_what_a_head_is_fitted_on_is_judged_if_there_is_any() -> None:
    both = LABEL + LABEL
    made = table(both, format=[JPEG] * 400 + list(np.where(AI, PNG, JPEG)), split=["train"] * 400 + ["test"] * 400)
    assert tells(made)["file format"].accuracy == 0.5
    (without,) = {tell.split for tell in find_tells(replace(made, split=np.array(["test"] * 800)))}
    assert without == "" and tells(replace(made, split=np.array([""] * 800)))["file format"].accuracy == 0.75


def test_the_estimate_does_not_depend_on_the_order_of_the_samples() -> None:
    rng = np.random.default_rng(1)
    columns = {"size": rng.integers(1, 90, 400), "n_bytes": rng.integers(1, 99, 400), "format": rng.integers(1, 5, 400)}
    order = rng.permutation(400)
    one = tells(table(LABEL, **columns))
    other = tells(
        table(AI[order].tolist(), picture=order.tolist(), **{name: values[order] for name, values in columns.items()})
    )
    assert {f: t.accuracy for f, t in one.items()} == {f: t.accuracy for f, t in other.items()}


def test_an_old_table_is_judged_by_size_alone() -> None:
    old = replace(table(LABEL, size=512 + AI), files=None)
    assert count_formats(old) is None and set(tells(old)) == {"picture size"}


def test_formats_are_counted_for_samples_with_a_readable_picture() -> None:
    made = table([0] * 6, format=[PNG, JPEG, JPEG, 0, 0, 0])
    side = np.array([PRESENT] * 4 + [ABSENT] * 2, np.uint8)
    found = count_formats(replace(made, image_status=side))
    assert found == {"JPEG": 2, "PNG": 1, "unknown": 1} and next(iter(found)) == "JPEG"


@pytest.mark.slow
def test_a_million_samples_take_no_time_worth_mentioning() -> None:
    rng = np.random.default_rng(0)
    n = 1_000_000
    made = table([0], format=JPEG)
    columns = {
        "label_a": rng.integers(0, 2, n).astype(np.int8),
        "split": np.full(n, "train"),
        "image_key": rng.integers(0, 256, (n, 32), np.uint8),
        "image_status": np.zeros(n, np.uint8),
        "width": rng.integers(1, 3000, n).astype(np.uint32),
        "height": rng.integers(1, 3000, n).astype(np.uint32),
        "files": FileFacts(np.ones(n, np.uint8), rng.integers(1, 9**6, n).astype(np.uint32), np.zeros(n, np.int8)),
    }
    started = time.process_time()
    found = find_tells(replace(made, **columns))
    assert time.process_time() - started < 5
    assert all(abs(tell.accuracy - 0.5) < 0.01 for tell in found)


def test_status_warns_and_json_has_all(tmp_path: Path) -> None:
    made = make_cache(tmp_path / "c")
    found = table(LABEL, format=np.where(AI, PNG, JPEG), size=512 + AI)
    write_samples(made.sample_path("d"), found, root=made.path)
    (dataset,) = cache_status(made).datasets
    assert dataset.audit.formats == {"JPEG": 200, "PNG": 200} and dataset.audit.tells == audit(found).tells
    shown = output(made.path)
    assert max(map(len, shown[: shown.index("Next")].splitlines())) <= 80
    text = " ".join(shown.split())
    assert "No vectors in it yet. Next: # encode d featcache extract" in text
    assert "files JPEG 200, PNG 200" in text
    assert "tell file format alone tells real from AI in 100% (balanced) of train: JPEG: 200 real, 0 AI;" in text
    assert "--views jpeg:75" in text and "--square-crop" in text and "EXIF" not in text
    document = json.loads(output(made.path, "--json"))["datasets"][0]["audit"]
    assert [tell["gives_away"] for tell in document["tells"]] == [True, True, True, False]


def test_status_of_an_old_table_says_nothing_of_files(tmp_path: Path) -> None:
    made = make_cache(tmp_path / "c")
    write_samples(made.sample_path("d"), replace(table(LABEL), files=None), root=made.path)
    assert "  files " not in output(made.path) and "  tell " not in output(made.path)
