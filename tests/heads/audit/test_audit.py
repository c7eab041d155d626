"""Laws of audits: what leaks worst is said first, what cannot be told is said with its reason."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import cli
from featcache import FeatureStore, open_store
from featcache.cache.samples import write_samples
from featcache.cache.shard import read_shard
from featcache.cache.shard_writing import write_shard
from featcache.errors import FeatcacheError
from featcache.files.string_column import StringColumn
from heads.audit.audit import audit
from heads.audit.contents import read_captions, read_thumbnails
from heads.audit.rows import read_rows
from heads.errors import HeadsError
from tests.heads.audit.made_up import with_facts, with_files, write_store
from tests.heads.synthetic import Row, _keys

from factories import png


def leak(rows: list[Row]) -> None:
    """Caption AI rows as prompts."""
    for row in rows:
        row.caption = f"{row.caption}, {'trending, artstation' if row.label != 'real' else 'a street'}"


def write_captions(path: Path) -> Path:
    """Write the captions of `leak` for all rows."""
    texts = [
        f"{split} caption {number}, {end}"
        for split, n in (("train", 30), ("valid", 20), ("test", 5))
        for number in range(n)
        for end in ("trending, artstation", "a street")
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([["sample_id", "caption", "label_a"], *([f"r{i}", text, 2] for i, text in enumerate(texts))])
    return path


def call(*words: object, columns: int = 80) -> str:
    result = CliRunner().invoke(cli.heads_app, [str(word) for word in words], env={"COLUMNS": str(columns)})
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


@pytest.fixture(scope="module")
def leaking(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    store = write_store(tmp_path_factory.mktemp("leaking") / "cache", edit=leak)
    own = with_files(store, "format")
    origins = StringColumn.from_strings(["[i]one" if a else "two" for a in own.samples.label_a.tolist()])
    own = with_facts(own, row_origin=origins)
    write_samples(own.cache.sample_path("synthetic"), own.samples, root=own.path)
    return own


def test_what_leaks_worst_is_the_first_line(leaking: FeatureStore, tmp_path: Path) -> None:
    data = write_captions(tmp_path / "captions.csv")
    text = call("audit", leaking.path, "--data", data)
    lines = text.splitlines()
    assert lines[0].startswith("captions alone tell real from AI: AUC 1.00 (0.9")
    assert lines[1].startswith("No origin has both: real and AI rows share none of their 2 origins")
    assert all(len(line) <= 80 for line in lines)
    titles = ["What tells real from AI alone", "What tells generators alone", "Labels real or AI, by a linear head"]
    assert [text.index(title) for title in titles] == sorted(text.index(title) for title in titles)
    assert "not told 8×8 thumbnails: pictures were not read" in text
    found = json.loads(call("audit", leaking.path, "--data", data, "--json"))
    assert (found["worst"], found["n"], found["splits"]) == ({"a": "captions", "b": None}, 300, ["train", "valid"])
    assert found["origins"] == {"real": 1, "ai": 1, "both": 0}
    facts = {(each["fact"], each["task"]): each for each in found["tells"]}
    assert facts["captions", "a"]["found"]["estimate"] > facts["file formats", "a"]["found"]["estimate"] > 0.8
    assert facts["origins", "a"]["tells"] and not facts["captions", "b"]["tells"]
    (of_a, of_b) = found["labels"]
    assert (
        of_a["is_told"]
        and of_a["wrong"]["estimate"] < 0.05
        and of_b["ceilings"].keys() == {*of_a["ceilings"]} - {"auc"}
    )


def test_vectors_of_captions_stand_for_texts_that_a_cache_lacks(leaking: FeatureStore) -> None:
    found = audit(leaking)
    names = {tell.fact for tell in found.tells}
    assert "caption vectors" in names and "captions" not in names
    assert ("captions", "by their vectors; a cache has no texts: --data tests reads them") in found.notes
    worst = found.worst("a")
    assert worst is not None and worst.fact == "file formats", "these vectors are drawn"


def test_a_head_that_knows_too_little_lists_no_labels(leaking: FeatureStore) -> None:
    text = call("audit", leaking.path, "--fusion", "text")
    assert text.count("too little to say which are") == 2
    assert "look wrong" not in text and "--json has all" not in text


def test_captions_of_other_data_are_refused(leaking: FeatureStore, tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("sample_id,caption\n1,something else\n", encoding="utf-8")
    with pytest.raises(HeadsError, match="none of the 300 captions of these rows is among those of"):
        read_captions(leaking, read_rows(leaking), path)


def test_a_cache_that_knows_little_is_told_what_cannot_be_told(tmp_path: Path) -> None:
    def strip(rows: list[Row]) -> None:
        for row in rows:
            row.label, row.caption, row.group = "ai", None, ""

    found = audit(write_store(tmp_path / "cache", edit=strip, modalities=("image",)))
    assert not found.tells and not found.labels and found.worst("a") is None
    assert dict(found.notes) == {
        "real or AI": "all labelled rows are AI",
        "which generator": "there are not two generators with a name",
        "8×8 thumbnails": "pictures were not read: --thumbnails reads them",
        "file formats, bytes per pixel, EXIF data": "not looked at when the cache was filled",
        "origins": "the data name none",
        "picture sizes": "known of no row",
    }
    assert call("audit", tmp_path / "cache").startswith("there is nothing by which classes could be told")


def test_outputs_of_which_none_is_taken_by_itself_are_told_with_what_to_type(tmp_path: Path) -> None:
    store = write_store(tmp_path / "cache", modalities=("image",))
    (path,) = (tmp_path / "cache").glob("features/*/clean/*.h5")
    shard = read_shard(path)
    keys, vectors = np.asarray(shard.map(shard.key)), np.asarray(shard.map(shard.outputs["pooled"]))
    path.unlink()
    write_shard(path, shard.header, keys, {"cls": vectors, "mean": vectors}, root=store.path)
    store = open_store(store.path)
    found = audit(store)
    assert not found.labels and dict(found.notes)["wrong labels"].endswith(": cls, mean")
    assert "not told wrong labels: image encoder" in call("audit", store.path)
    assert audit(store, choices={"image": {"outputs": "cls"}}).labels


def test_vectors_that_were_named_and_are_not_there_are_an_error(leaking: FeatureStore) -> None:
    with pytest.raises(HeadsError, match="fusion 'spectral' needs spectral vectors"):
        audit(leaking, fusion="spectral")
    with pytest.raises(FeatcacheError, match="no output 'cls'"):
        audit(leaking, choices={"image": {"outputs": "cls"}})


def test_only_pictures_that_are_what_they_were_are_looked_at(tmp_path: Path) -> None:
    pictures = [png(seed) for seed in range(4)]

    def give(rows: list[Row]) -> None:
        for row, content in zip(rows, pictures, strict=False):
            row.picture = content

    store = write_store(tmp_path / "cache", edit=give)
    sources = [str(tmp_path / f"{number}.png") for number in range(len(store))]
    sources[3] = "inside.tar:3.png"
    for number, content in enumerate(pictures):
        (tmp_path / f"{number}.png").write_bytes(content)
    (tmp_path / "1.png").write_bytes(png(99))
    (tmp_path / "2.png").unlink()
    own = with_facts(store, source=StringColumn.from_strings(sources))
    found = read_thumbnails(own, read_rows(own))
    assert found.known.tolist() == [True] + [False] * 299
    assert found.X.shape == (300, 192) and 100 < found.X[0].mean() < 160 and not found.X[1:].any()
    assert np.array_equal(_keys([pictures[0]])[0], own.samples.image_key[0])
