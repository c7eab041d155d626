"""Decisions, glossary, releasing, contributing and the README: lists that are whole, examples that run."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featcache import ExtractedPictures, ManifestError, open_store
from featcache.dataset.manifest import Manifest
from heads.data.fusion import check_columns
from heads.errors import HeadsError
from heads.files.chained_log import check_log
from tests.docs.pages import ROOT
from tests.heads.synthetic import Row, train_run, write_cache

from factories import png, write_dataset

DECISIONS = ROOT / "docs" / "decisions"
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
NOUNS = """
sample, content, key, modality, view, output, producer, fingerprint, digest, checksum, unit, part, shard, index,
receipt, claim, lease, selection, store, features, task, target, head, kind, fusion, pack, network, run, ablation,
cell, division, pseudo-label
"""


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_decision_is_in_the_index_as_its_page_says() -> None:
    listed = rows((DECISIONS / "README.md").read_text("utf-8"))[1:]
    pages = sorted(DECISIONS.glob("[0-9]*.md"))
    assert [cells[0] for cells in listed] == [f"[{page.name[:4]}]({page.name})" for page in pages]
    for page, (_, title, date, status) in zip(pages, listed, strict=True):
        head = page.read_text("utf-8").split("\n", 4)
        assert head[0] == f"# {title}" and head[2] == f"Status: {status}.", page.name
        assert re.match(r"in force\b|replaced by \[\d{4}\]", status)
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", date)
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    dates = [cells[2] for cells in listed]
    assert dates == sorted(dates)


def test_the_glossary_has_each_word_once_and_all_nouns_of_the_way() -> None:
    words, again = (
        Counter(cells[0] for cells in rows(part) if not cells[0].startswith("word"))
        for part in GLOSSARY.split("## Still double")
    )
    assert max(words.values()) == 1 == max(again.values()) and again.keys() <= words.keys()
    assert set(re.split(r",\s*", NOUNS.strip())) <= words.keys()
    assert all(len(cells) == 3 and re.fullmatch(r"`[\w.]+`|where", cells[2]) for cells in rows(GLOSSARY))


def test_the_glossary_is_the_only_one() -> None:
    others = [ROOT / "ARCHITECTURE.md", ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    assert not any("| word |" in path.read_text("utf-8") for path in others)


def test_the_files_in_which_versions_are_raised_have_one() -> None:
    text = (ROOT / "docs" / "releasing.md").read_text("utf-8")
    (table,) = re.findall(r"^\| what \| its number .*?\n\n", text, re.S | re.M)
    files = re.findall(r"`((?:featcache|heads)/[\w/]+\.py)`", table)
    assert len(files) >= 10
    for file in files:
        assert re.search(r"^\w*(FORMAT|VERSION)\w* = \d+$", (ROOT / file).read_text("utf-8"), re.M), file
    have = {
        path.relative_to(ROOT).as_posix()
        for package in ("featcache", "heads")
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"^_?(RUN_)?FORMAT(_VERSION)? = \d+$", path.read_text("utf-8"), re.M)
    }
    derived = {"featcache/cache/checked.py", "featcache/cache/memo.py", "featcache/files/claims.py"}
    assert have - set(files) <= derived | {"featcache/cache/orphans.py"}


def test_the_version_is_said_in_two_places_alike() -> None:
    import featcache

    assert f'version = "{featcache.__version__}"' in (ROOT / "pyproject.toml").read_text("utf-8")


def test_errors_look_as_the_house_rules_say(tmp_path: Path) -> None:
    data = write_dataset(tmp_path, sample_id=["a"] * 4 + [f"s{i}" for i in range(14)])
    with pytest.raises(ManifestError) as repeated:
        Manifest.from_source(data)
    with pytest.raises(HeadsError) as narrow:
        check_columns(np.zeros((1, 1024), np.float32), "concat", widths={"text": 768, "image": 512})
    assert all(f"\n{caught.value}\n" in CONTRIBUTING for caught in (repeated, narrow))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the cache, the run and the pictures that pages name."""

    def name_two(found: list[Row]) -> None:
        found[0].sample_id, found[1].sample_id = "img-17", "img-4"

    folder = tmp_path_factory.mktemp("project")
    train_run(write_cache(folder / "cache", edit=name_two), folder / "runs" / "first", head="linear", fusion="concat")
    (folder / "photos-of-others").mkdir()
    for path in (folder / "suspicious.jpg", folder / "photos-of-others" / "1.jpg"):
        path.write_bytes(png(1))
        path.with_suffix(".txt").write_text("a bus")
    return folder


class Encoder:
    """Stands in for the encoders of a cache that was made up."""

    def encode(self, content: bytes | str) -> np.ndarray:
        return np.ones(6 if isinstance(content, str) else 12, dtype=np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_python_of_a_page_runs(page: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(project / "cache")
    scanned = ExtractedPictures(store, {}, (), 0)
    monkeypatch.setattr("heads.runs.detection.load_encoder", lambda *_, **__: Encoder())
    monkeypatch.setattr("heads.runs.scanning.extract_pictures", lambda *_, **__: scanned)
    monkeypatch.chdir(project)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.S)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    assert len(names["lines"]) == len(store) and {line["verdict"] for line in names["lines"]} == {"real", "ai"}
    if page == "README.md":
        assert names["few"].sample_id.tolist() == ["img-17", "img-4"]
        assert len(names["X"]) == len(names["y"]) > len(names["batch"].sample_id) - 1
        return
    test = store.arrays("test")
    X, truth = test.features["image"], np.array(test.class_names)[test.label_b]
    assert names["found"].names == names["detector"].verdicts(test.features).names
    assert names["of_set"].n == len(names["found"].novelty) == len(test.features["image"])
    assert check_log(project / "verdicts.jsonl").n == 1 + len(store)
    assert np.array_equal(names["same"].predict_proba(X), names["classifier"].predict_proba(X))
    assert min(names["classifier"].score(X, truth), names["own"].score(X, truth)) > 0.9
    (head,) = [block for block in blocks if "class Centroids" in block]
    assert len(re.findall(r"^(?:class|    )[^\n]*\S", head, re.M)) <= 25


def test_the_table_of_outputs_is_that_of_its_record() -> None:
    from benchmarks.bench_outputs import RECORD, table

    assert table(json.loads(RECORD.read_text("utf-8"))) in (ROOT / "docs" / "encoders.md").read_text("utf-8")
