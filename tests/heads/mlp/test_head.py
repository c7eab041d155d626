"""Laws of the network head: what it computes, how it is chosen, and that its folder is not trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from heads.data.tasks import Task, build_targets
from heads.errors import HeadsError
from heads.files.contents import Contents
from heads.head.selecting import joint_merit
from heads.head.task_scores import paper_score, selection_score
from heads.mlp.head import MlpConfig, MlpHead
from tests.heads.rows import TASKS, assert_equal, make_head, make_rows, replace_y

TRAIN, SELECT, TEST = make_rows(300, seed=1), make_rows(150, seed=2), make_rows(60, seed=3)


def test_the_network_is_linear_relu_linear_of_standardised_rows(tmp_path: Path) -> None:
    head = make_head("mlp").fit(*TRAIN, select=SELECT)
    head.save(tmp_path)
    w = {name: value.astype(np.float64) for name, value in load_file(tmp_path / "weights.safetensors").items()}
    Z = (TEST[0] - TRAIN[0].mean(axis=0, dtype=np.float64)) / TRAIN[0].std(axis=0, dtype=np.float64)
    hidden = np.maximum(Z @ w["hidden.weight"].T + w["hidden.bias"], 0)
    logits = hidden @ w["classifiers.weight"].T + w["classifiers.bias"]
    b = np.exp(logits[:, 1:])
    prediction = head.predict_proba(TEST[0])
    np.testing.assert_allclose(prediction.proba["a"], 1 / (1 + np.exp(-logits[:, 0])), atol=1e-5)
    np.testing.assert_allclose(prediction.proba["b"], b / b.sum(axis=1, keepdims=True), atol=1e-5)


def test_one_epoch_of_one_batch_is_one_step_of_adamw_from_the_drawn_weights() -> None:
    head = MlpHead(TASKS, MlpConfig(dim=5, components=0, epochs=1, batch_size=1000, lr=0.01, weight_decay=0.1))
    head.fit(*TRAIN, select=SELECT, seed=3)
    X, targets = TRAIN
    Z = torch.from_numpy(((X - X.mean(0, dtype=float)) / X.std(0, dtype=float)).astype(np.float32))
    g = torch.Generator().manual_seed(3)
    net = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 4))
    with torch.no_grad():
        for layer in (net[0], net[2]):
            for parameter in layer.parameters():
                parameter.uniform_(-(layer.in_features**-0.5), layer.in_features**-0.5, generator=g)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1)
    logits, ai = net(Z), torch.from_numpy(targets.applies["b"])
    y_a, y_b = torch.from_numpy(targets.y["a"]), torch.from_numpy(targets.y["b"])
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], y_a.float())
    loss = loss + torch.nn.functional.cross_entropy(logits[ai, 1:], y_b[ai])
    loss.backward()
    optimizer.step()
    expected = net(Z)[:, 0].sigmoid().detach().numpy()
    np.testing.assert_allclose(head.predict_proba(X).proba["a"], expected, atol=1e-5)
    assert head.history_[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_the_best_epoch_has_the_largest_merit_then_the_lowest_loss_then_comes_first() -> None:
    head = make_head("mlp", patience=None, epochs=25)
    head.fit(*TRAIN, select=SELECT)
    best = max(head.history_, key=lambda record: (record["merit"], -record["select_loss"]))
    assert head.best_epoch_ == best["epoch"]  # type: ignore[attr-defined]
    prediction = head.predict_proba(SELECT[0])
    assert selection_score(prediction, SELECT[1], TASKS) == best["score"]
    assert joint_merit(prediction, SELECT[1], TASKS) == pytest.approx(best["merit"], abs=1e-5)


def test_training_stops_patience_epochs_after_the_best() -> None:
    head = make_head("mlp", epochs=200, patience=3, min_steps=0)
    head.fit(*TRAIN, select=SELECT)
    assert len(head.history_) == head.best_epoch_ + 3 < 200  # type: ignore[attr-defined]


def test_patience_waits_for_the_least_number_of_steps() -> None:
    head = make_head("mlp", epochs=200, patience=3, min_steps=400).fit(*TRAIN, select=SELECT)
    assert len(head.history_) == max(80, head.best_epoch_ + 3)  # type: ignore[attr-defined]  # 5 steps an epoch


def test_without_a_number_of_epochs_little_data_gets_as_many_as_make_the_least_number_of_steps() -> None:
    config = MlpConfig(batch_size=256, min_steps=500)
    assert [config.count_epochs(n) for n in (100, 512, 42_000)] == [500, 250, 50]
    assert MlpConfig(epochs=7).count_epochs(100) == 7


def test_the_best_weights_do_not_depend_on_the_epochs_after_them() -> None:
    long = make_head("mlp", epochs=30, patience=None).fit(*TRAIN, select=SELECT)
    short = make_head("mlp", epochs=long.best_epoch_, patience=None).fit(*TRAIN, select=SELECT)  # type: ignore[attr-defined]
    assert_equal(long.predict_proba(TEST[0]), short.predict_proba(TEST[0]))


def test_other_seeds_give_other_weights() -> None:
    one, other = (make_head("mlp").fit(*TRAIN, select=SELECT, seed=seed) for seed in (0, 1))
    assert not np.array_equal(one.predict_proba(TEST[0]).proba["a"], other.predict_proba(TEST[0]).proba["a"])


def test_the_paper_preset_is_the_papers_and_chooses_by_the_f1_of_a() -> None:
    config = MlpConfig.paper()
    assert (config.loss, config.lr, config.batch_size, config.epochs) == ("paper", 2e-5, 256, 8)
    assert (config.dim, config.weight_decay, config.patience) == (512, 0.01, None)
    head = MlpHead(TASKS, config).fit(*TRAIN, select=SELECT)
    assert len(head.history_) == 8
    score = head.history_[head.best_epoch_ - 1]["score"]
    assert score == max(record["score"] for record in head.history_)
    assert score == paper_score(head.predict_proba(SELECT[0]), SELECT[1], TASKS)


def test_joint_learns_from_ai_rows_of_unknown_generators() -> None:
    X, targets = TRAIN
    y = {"a": targets.y["a"], "b": np.where(np.arange(len(X)) % 10 == 0, targets.y["b"], -1)}
    head = make_head("mlp-joint", epochs=30).fit(X, build_targets(TASKS, y), select=SELECT)
    assert selection_score(head.predict_proba(TEST[0]), TEST[1], TASKS) > 0.75


def test_weight_0_leaves_task_b_untrained() -> None:
    head = make_head("mlp", weight=0.0, weight_decay=0.0).fit(*TRAIN, select=SELECT)
    permuted = replace_y(TRAIN[1], b=np.roll(TRAIN[1].y["b"], 1).clip(0))
    other = make_head("mlp", weight=0.0, weight_decay=0.0, patience=None).fit(TRAIN[0], permuted, select=SELECT)
    losses = [[record["loss"] for record in h.history_] for h in (head, other)]
    assert losses[0] == losses[1][: len(losses[0])]


def test_read_only_arrays_are_fitted_and_left_as_they_are() -> None:
    X, targets = TRAIN[0].copy(), TRAIN[1].select(np.arange(len(TRAIN[0])))
    for array in (X, *targets.y.values(), *targets.applies.values()):
        array.setflags(write=False)
    assert_equal(
        make_head("mlp").fit(X, targets, select=SELECT).predict_proba(X),
        make_head("mlp").fit(*TRAIN, select=SELECT).predict_proba(X),
    )


def test_divergence_is_reported_with_what_to_do() -> None:
    with pytest.raises(HeadsError, match=r"training diverged in epoch \d+: its loss is not finite; lower lr"):
        make_head("mlp", lr=1e30, epochs=50, patience=None).fit(*TRAIN, select=SELECT)


def test_long_inputs_are_predicted_in_chunks_that_make_no_difference() -> None:
    head = make_head("mlp").fit(*TRAIN, select=SELECT)
    X = make_rows(9000, seed=9)[0]
    whole, tail = head.predict_proba(X), head.predict_proba(X[8192:])
    np.testing.assert_allclose(whole.proba["b"][8192:], tail.proba["b"], atol=1e-6)
    assert len(whole) == 9000


@pytest.mark.parametrize(
    "settings",
    [
        {"dim": 0},
        {"dim": 1.5},
        {"dim": True},
        {"dim": 10**9},
        {"loss": "hinge"},
        {"loss": ["paper"]},
        {"select_by": "loss"},
        {"epochs": 0},
        {"min_steps": -1},
        {"fusion": "film"},
        {"patience": 0},
        {"lr": float("nan")},
        {"lr": "fast"},
        {"lr": 10**400},
        {"lr": True},
        {"weight": -(10**400)},
        {"epochs": 10**400},
        {"weight": -1},
        {"weight_decay": float("inf")},
        {"batch_size": -1},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(HeadsError, match=f"^{name} is "):
        MlpConfig.from_mapping(settings)


def test_the_joint_loss_refuses_tasks_without_joint_classes() -> None:
    with pytest.raises(HeadsError, match="joint classes need"):
        make_head("mlp-joint", (Task("c", "multiclass", ("x", "y")),))


def spoil(arrays: dict[str, np.ndarray], name: str, value: np.ndarray | None) -> dict[str, np.ndarray]:
    return {key: array for key, array in {**arrays, name: value}.items() if array is not None}


def test_spoilt_weights_are_refused(tmp_path: Path) -> None:
    head = make_head("mlp").fit(*TRAIN, select=SELECT)
    head.save(tmp_path)
    path = tmp_path / "weights.safetensors"
    arrays = load_file(path)
    hidden = arrays["hidden.weight"]
    for name, value, message in (
        ("hidden.weight", None, "holds"),
        ("extra", hidden, "holds"),
        ("hidden.weight", hidden.T.copy(), r"expected float32 \(16, 6\)"),
        ("hidden.weight", hidden.astype(np.float64), "has float64"),
        ("hidden.weight", np.full_like(hidden, np.nan), "NaN or infinite values in 'hidden.weight'"),
        ("scaler.inverse_scale", np.full(6, np.inf), "NaN or infinite"),
        ("scaler.mean", np.zeros(7), r"expected float64 \(6,\)"),
    ):
        save_file(spoil(arrays, name, value), path)
        with pytest.raises(HeadsError, match=message):
            MlpHead.load(Contents(tmp_path))
    for data in (b"", b"\x00" * 20, b"\xff" * 8, path.read_bytes()[:-5]):
        path.write_bytes(data)
        with pytest.raises(HeadsError, match=r"weights\.safetensors"):
            MlpHead.load(Contents(tmp_path))


def test_a_width_that_the_weights_do_not_have_is_refused(tmp_path: Path) -> None:
    make_head("mlp").fit(*TRAIN, select=SELECT).save(tmp_path)
    path = tmp_path / "head.json"
    fields = json.loads(path.read_text())
    fields["config"]["dim"] = 17
    path.write_text(json.dumps(fields))
    with pytest.raises(HeadsError, match=r"expected float32 \(17, 6\)"):
        MlpHead.load(Contents(tmp_path))
