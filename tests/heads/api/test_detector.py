"""Laws of the detector: in Python it says what the commands say."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import cli
import heads
from featcache import FeatureStore
from heads import Detector, load_run
from heads.api.vectors import fuse_vectors
from heads.errors import HeadsError
from heads.runs.predictions import predict
from heads.runs.run import Run
from tests.heads.synthetic import GENERATORS, train_run, write_cache

from factories import png

WIDTHS = {"text": 6, "image": 12}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return write_cache(tmp_path_factory.mktemp("detector") / "cache")


@pytest.fixture(scope="module")
def run(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_run(store, tmp_path_factory.mktemp("detector") / "run", head="linear", fusion="concat")


@pytest.mark.slow
def test_the_package_is_light_and_so_is_a_detector(run: Run) -> None:
    code = f"""
import sys
import heads
light = {{m.partition(".")[0] for m in sys.modules}} & {{"torch", "sklearn", "scipy", "numpy", "featcache"}}
heads.Detector.load({str(run.path)!r})
later = {{m.partition(".")[0] for m in sys.modules}} & {{"torch", "sklearn", "transformers", "lightgbm"}}
print(sorted(light), sorted(later), heads.load_run.__module__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[] [] heads.runs.run"
    with pytest.raises(AttributeError, match="has no attribute 'Detektor'"):
        heads.Detektor  # type: ignore[attr-defined]  # noqa: B018


def test_rows_get_what_predict_says_of_them(run: Run, store: FeatureStore) -> None:
    found = Detector.load(str(run.path), prior=0.3)
    expected = predict(run, store, "test", prior=0.3).table()
    arrays = store.arrays("test")
    matrix = np.concatenate([arrays.features["text"], arrays.features["image"]], axis=1)
    for X in (arrays.features, store.to_pandas("test"), matrix, matrix.astype(np.float64)):
        verdicts, proba = found.verdicts(X), found.predict_proba(X)
        assert (verdicts.words, verdicts.names) == (expected["pred_a"], expected["pred_b"])
        np.testing.assert_allclose(1 - proba[:, 0], expected["p_ai"], atol=1e-6)
        np.testing.assert_allclose(proba[:, 3], expected["p_sd3"], atol=1e-6)
        assert verdicts.novelty is not None and verdicts.novelty.tolist() == expected["novelty"]
        of_set = found.compare_set(verdicts.raw)
        assert of_set is not None and (of_set.n, of_set.n_known) == (len(matrix), len(store.arrays("valid")))
    assert found.compare_set(verdicts.raw[:9]) is None
    assert found.classes == ("real", *GENERATORS) and found.run.path == load_run(run.path).path == run.path
    with pytest.raises(HeadsError, match="no operating point 'strict'"):
        Detector.load(run.path, point="strict")


TEXT, IMAGE = np.zeros((2, 6)), np.zeros((2, 12))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((2, 7)), "X has 7 columns, head was fitted on 18 (text 6 + image 12)"),
        (
            {"text": TEXT, "image": TEXT},
            "the image vectors of X have 6 columns, head was fitted on 18 (text 6 + image 12)",
        ),
        ({"text": TEXT}, "X has no image vectors, head was fitted on 18 (text 6 + image 12)"),
        ({"text": TEXT, "image": IMAGE[:1]}, "X has 2 text, 1 image vectors, expected as many of each"),
        ({"text": TEXT, "image": [[0.0], [1.0, 2.0]]}, "the image vectors of X are no matrix of numbers: setting an"),
        ([["a"] * 18], "X is no matrix of numbers, head was fitted on 18 (text 6 + image 12): could not convert"),
        (np.zeros(18), "X is no matrix of numbers, head was fitted on 18 (text 6 + image 12): it has shape (18,)"),
    ],
)
def test_vectors_that_are_not_those_of_the_run_are_told_by_name(X: Any, message: str) -> None:
    with pytest.raises(HeadsError) as caught:
        fuse_vectors(X, "concat", widths=WIDTHS)
    assert str(caught.value).startswith(message)


def test_what_else_a_frame_has_is_not_read(store: FeatureStore) -> None:
    frame = store.to_pandas("valid")
    one = fuse_vectors(frame[["label_a", "image"]], "image", widths={"image": 12})
    assert np.array_equal(one, store.arrays("valid").features["image"])
    with pytest.raises(HeadsError, match=r"^X has no text vectors"):
        fuse_vectors(frame.drop(columns="text"), "concat", widths=WIDTHS)


@pytest.fixture(scope="module")
def spectral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on spectral vectors, whose encoder has no weights: nothing of it is made up."""
    folder = tmp_path_factory.mktemp("spectral")
    for number in range(24):
        path = folder / "data" / ("train" if number < 14 else "valid") / ("real", "sdxl")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number, size=(40 + number % 2 * 40, 40)))
    call(cli.featcache_app, "extract", folder / "data", "--cache", folder / "cache", "--spectral",
         "--text-model", "none", "--image-model", "none")  # fmt: skip
    call(cli.heads_app, "train", folder / "cache", "--fusion", "spectral", "--head", "linear", "--out", folder / "run")
    return folder


def call(app: Any, *words: object) -> None:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code in (0, 3), result.output


@pytest.mark.slow
def test_pictures_get_what_scan_and_detect_say_of_them(
    spectral: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    others = tmp_path / "others"
    others.mkdir()
    for number in range(3):
        (others / f"{number}.png").write_bytes(png(100 + number))
    (others / "bad.png").write_bytes(b"\x89PNG")
    (others / "metadata.csv").write_text("id,size\n1,2\n")
    call(cli.heads_app, "scan", spectral / "run", others, "--out", tmp_path / "v.csv")
    with (tmp_path / "v.csv").open(newline="") as file:
        expected = {Path(line["path"]).name: line for line in csv.DictReader(file)}
    found = Detector.load(spectral / "run", device="cpu")
    listed = [others / "0.png", str(others / "bad.png"), others / "gone.png", str(others / "0.png")]
    for data, names in ((others, sorted(expected)), (listed, ["0.png", "bad.png", "gone.png"])):
        judged = found.scan(data, cache=tmp_path / "kept", log=tmp_path / "log.jsonl", tables=data is others)
        lines = {Path(line["path"]).name: line for line in judged}
        assert sorted(lines) == names
        for name in names[:-1]:
            assert shown(lines[name]) == shown(expected[name])
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(entries) == len(expected) + 3
    assert all(entry["views"] == {"clean": entry["p_ai_raw"]} for entry in entries if entry["verdict"])
    assert "names neither images nor captions" in caplog.text and "passed over: {'.csv': 1}" in caplog.text
    assert lines["gone.png"]["error"] == "there is no regular file" and not (tmp_path / "others.featcache").exists()
    verdict = found.detect(str(others / "0.png"), caption="ignored")
    assert (verdict.verdict, f"{verdict.p_ai:.4f}") == (lines["0.png"]["verdict"], f"{lines['0.png']['p_ai']:.4f}")
    for name, message in (("bad.png", r"bad\.png: "), ("gone.png", r"^cannot read the picture .*gone\.png")):
        with pytest.raises(HeadsError, match=message):
            found.detect(others / name)


def shown(line: Mapping[str, Any]) -> dict[str, str]:
    told = {name: line[name] or "" for name in ("verdict", "error", "stage")}
    return told | {"p_ai": f"{float(line['p_ai']):.4f}" if line["p_ai"] else ""}
