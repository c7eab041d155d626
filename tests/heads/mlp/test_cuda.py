"""Laws of the engine on a GPU: a head is that of the CPU, also where its steps are replayed as one graph."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from heads.commands import register
from heads.data.columns import Columns
from heads.data.fusion import FUSIONS
from heads.mlp.engine import HeadSpec, fit_pack
from heads.mlp.head import MlpConfig
from heads.mlp.network import FittedNetwork
from heads.mlp.replay import step_all
from tests.heads.rows import TASKS, make_rows
from tests.heads.synthetic import write_cache

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU that torch can use"),
]

DEVICE = "cuda"
N, M = 400, 120
X, TARGETS = make_rows(N + M, seed=1, dim=12)
FIT, SELECT = np.arange(N), np.arange(N, N + M)
COLUMNS = Columns.build({"text": {"cls": 3}, "image": {"layers:1": 3, "layers:2": 3}, "spectral": {"dct": 3}})
QUICK = MlpConfig(dim=8, epochs=4, batch_size=64, lr=0.01, min_steps=0)
GRID = [
    HeadSpec(replace(QUICK, dim=dim, lr=lr, epochs=epochs), seed, FIT, SELECT)
    for seed in (0, 1)
    for dim, lr, epochs in ((8, 0.01, 4), (8, 0.003, 2), (16, 0.01, 4), (32, 0.001, 3))
]


def fit(specs: list[HeadSpec], device: str = DEVICE, **options: Any) -> list[FittedNetwork]:
    return fit_pack(X, TARGETS, specs, **{"tasks": TASKS, "precision": "float32", "device": device, **options})


def assert_same(one: FittedNetwork, other: FittedNetwork, *, atol: float) -> None:
    assert len(one.history) == len(other.history)
    for name, value in one.weights.items():
        torch.testing.assert_close(value, other.weights[name], rtol=0, atol=atol)
    for first, second in zip(one.history, other.history, strict=True):
        for name in ("loss", "select_loss"):
            assert first[name] == pytest.approx(second[name], abs=atol)


def test_heads_are_those_of_the_cpu_though_some_stop_before_others() -> None:
    for found, expected in zip(fit(GRID), fit(GRID, "cpu"), strict=True):
        assert_same(found, expected, atol=2e-4)
        assert next(iter(found.weights.values())).device.type == "cpu"


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_head_of_every_fusion_is_that_of_the_cpu(fusion: str) -> None:
    grid = [HeadSpec(replace(QUICK, fusion=fusion, lr=lr), 0, FIT, SELECT) for lr in (0.01, 0.003)]
    for found, expected in zip(fit(grid, columns=COLUMNS), fit(grid, "cpu", columns=COLUMNS), strict=True):
        assert_same(found, expected, atol=2e-4)


def test_a_head_in_a_pack_equals_the_head_alone() -> None:
    for packed, alone in zip(fit(GRID), [fit([one])[0] for one in GRID], strict=True):
        assert_same(packed, alone, atol=2e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_replayed_steps_are_the_steps_themselves(monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    replayed = fit(GRID, precision=precision)
    monkeypatch.setattr("heads.mlp.lane.Replay", lambda packs, **_: partial(step_all, packs))
    for one, other in zip(replayed, fit(GRID, precision=precision), strict=True):
        assert_same(one, other, atol=1e-6)


def test_bfloat16_learns_the_same_to_its_precision() -> None:
    for low, exact in zip(fit(GRID, precision="auto"), fit(GRID), strict=True):
        assert low.history[-1]["select_loss"] == pytest.approx(exact.history[-1]["select_loss"], abs=0.05)


def test_rows_that_do_not_fit_are_read_in_windows_and_learnt_from_just_as_well() -> None:
    rows, targets = make_rows(12_000, seed=3, dim=12)
    one = HeadSpec(replace(QUICK, epochs=2), 0, np.arange(10_000), np.arange(10_000, 12_000))
    options: dict[str, Any] = {"tasks": TASKS, "precision": "float32"}
    (resident,) = fit_pack(rows, targets, [one], device=DEVICE, **options)
    (streamed,) = fit_pack(rows, targets, [one], device=DEVICE, memory=2_000_000, **options)
    (expected,) = fit_pack(rows, targets, [one], memory=2_000_000, **options)
    assert_same(streamed, expected, atol=2e-4)
    assert streamed.history[-1]["score"] == pytest.approx(resident.history[-1]["score"], abs=0.05)


def test_training_and_ablation_take_the_gpu(tmp_path: Path) -> None:
    write_cache(tmp_path / "cache")
    app = typer.Typer()
    register(app)

    def call(*words: object) -> Any:
        result = CliRunner().invoke(app, [*map(str, words), "--json"])
        assert result.exit_code == 0, (result.output, result.exception)
        return json.loads(result.stdout)

    words = (tmp_path / "cache", "--fusion", "image", "--dim", 8, "--set", "epochs=3", "--set", "lr=0.02")
    trained = {d: call("train", *words, "--device", d, "--out", tmp_path / d) for d in (DEVICE, "cpu")}
    assert trained[DEVICE].keys() == trained["cpu"].keys()
    weights = [path.stat().st_size for path in tmp_path.rglob("*/head/*.safetensors")]
    assert len(weights) == 2 and weights[0] == weights[1]
    found = call("ablate", *words, "--seeds", 2, "--device", DEVICE, "--out", tmp_path / "ablation")
    assert found["conditions"]["device"] == DEVICE
