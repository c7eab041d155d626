"""What an earlier commit made goes on working: its caches, runs, ablations and exports, as tests/legacy/README.md says.

Vectors in files are the same in every bit, wherever they are read. What is computed anew on another machine may
differ in the last bits: probabilities by 1e-4, vectors that are stored in float16 by 2e-3; no recorded answer is so
close a call that it could turn.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

import cli
from featcache import open_store
from featcache.cache.folder import Cache
from featcache.dataset.readers.reading import Reading
from featcache.extraction.survey.reading import read_before

LEGACY = Path(__file__).parent / "legacy"
EXPECTED = json.loads((LEGACY / "expected.json").read_text("utf-8"))
TEXT = ("--text-model", "models/bert", "--text-outputs", "cls,mean")
IMAGE = ("--image-model", "models/clip", "--image-outputs", "pooled,layers:all", "--device", "cpu")
PHOTOS = ("photos.csv", "--name", "photos", *IMAGE, "--on-orphan", "skip", "--seed", 4)
ALL = (*TEXT, "--spectral-outputs", "peaks,grid", "--views", "clean,jpeg:40")
TREE = ("tree", "--name", "tree", *IMAGE)
GRID = ("--fusion", "concat,image", "--dim", "4,8", "--seeds", 2, "--set", "epochs=20", "--set", "lr=0.01")
ABLATE = ("ablate", "--dataset", "photos", *GRID, "--out")
OF_PICTURES = [each for each in EXPECTED["arrays"] if (each["modality"], each["view"]) == ("image", "clean")]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of everything in the folder of another user, who came to it by git: all files are new there."""
    folder = tmp_path / "elsewhere"
    shutil.copytree(LEGACY, folder, copy_function=shutil.copyfile)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    return folder


def call(command: str, *words: object, codes: tuple[int, ...] = (0,)) -> Result:
    app = {"featcache": cli.featcache_app, "heads": cli.heads_app}[command]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code in codes, (result.output, result.exception)
    return result


def told(command: str, *words: object, codes: tuple[int, ...] = (0,)) -> dict[str, Any]:
    document = json.loads(call(command, *words, "--json", codes=codes).stdout)
    assert isinstance(document, dict)
    return document


def assert_holds(found: Any, recorded: Any) -> None:
    """Assert that all that was recorded is still so; what is told beside it is new."""
    if isinstance(recorded, Mapping):
        for name, value in recorded.items():
            assert_holds(found[name], value)
    elif isinstance(recorded, list):
        assert len(found) == len(recorded)
        for one, other in zip(found, recorded, strict=True):
            assert_holds(one, other)
    else:
        assert found == (pytest.approx(recorded, abs=1e-6) if isinstance(recorded, float) else recorded)


def files(folder: Path, pattern: str) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.glob(pattern) if path.is_file()}


def samples(cache: Path, dataset: str) -> dict[str, Any]:
    store = open_store(cache, dataset=dataset)
    arrays = store.arrays()
    columns = {name: getattr(arrays, name).tolist() for name in ("sample_id", "split", "label_a", "label_b")}
    return columns | {"class_names": list(store.class_names)}


def vectors(cache: Path, dataset: str, told: Mapping[str, Any]) -> np.ndarray:
    store, modality = open_store(cache, dataset=dataset), told["modality"]
    selection = store.select(modality, outputs=told["output"], view=told["view"])
    return store.arrays(selections={modality: selection}).features[modality]


def answers(run: str, *words: object) -> tuple[list[float | None], list[str]]:
    call("heads", "predict", run, *words, "--out", "answers.csv", "--overwrite", codes=(0, 3))
    with Path("answers.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [float(row["p_ai"]) if row["p_ai"] else None for row in rows], [row["pred_b"] for row in rows]


def test_vectors_of_an_old_cache_are_read_as_they_were() -> None:
    for each in EXPECTED["arrays"]:
        X = vectors(LEGACY / "cache", each["dataset"], each)
        assert list(X.shape) == each["shape"] and X[0].tolist() == pytest.approx(each["first"], abs=1e-6)
        assert hashlib.sha256(np.ascontiguousarray(X, "<f4").tobytes()).hexdigest() == each["sha256"], each


@pytest.mark.parametrize("dataset", ["photos", "tree"])
def test_samples_of_an_old_cache_are_called_and_divided_as_they_were(dataset: str) -> None:
    assert samples(LEGACY / "cache", dataset) == EXPECTED["samples"][dataset]


@pytest.mark.parametrize("cache", ["cache", "interrupted"])
def test_an_old_cache_is_sound_and_what_it_has_and_lacks_is_told_as_it_was(work: Path, cache: str) -> None:
    status, report = told("featcache", "status", cache), told("featcache", "verify", cache, "--deep")
    status["producers"] = {producer["modality"]: producer["fingerprint"] for producer in status["producers"]}
    for dataset in status["datasets"]:
        dataset["missing_parts"] = [division["missing"] for division in dataset["divisions"]]
    assert_holds(report | status, EXPECTED["caches"][cache])
    assert not report["problems"]


@pytest.mark.parametrize("run", EXPECTED["runs"])
def test_an_old_run_scores_and_answers_as_it_did(work: Path, run: str) -> None:
    recorded, where = EXPECTED["runs"][run], ("--dataset", "photos")
    for split in ("valid", "test"):
        assert_holds(told("heads", "evaluate", f"runs/{run}", *where, "--split", split), recorded[split])
    p_ai, pred_b = answers(f"runs/{run}", *where)
    assert p_ai == [p and pytest.approx(p, abs=1e-4) for p in recorded["p_ai"]]
    assert pred_b == recorded["pred_b"]


def test_an_old_run_labels_rows_for_a_new_one(work: Path) -> None:
    options = ("--dataset", "photos", "--split", "test", "--threshold", 0.55)
    call("heads", "pseudo-label", "runs/logistic", *options, "--out", "runs/again")
    again, recorded = answers("runs/again", "--dataset", "photos"), EXPECTED["runs"]["pseudo"]
    assert again[0] == [p and pytest.approx(p, abs=1e-3) for p in recorded["p_ai"]]
    labels = [Path(f"runs/{run}/pseudo_labels.csv").read_text().splitlines() for run in ("again", "pseudo")]
    assert [line.split(",")[0] for line in labels[0]] == [line.split(",")[0] for line in labels[1]]


@pytest.mark.parametrize(("dataset", "arguments", "n_failed"), [("photos", PHOTOS, 1), ("tree", TREE, 0)])
def test_an_old_cache_is_extended_without_encoding_anything_again(
    work: Path, dataset: str, arguments: tuple[object, ...], n_failed: int
) -> None:
    before = files(work / "cache", "[ef]*/**/*")
    result = told("featcache", "extract", *arguments, *ALL, codes=(3 if n_failed else 0,))
    assert result["n_encoded"] == 0 and result["n_failed_contents"] == n_failed
    after, orphans = files(work / "cache", "[ef]*/**/*"), f"failures/samples/{dataset}/orphans.json"
    said = [each.pop(orphans, b"") for each in (before, after)]  # messages, which name lines now
    assert after == before and before and [b"row 61," in said[0], b"line 62," in said[1]] == [n_failed > 0] * 2
    assert samples(work / "cache", dataset) == EXPECTED["samples"][dataset]
    assert told("featcache", "verify", "cache", "--deep")["is_sound"]
    assert told("featcache", "status", "cache")["n_missing"] == 0


def test_an_extended_cache_goes_on_by_the_rules_it_was_read_by_and_its_runs_score_as_they_did(work: Path) -> None:
    told("featcache", "extract", *PHOTOS, *ALL, codes=(3,))
    document = told("featcache", "extract", *TREE, *ALL)
    assert document["notes"] == [] and sum(group["n_samples"] for group in document["read"]) == document["n_samples"]
    for dataset in ("photos", "tree"):
        assert read_before(Cache.open(work / "cache"), dataset) == Reading(rules=1)
    assert_holds(
        told("heads", "evaluate", "runs/logistic", "--dataset", "photos"), EXPECTED["runs"]["logistic"]["test"]
    )


def test_new_pictures_of_an_old_tree_are_labelled_as_the_old_ones_would_have_been(work: Path) -> None:
    for name in ("train/1_fake/7.png", "train/nature/8.png"):
        path = work / "tree" / name
        path.parent.mkdir()
        path.write_bytes(Path("tree/test/real/99.png").read_bytes() + name.encode())
    document = told("featcache", "extract", *TREE, "--text-model", "none")
    assert "--labels auto" in document["notes"][0]
    after = samples(work / "cache", "tree")
    rows = [after["sample_id"].index(name) for name in ("train/1_fake/7", "train/nature/8")]
    assert [after["class_names"][after["label_b"][row]] for row in rows] == ["1_fake", "real"]
    old = dict(zip(EXPECTED["samples"]["tree"]["sample_id"], EXPECTED["samples"]["tree"]["label_a"], strict=True))
    assert old.items() <= dict(zip(after["sample_id"], after["label_a"], strict=True)).items()


def test_an_old_tree_keeps_its_names_and_tells_which_pictures_a_new_one_would_have(work: Path) -> None:
    png = Path("tree/test/real/99.png").read_bytes()
    before = samples(work / "cache", "tree")
    (name, *_) = (each for each in before["sample_id"] if each.startswith("train/"))
    for path, data in {"new.avif": png, "without-an-ending": png, "notes.txt": b"about", f"{name}.json": b"{}"}.items():
        (work / "tree" / path if "/" in path else work / "tree" / "train" / "real" / path).write_bytes(data)
    document = told("featcache", "extract", *TREE, "--text-model", "none")
    assert samples(work / "cache", "tree") == before and document["n_encoded"] == 0
    (left,) = document["left_out"]
    assert left["names"] == ["train/real/new.avif", "train/real/without-an-ending"] and "--name" in left["reason"]
    assert document["n_left_out"] == 2
    new = told("featcache", "extract", "tree", "--name", "new", *IMAGE, "--text-model", "none")
    assert new["left_out"] == [] and new["n_samples"] == len(before["sample_id"]) + 2
    assert "train/real/without-an-ending" in samples(work / "cache", "new")["sample_id"]


SMALL_FRAME = bytes.fromhex(
    "474946383761400030008100000000ffff00000000000000002c08000400040003000008080003081c48506040003b"
)  # a GIF of 64 × 48 pixels whose only frame is 4 × 3, and the first colour blue


def test_an_old_cache_and_its_runs_go_on_decoding_by_their_rules(work: Path) -> None:
    Path("pictures/small.gif").write_bytes(SMALL_FRAME)
    with Path("photos.csv").open("a", encoding="utf-8") as file:
        file.write("pictures/small.gif,a red ball number 1,0,real,g1\n")
    producers = sorted(path.name for path in work.glob("cache/encoders/*"))
    assert told("featcache", "extract", *PHOTOS, *ALL, codes=(3,))["n_encoded"] == 2 * 2
    assert sorted(path.name for path in work.glob("cache/encoders/*")) == producers
    call("featcache", "extract", *PHOTOS, *ALL, "--cache", "anew", codes=(3,))
    anew = {path.name for path in work.glob("anew/encoders/*")}
    assert len(anew - set(producers)) == 2 and len(anew & set(producers)) == 1  # of captions alone
    found = []
    for run in ("cache", "anew"):
        pooled = next(each for each in OF_PICTURES if each["output"] == "pooled")
        X = vectors(work / run, "photos", pooled)
        found.append(X[-1])
        np.testing.assert_allclose(X[0], vectors(work / "cache", "photos", pooled)[0], atol=2e-3)
    assert np.abs(found[0] - found[1]).max() > 1e-2
    picture = ("--image", "pictures/small.gif", "--caption", "a red ball number 1", "--device", "cpu")
    models = ("--image-model", "models/clip", "--text-model", "models/bert")
    p_ai, _ = answers("runs/mlp-concat", "--dataset", "photos")
    assert told("heads", "detect", "runs/mlp-concat", *picture, *models)["p_ai"] == pytest.approx(p_ai[-1], abs=5e-3)


def test_of_a_picture_more_only_that_is_encoded_and_the_old_rows_stay(work: Path) -> None:
    Path("pictures/more.png").write_bytes(Path("tree/test/real/99.png").read_bytes() + b"the same pixels")
    with Path("photos.csv").open("a", encoding="utf-8") as file:
        file.write("pictures/more.png,a red ball number 1,0,real,g1\n")
    before = files(work / "cache", "features/**/[!.]*")
    result = told("featcache", "extract", *PHOTOS, *ALL, codes=(3,))
    assert result["n_encoded"] == 2 * 2  # by two encoders under two views
    assert files(work / "cache", "features/**/[!.]*").items() >= before.items()
    after = samples(work / "cache", "photos")
    for name, values in EXPECTED["samples"]["photos"].items():
        assert after[name][: len(values)] == values
    row = samples(work / "cache", "tree")["sample_id"].index("test/real/99")  # the same pixels, by the old code
    for each in OF_PICTURES:
        old, new = vectors(work / "cache", "tree", each)[row], vectors(work / "cache", "photos", each)[-1]
        np.testing.assert_allclose(new, old, atol=2e-3)


def test_an_interrupted_extraction_of_an_old_cache_goes_on(work: Path) -> None:
    left = [*work.glob("interrupted/claims/*/*/*.json"), *work.glob("interrupted/**/.tmp-*")]
    for path in left:  # of a process elsewhere, of which nobody can tell whether it lives
        os.utime(path, (time.time() - 2 * 24 * 3600,) * 2)
    before, lacked = files(work / "interrupted", "features/**/[!.]*"), EXPECTED["caches"]["interrupted"]["n_missing"]
    arguments = (*PHOTOS, "--text-model", "none", "--cache", "interrupted", "--shard")
    assert told("featcache", "extract", *arguments, "0/2", codes=(3,))["n_encoded"] == 0
    assert told("featcache", "extract", *arguments, "1/2", codes=(3,))["n_encoded"] == lacked > 0
    status = told("featcache", "status", "interrupted")
    assert (status["n_missing"], status["n_claims"], status["datasets"][0]["divisions"]) == (0, 0, [])
    assert len(left) == 3 and not any(path.exists() for path in left)
    after = files(work / "interrupted", "features/**/[!.]*")
    assert after.items() >= before.items()
    for each in OF_PICTURES:
        old, new = vectors(work / "cache", "photos", each), vectors(work / "interrupted", "photos", each)
        np.testing.assert_allclose(new, old, atol=2e-3)


def test_a_verdict_of_an_old_run_is_that_of_its_row(work: Path) -> None:
    number = EXPECTED["samples"]["photos"]["sample_id"].index("pictures/12-alpha.jpg")
    picture = ("--image", "pictures/12-alpha.jpg", "--caption", "a red ball number 12", "--device", "cpu")
    models = ("--image-model", "models/clip", "--text-model", "models/bert")
    verdict = told("heads", "detect", "runs/mlp-concat", *picture, *models)
    assert verdict["p_ai"] == pytest.approx(EXPECTED["runs"]["mlp-concat"]["p_ai"][number], abs=5e-3)


def test_an_old_run_scans_its_data_as_it_judged_them(work: Path) -> None:
    models = ("--image-model", "models/clip", "--text-model", "models/bert", "--device", "cpu")
    told("heads", "scan", "runs/mlp-concat", "photos.csv", "--out", "scanned.jsonl", *models, codes=(3,))
    lines = [json.loads(line) for line in Path("scanned.jsonl").read_text(encoding="utf-8").splitlines()]
    found = {line["sample_id"]: line["p_ai"] for line in lines}
    for sample_id, p_ai in zip(
        EXPECTED["samples"]["photos"]["sample_id"], EXPECTED["runs"]["mlp-concat"]["p_ai"], strict=True
    ):
        assert found[sample_id] == (None if p_ai is None else pytest.approx(p_ai, abs=5e-3))


def test_an_export_is_the_one_that_was_made_before(work: Path) -> None:
    call("featcache", "export", "--dataset", "photos", "--split", "test", "--out", "again.npz")
    with np.load("test.npz", allow_pickle=False) as old, np.load("again.npz", allow_pickle=False) as new:
        for name in set(old) - {"about"}:
            np.testing.assert_array_equal(new[name], old[name])


def test_a_finished_ablation_is_left_alone(work: Path) -> None:
    before = files(work / "ablation", "**/*")
    result = call("heads", *ABLATE, "ablation", codes=(1,))
    assert "finished ablation" in str(result.exception) and files(work / "ablation", "**/*") == before


@pytest.mark.slow
def test_a_begun_ablation_goes_on(work: Path) -> None:
    from safetensors.numpy import load_file

    done = [load_file(work / "ablation-begun" / "trials" / f"{name}.safetensors") for name in EXPECTED["trials"]]
    seconds = {float(each) for trial in done for each in trial["seconds"]}
    heads = told("heads", *ABLATE, "ablation-begun")["heads"]
    assert len(seconds) == 6 and seconds <= {head["seconds"] for head in heads}, "trials were done again"
    assert (work / "ablation-begun" / "ablation.json").is_file()


def test_an_old_table_gets_no_columns_that_nothing_was_said_for(work: Path) -> None:
    call("featcache", "extract", *PHOTOS, *ALL, codes=(3,))
    old, new = (columns_of(folder / "cache/samples/photos.h5") for folder in (LEGACY, work))
    assert new == old


def columns_of(path: Path) -> set[str]:
    with h5py.File(path) as table:
        return set(table)


def test_a_pair_of_columns_and_a_root_change_nothing_in_an_old_data_set(work: Path) -> None:
    text = Path("photos.csv").read_text("utf-8").splitlines(keepends=True)
    Path("photos.csv").write_text(text[0].replace("image", "file", 1) + "".join(text[1:]), "utf-8")
    said = ("--column", "image=file", "--root", work)
    result = told("featcache", "extract", *PHOTOS, *ALL, *said, codes=(3,))
    assert result["n_encoded"] == 0 and samples(work / "cache", "photos") == EXPECTED["samples"]["photos"]
    again = told("featcache", "extract", *PHOTOS, *ALL, codes=(3,))
    assert again["n_encoded"] == 0 and samples(work / "cache", "photos") == EXPECTED["samples"]["photos"]
    assert any("columns as named before: --column image=file" in note for note in again["notes"])
    assert told("featcache", "verify", "cache", "--deep")["is_sound"]
