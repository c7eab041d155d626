"""What docs/run-format.md says is on disk: files, keys and arrays of every kind of head, no more and no less."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

import cli
from featcache import FeatureStore
from featcache.synthetic import SyntheticOutput, write_synthetic
from heads import DetectorClassifier
from heads.data.columns import Columns
from heads.data.fusion import FUSIONS
from heads.data.tasks import default_tasks
from heads.head.kinds import HEADS
from heads.mlp.network import Network
from heads.runs.run import Run, load_run, load_run_features
from tests.docs.pages import ROOT
from tests.heads.synthetic import Row, train_run, write_cache

DOCUMENT = (ROOT / "docs" / "run-format.md").read_text(encoding="utf-8")
RUNS: Mapping[str, Mapping[str, Any]] = {
    "mlp": {"fusion": "concat", "epochs": 2},
    "logistic": {"head": "linear", "strengths": [0.01, 0.1]},
    "ridge": {"head": "linear", "solver": "ridge", "strengths": [0.01]},
    "lda": {"head": "lda", "shrinkages": [0.1]},
    "gbdt": {"head": "gbdt", "rounds": 2},
    "gbdt-components": {"head": "gbdt", "rounds": 2, "components": 3},
    "ensemble": {"head": "ensemble", "members": "linear,gbdt", "gbdt.rounds": 2, "gbdt.components": 3},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return write_cache(tmp_path_factory.mktemp("run-format") / "cache")


@pytest.fixture(scope="module")
def runs(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    return {name: train_run(store, folder / name, **settings) for name, settings in RUNS.items()}


@pytest.fixture(scope="module")
def pseudo(store: FeatureStore, runs: dict[str, Run]) -> Path:
    out = runs["logistic"].path.with_name("pseudo")
    call("pseudo-label", runs["logistic"].path, store.path, "--split", "test", "--threshold", 0.6, "--out", out)
    return out


@pytest.fixture(scope="module")
def calibrated(store: FeatureStore, runs: dict[str, Run]) -> Path:
    """A run with folds, a point and sets."""
    first, out = runs["logistic"].path.with_name("folds"), runs["logistic"].path.with_name("calibrated")
    call("train", store.path, "--head", "linear", "--fusion", "image", "--folds", 2, "--out", first)
    words = ("--max-fpr", 0.4, "--max-fnr", 0.4, "--coverage", 0.8, "--out", out)
    call("calibrate", first, store.path, *words)
    return out


@pytest.fixture(scope="module")
def phone(calibrated: Path) -> Path:
    """The same with a point of another data set."""

    def rename(rows: list[Row]) -> None:
        for row in rows:
            row.group, row.caption, row.picture = f"other-{row.group}", f"other {row.caption}", row.sample_id.encode()

    other, out = calibrated.with_name("other"), calibrated.with_name("phone")
    write_cache(other, captions={"train": 1, "valid": 20}, generators=("sdxl",), edit=rename)
    call("calibrate", calibrated, other, "--max-fpr", 0.3, "--out", out)
    return out


def call(*words: object) -> None:
    result = CliRunner().invoke(cli.heads_app, [str(word) for word in words])
    assert result.exit_code == 0, result.output


def table(title: str) -> list[list[str]]:
    """Cells of the table whose first column has a title."""
    (found,) = re.findall(rf"^\| {re.escape(title)} \|.*\n\|[ -|]+\n((?:\|.*\n)+)", DOCUMENT, re.M)
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found.splitlines()]


def names(title: str) -> set[str]:
    """What the first column of a table names."""
    return {name for row in table(title) for name in re.findall(r"`([^`]+)`", row[0])}


def section(title: str) -> str:
    (found,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", DOCUMENT, re.M | re.S)
    return str(found)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def tree() -> str:
    (block,) = re.findall(r"```\n(runs/first/.*?)```", DOCUMENT, re.S)
    return str(block)


def is_shaped(value: np.ndarray, told: str, sizes: Mapping[str, int]) -> bool:
    dtype, shape = told.split(" ", 1)
    parts = [part for part in shape.strip("()").replace(" ", "").split(",") if part]
    return value.dtype.name == dtype and value.shape == tuple(sizes[part] for part in parts)


@pytest.mark.slow
def test_every_kind_of_head_is_tried_and_named(runs: dict[str, Run]) -> None:
    kinds = {run.record.config.head for run in runs.values()}
    assert kinds == set(HEADS)
    told = dict(table("key of `config`"))["`head`"]
    assert all(f"arrays of `{kind}`" in DOCUMENT for kind in kinds - {"ensemble"})
    assert all(f"`{kind}`" in told for kind in kinds)


@pytest.mark.slow
def test_a_run_has_the_files_that_are_listed(runs: dict[str, Run], pseudo: Path, phone: Path) -> None:
    listed = {line.split()[0] for line in tree().splitlines()[1:]} - {"head/"}
    patterns = [re.escape(name).replace("<i>", r"\d+") for name in listed]
    found = set()
    for folder in [*(run.path for run in runs.values()), pseudo, phone]:
        found |= {path.name for path in folder.rglob("*") if path.is_file()}
    assert all(any(re.fullmatch(pattern, name) for pattern in patterns) for name in found)
    assert all(any(re.fullmatch(pattern, name) for name in found) for pattern in patterns)


def test_the_record_has_the_keys_that_are_listed(runs: dict[str, Run], pseudo: Path) -> None:
    for folder in [*(run.path for run in runs.values()), pseudo]:
        record = read(folder / "run.json")
        assert record.keys() == names("key of `run.json`")
        assert record["config"].keys() == names("key of `config`")
        assert record["rows"].keys() == names("key of `rows`")
        assert record["validation"].keys() == names("key of `validation`")
        for part in ("selecting", "calibrating"):
            assert record["validation"][part].keys() == names("key of a part")
        selections = {name for row in table("key of a producer") for name in re.findall(r"`(\w+)`", row[1])}
        for producer in record["producers"].values():
            assert producer.keys() == names("key of a producer")
            assert selections == {*producer["selection"], *producer["document"]}
        assert record["source"].keys() == {"cache", "dataset"}
        others = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        del others["run.json"]
        assert record["files"] == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in others.items()}


def test_what_a_calibrated_run_promises_is_told(calibrated: Path) -> None:
    record = read(calibrated / "run.json")
    verdicts, folds = record["verdicts"], record["folds"]
    assert verdicts.keys() == names("key of `verdicts`") and verdicts["maps"].keys() == names("key of `maps`")
    assert verdicts["sets"].keys() == names("key of `sets`")
    for point in verdicts["points"]:
        assert point.keys() == names("key of a point")
        assert all(each.keys() == names("key of a guarantee") for each in point["guarantees"])
    (sentence,) = re.findall(r"`folds` has (.*)\n", DOCUMENT)
    inner = {key for task in folds["metrics"].values() for figure in task.values() for key in figure}
    assert set(re.findall(r"`(\w+)`", sentence)) == {*folds, *inner}
    arrays = load_file(calibrated / "folds.safetensors")
    told = {row[0].strip("`"): row[1] for row in table("array of `folds.safetensors`")}
    assert arrays.keys() == told.keys()
    assert all(is_shaped(arrays[name], told[name], {"n": folds["n"]}) for name in arrays)


def test_what_a_pseudo_label_round_leaves_is_told(pseudo: Path) -> None:
    report = read(pseudo / "run.json")["pseudo"]
    (sentence,) = re.findall(r"`pseudo` has (.*)\n", DOCUMENT)
    told = set(re.findall(r"`(\w+)`", sentence))
    inner = {key for task in report["tasks"].values() for each in task.values() for key in each}
    assert told == {*report, *inner}
    header = (pseudo / "pseudo_labels.csv").read_text("utf-8").splitlines()[0].split(",")
    named = dict.fromkeys(re.findall(r"`(\w+)`", section("pseudo_labels.csv")))
    assert header == [name for name in named if name not in ("real", "ai")]


@pytest.mark.parametrize("name", RUNS)
def test_a_head_has_the_keys_and_records_that_are_listed(runs: dict[str, Run], name: str) -> None:
    head = read(runs[name].path / "head" / "head.json")
    assert head.keys() == names("key of `head.json`")
    assert head["tasks"][0].keys() == {"name", "kind", "classes", "parent", "parent_class"}
    config = runs[name].record.config
    solver = head["config"].get("solver")
    own = [row for row in table("kind") if row[0].startswith(f"`{config.head}`")]
    (row,) = [row for row in own if solver is None or f"`{solver}`" in row[0]]
    assert set(head["fitted"]) == set(re.findall(r"`(\w+)`", row[1]))
    told = set(re.findall(r"`(\w+)`", row[2]))
    assert all(config.head == "ensemble" or set(record) == told for record in head["history"]) and head["history"]
    record = read(runs[name].path / "run.json")
    assert head["config"] == record["config"]["settings"] and head["history"] == record["history"]
    assert head["tasks"] == record["tasks"]


def arrays_of(kind: str) -> dict[str, str]:
    """Patterns of names → dtype and shape."""
    told = {}
    for row in table(f"arrays of `{kind}`"):
        for name in re.findall(r"`([^`]+)`", row[0]):
            pattern = re.escape(name).replace("<i>", r"\d+").replace("<map>", r"(hidden[01]?|first|second|gate)")
            told[pattern.replace("<classifier>", r"classifiers[01]?")] = row[1]
    return told


def match(found: Iterable[str], told: Mapping[str, str]) -> dict[str, str]:
    """Find the one pattern of each name."""
    result = {}
    for name in found:
        (result[name],) = [pattern for pattern in told if re.fullmatch(pattern, name)]
    return result


@pytest.mark.parametrize("name", ["logistic", "ridge", "lda"])
def test_a_linear_head_has_the_arrays_that_are_listed(runs: dict[str, Run], name: str) -> None:
    told = arrays_of(runs[name].record.config.head)
    arrays = load_file(runs[name].path / "head" / "weights.safetensors")
    places = match(arrays, told)
    assert set(places.values()) == set(told)
    for array, pattern in places.items():
        task = runs[name].tasks[int(array[0])] if array[0].isdigit() else runs[name].tasks[0]
        sizes = {"d": len(arrays["scaler.mean"]), "K": len(task.classes), "L": task.n_logits}
        assert is_shaped(arrays[array], told[pattern], sizes), array


def test_what_tells_unlike_pictures_has_the_arrays_that_are_listed(store: FeatureStore, runs: dict[str, Run]) -> None:
    run, told = runs["logistic"], {row[0].strip("`"): row[1] for row in table("array of `novelty.safetensors`")}
    arrays = load_file(run.path / "novelty.safetensors")
    assert arrays.keys() == told.keys()
    k, c = arrays["axes"].shape[1], len(arrays["centres"])
    sizes = {"d": 12, "k": k, "c": c, "h": len(arrays["held_out"]), "m": len(arrays["p_ai"])}
    assert all(is_shaped(arrays[name], told[name], sizes) for name in arrays)
    X = load_run_features(run, store, splits=("test",)).matrix("image")
    away = (X.astype(np.float64) @ arrays["axes"])[:, None] - arrays["centres"]
    distance = (away**2).sum(axis=2).min(axis=1).astype(np.float32)
    at_least = (arrays["held_out"] >= distance[:, None]).sum(axis=1)
    assert run.likeness is not None
    np.testing.assert_allclose(run.likeness.novelty.p_value(X), (1 + at_least) / (1 + sizes["h"]))


def test_the_scores_of_a_point_are_the_arrays_that_are_listed(phone: Path) -> None:
    told = {row[0].strip("`"): row[1] for row in table("array of `point_scores.safetensors`")}
    arrays = load_file(phone / "point_scores.safetensors")
    assert arrays.keys() == {name.replace("<point>", "fpr-0.3") for name in told}
    sizes = {"m": len(arrays["fpr-0.3.y"])}
    assert all(is_shaped(arrays[name.replace("<point>", "fpr-0.3")], shape, sizes) for name, shape in told.items())


def test_an_mlp_head_has_the_arrays_that_are_listed(runs: dict[str, Run]) -> None:
    arrays, told = load_file(runs["mlp"].path / "head" / "weights.safetensors"), arrays_of("mlp")
    sizes = {"d": 18, "dim": 32, "width": 18, "logits": 1 + 5}
    for array, pattern in match(arrays, told).items():
        assert is_shaped(arrays[array], told[pattern], sizes), array


def test_the_arrays_of_every_fusion_are_listed() -> None:
    widths = {"text": {"cls": 4}, "image": {"layers:1": 4, "layers:2": 4}, "spectral": {"dct": 3}}
    told, seen = arrays_of("mlp"), set()
    for fusion, modalities in FUSIONS.items():
        columns = Columns.build({modality: widths[modality] for modality in modalities})
        parameters = Network(fusion, columns, 8, "multitask", default_tasks(["x", "y"])).parameters
        seen |= set(match(parameters, told).values())
    assert seen == {pattern for pattern in told if "scaler" not in pattern}


def test_an_ensemble_is_made_of_the_files_that_are_listed(store: FeatureStore, runs: dict[str, Run]) -> None:
    run, told = runs["ensemble"], section("Members")
    folder = run.path / "head"
    files = {re.sub(r"^member-\d+\.", "", path.name) for path in folder.iterdir() if path.name != "head.json"}
    assert files == {"head.json", "weights.safetensors", "components.safetensors", "model-0.txt", "model-1.txt"}
    head, X = read(folder / "head.json"), load_run_features(run, store, splits=("test",)).matrix("image")
    said = []
    for place, (kind, ranges) in enumerate(zip(head["fitted"]["kinds"], head["fitted"]["ranges"], strict=True)):
        own = read(folder / f"member-{place}.head.json")
        assert own["kind"] == kind and ranges == [[0, X.shape[1]]] and own["tasks"] == head["tasks"]
        records = [record for record in head["history"] if record["member"] == place]
        assert [{"member": place, **record} for record in own["history"]] == records
        said.append(run.head.members[place].predict(X).proba)  # type: ignore[attr-defined]
    assert "1e-7" in told
    p = np.clip(np.stack([proba["a"] for proba in said]).astype(np.float64), 1e-7, 1 - 1e-7)
    logits = np.log(p / (1 - p)).mean(axis=0)
    found = load_run(run.path).head.predict_proba(X).proba
    np.testing.assert_allclose(found["a"], 1 / (1 + np.exp(-logits)), atol=1e-6)
    shares = np.exp(np.log(np.maximum(np.stack([proba["b"] for proba in said]), 1e-7)).mean(axis=0))
    np.testing.assert_allclose(found["b"], shares / shares.sum(axis=1, keepdims=True), atol=1e-5)


def test_trees_see_the_components_that_are_listed(runs: dict[str, Run]) -> None:
    path, told = runs["gbdt-components"].path / "head" / "components.safetensors", arrays_of("gbdt")
    arrays = load_file(path)
    places = match(arrays, told)
    assert set(places.values()) == set(told)
    for array, pattern in places.items():
        assert is_shaped(arrays[array], told[pattern], {"d": 12, "n_components": 3})


def test_the_reader_in_the_document_predicts_what_the_run_does(store: FeatureStore, runs: dict[str, Run]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.S)
    known: dict[str, Any] = {}
    exec(code, known)
    for name in ("logistic", "ridge", "lda"):
        run = load_run(runs[name].path)
        rows = load_run_features(run, store, splits=("test",))
        expected = run.predict(rows).proba
        for found, task in zip(known["predict_linear"](run.path, rows.matrix("image")), ("a", "b"), strict=True):
            np.testing.assert_allclose(found, expected[task], atol=1e-5)


def test_a_classifier_has_the_files_and_keys_that_are_listed(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(40, 3))
    DetectorClassifier(settings={"strengths": [0.1]}).fit(X, np.tile(["b", "a"], 20)).save(tmp_path / "c")
    (block,) = re.findall(r"```\n(classifiers/first/.*?)```", DOCUMENT, re.S)
    listed = {line.split()[0].strip("/") for line in block.splitlines()[1:]}
    assert {path.name for path in (tmp_path / "c").iterdir()} == listed
    record = read(tmp_path / "c" / "classifier.json")
    assert record.keys() == names("key of `classifier.json`")
    head = tmp_path / "c" / "head"
    assert record["files"] == {f"head/{p.name}": hashlib.sha256(p.read_bytes()).hexdigest() for p in head.iterdir()}
    assert read(head / "head.json")["tasks"][0]["name"] in re.findall(
        r"`(\w+)`", section("The folder of a classifier, format version 1")
    )


@pytest.mark.slow
def test_an_ablation_has_the_files_keys_and_columns_that_are_listed(store: FeatureStore, tmp_path: Path) -> None:
    out = tmp_path / "ablation"
    grid = ("--head", "linear", "--fusion", "image,text", "--seeds", 1, "--set", "strengths=[0.01]")
    call("ablate", store.path, *grid, "--out", out)
    (block,) = re.findall(r"```\n(ablation/\n.*?)```", DOCUMENT, re.S)
    listed = {line.split()[0].strip(",") for line in block.splitlines()[1:]} - {"plan.json"}
    assert {path.name for path in out.iterdir()} - {"ablation.svg"} == listed
    document = read(out / "ablation.json")
    rows = {row[0].strip("`"): row[1] for row in table("key of `ablation.json`")}
    assert document.keys() == rows.keys()
    for key in ("grid", "conditions", "n_rows"):
        assert document[key].keys() == set(re.findall(r"`(\w+)`", rows[key]))
    assert all(set(each) == set(re.findall(r"`(\w+)`", rows["findings"])) for each in document["findings"])
    for name in ("ablation.csv", "heads.csv"):
        with (out / name).open(newline="", encoding="utf-8") as file:
            columns = set(next(csv.reader(file)))
        assert columns == names(f"column of `{name}`")
    assert set(document["table"][0]) == names("column of `ablation.csv`") == set(document["best"])
    assert set(document["heads"][0]) == names("column of `heads.csv`")


@pytest.mark.slow
def test_where_outputs_are_compared_there_are_the_columns_that_are_listed(tmp_path: Path) -> None:
    outputs = {
        "text": {"cls": SyntheticOutput(6)},
        "image": {"pooled": SyntheticOutput(6), "layers:1": SyntheticOutput(6)},
    }
    store = write_synthetic(tmp_path / "cache", captions={"train": 20, "valid": 10}, outputs=outputs).store
    grid = ("--head", "linear", "--fusion", "image,text", "--set", "strengths=[0.01]", "--image-outputs")
    for name, chosen in (("one", "pooled"), ("several", "pooled;layers:1")):
        call("ablate", store.path, *grid, chosen, "--out", tmp_path / name)
    one, several = (read(tmp_path / name / "ablation.json") for name in ("one", "several"))
    (told,) = re.findall(r"^Where outputs are compared .*?\n\n", DOCUMENT, re.S | re.M)
    assert f"`format` is {several['format']}" in told and several["grid"].keys() - one["grid"].keys() == {"outputs"}
    column = "image_outputs"
    for name, more in (("table", {"vs_first", "vs_first_low", "vs_first_high"}), ("heads", set())):
        assert several[name][0].keys() - one[name][0].keys() == {column, *more}
    assert {*several["findings"][0]} == {"head", "fusion", column, "verdict", "sentence"}
    assert all(f"`{word}`" in told for word in ("outputs", column, "vs_first", "vs_first_low", "vs_first_high"))


@pytest.mark.slow
def test_where_rows_are_held_out_there_are_the_keys_that_are_listed(store: FeatureStore, tmp_path: Path) -> None:
    grid = ("--head", "linear", "--fusion", "image", "--no-controls", "--set", "strengths=[0.01]")
    call("ablate", store.path, *grid, "--hold-out", "generator", "--out", tmp_path / "a")
    document = read(tmp_path / "a" / "ablation.json")
    (told,) = re.findall(r"^Where rows are held out .*?\n\n", DOCUMENT, re.S | re.M)
    assert f"`format` is {document['format']}" in told and "`hold_out`" in told
    rows = {row[0].strip("`"): {*re.findall(r"`(\w+)`", row[1])} for row in table("key of `held_out`")}
    held, (line,) = document["held_out"], document["held_out"]["table"]
    assert held.keys() == rows.keys() and set(held["values"][0]) == rows["values"]
    rows = {row[0].strip("`"): {*re.findall(r"`(\w+)`", row[1])} for row in table("key of a line of `held_out`")}
    assert line.keys() == names("key of a line of `held_out`") and set(line["values"][0]) == rows["values"]
    assert set(line["mean"]) == rows["mean"] and set(line["worst"]["auc"]) == {"value", *line["mean"]["auc"]}


def test_what_is_left_of_an_ablation_under_way_is_as_listed() -> None:
    begun = ROOT / "tests" / "legacy" / "ablation-begun"
    assert read(begun / "plan.json").keys() == {"format", "kind", "plan"}
    grid = {row[0].strip("`"): row[1] for row in table("key of `ablation.json`")}["grid"]
    assert read(begun / "plan.json")["plan"].keys() == {*re.findall(r"`(\w+)`", grid), "rows", "device", "memory"}
    told = {row[0].strip("`"): row[1] for row in table("array of `trials/<32 hex>.safetensors`")}
    for path in (begun / "trials").iterdir():
        arrays = load_file(path)
        sizes = dict(zip(("heads", "tasks", "rows"), arrays["decisions"].shape, strict=True))
        assert re.fullmatch(r"[0-9a-f]{32}\.safetensors", path.name) and arrays.keys() == told.keys()
        assert all(is_shaped(arrays[name], told[name], sizes) for name in arrays)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (("heads.runs.run_files", "_MAX_RECORD"), (24 * 2**20, "`run.json` 24 MiB")),
        (("heads.runs.run_files", "_MAX_FILES"), (128, "128 files")),
        (("heads.runs.run_files", "MAX_FILE"), (2**30, "any file 1 GiB")),
        (("heads.runs.run_files", "_MAX_TOTAL"), (2**31, "all files 2 GiB")),
        (("heads.head.saved", "MAX_DESCRIPTION"), (16 * 2**20, "`head.json` 16 MiB")),
        (("heads.runs.likeness", "MAX_BYTES"), (8 * 2**20, "`novelty.safetensors` 8 MiB")),
        (("heads.head.saved", "_MAX_CLASSES"), (10_000, "10,000 classes")),
        (("heads.files.document", "_MAX_VALUES"), (2**20, "a million values")),
        (("heads.files.document", "_MAX_DEPTH"), (64, "64 levels")),
        (("heads.files.document", "_MAX_DIGITS"), (300, "300 digits")),
        (("heads.data.columns", "_MAX_BLOCKS"), (4096, "4,096 blocks")),
        (("heads.ensemble.config", "MOST_MEMBERS"), (16, "16 members")),
        (("heads.gbdt.head", "_MAX_TEXT"), (256 * 2**20, "`model-<i>.txt` 256 MiB")),
    ],
)
def test_limits_are_those_that_are_told(place: tuple[str, str], told: tuple[int, str]) -> None:
    value, words = told
    assert getattr(import_module(place[0]), place[1]) == value and words in section("Limits")
