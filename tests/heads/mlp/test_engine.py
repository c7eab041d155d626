"""Laws of the engine: a head in a pack is the head alone, and learns from its own rows only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from heads.data.columns import Block, Columns
from heads.data.fusion import FUSIONS, STRUCTURED
from heads.data.tasks import Targets, Task, build_targets
from heads.errors import HeadsError
from heads.head.protocol import Prediction
from heads.head.task_scores import selection_score
from heads.mlp.engine import HeadSpec, fit_pack
from heads.mlp.head import MlpConfig
from heads.mlp.network import FittedNetwork
from heads.mlp.pack import Labels, Pack
from heads.mlp.scoring import predict_pack
from tests.heads.rows import TASKS, make_rows

N, M = 300, 120
X, TARGETS = make_rows(N + M, seed=1, dim=12)
FIT, SELECT = np.arange(N), np.arange(N, N + M)
TEST = make_rows(80, seed=2, dim=12)[0]
COLUMNS = Columns.build({"text": {"cls": 3}, "image": {"layers:1": 3, "layers:2": 3}, "spectral": {"dct": 3}})
QUICK = MlpConfig(dim=8, epochs=6, batch_size=64, lr=0.01, min_steps=0)


def spec(seed: int = 0, *, fit: np.ndarray = FIT, select: np.ndarray = SELECT, **changes: Any) -> HeadSpec:
    return HeadSpec(replace(QUICK, **changes), seed, fit, select)


def fit(specs: Sequence[HeadSpec], matrix: Any = X, targets: Targets = TARGETS, **options: Any) -> list[FittedNetwork]:
    options = {"tasks": TASKS, "precision": "float32", **options}
    return fit_pack(matrix, targets, specs, **options)


def predict(fitted: FittedNetwork, rows: np.ndarray) -> Prediction:
    return predict_pack([fitted], rows)[0]


def assert_same(one: FittedNetwork, other: FittedNetwork, *, atol: float = 0) -> None:
    """Assert that two heads have the same weights, to rounding where ``atol`` says so, and the same history."""
    assert one.best_epoch == other.best_epoch and len(one.history) == len(other.history)
    for name, value in one.weights.items():
        torch.testing.assert_close(value, other.weights[name], rtol=0, atol=atol)
    for first, second in zip(one.history, other.history, strict=True):
        assert first == pytest.approx(second, abs=atol)


@pytest.mark.slow
def test_a_head_in_a_pack_equals_the_head_alone() -> None:
    grid = [spec(seed, dim=dim, lr=lr) for seed in (0, 1) for dim in (8, 16) for lr in (0.01, 0.003)]
    grid += [spec(0, weight_decay=0.5), spec(0, batch_size=32), spec(1, loss="joint"), spec(0, loss="paper", weight=2)]
    grid += [spec(0, contrast=0.5), spec(0, components=3), spec(0, balance="class")]
    for packed, alone in zip(fit(grid), [fit([one])[0] for one in grid], strict=True):
        assert_same(packed, alone, atol=2e-5)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_head_of_every_fusion_in_a_pack_equals_the_head_alone(fusion: str) -> None:
    grid = [spec(0, fusion=fusion), spec(0, fusion=fusion, lr=0.003), spec(0, fusion="concat"), spec(0, fusion="image")]
    packed = fit(grid, columns=COLUMNS)[0]
    assert_same(packed, fit(grid[:1], columns=COLUMNS)[0], atol=2e-5)
    assert packed.network.columns == COLUMNS.of(FUSIONS[fusion])


@pytest.mark.slow
def test_the_order_of_the_heads_changes_nothing() -> None:
    grid = [spec(seed, lr=lr, dim=dim) for seed in (0, 1) for lr in (0.01, 0.003) for dim in (8, 16)]
    order = np.random.default_rng(0).permutation(len(grid))
    shuffled = fit([grid[k] for k in order])
    for place, k in enumerate(order):
        assert_same(shuffled[place], fit(grid)[k], atol=2e-5)


def test_where_the_rows_stand_changes_nothing() -> None:
    order = np.random.default_rng(0).permutation(len(X))
    place = np.argsort(order)
    moved = fit([spec(fit=place[FIT], select=place[SELECT])], X[order], TARGETS.select(order))
    assert_same(moved[0], fit([spec()])[0])


def test_the_order_of_the_tasks_changes_nothing() -> None:
    tasks = (TASKS[0], Task("c", "multiclass", ("x", "y", "z")))
    targets = build_targets(tasks, {"a": TARGETS.y["a"], "c": np.arange(len(X)) % 3})
    one = fit([spec()], targets=targets, tasks=tasks)[0]
    other = fit([spec()], targets=targets, tasks=tasks[::-1])[0]
    for name, proba in predict(one, TEST).proba.items():
        np.testing.assert_allclose(predict(other, TEST).proba[name], proba, atol=1e-5)


def test_a_fold_never_sees_its_held_out_rows() -> None:
    folds = np.arange(N) % 3
    specs = [spec(fit=FIT[folds != fold]) for fold in range(3)]
    for fold, expected in enumerate(fit(specs)):
        held_out = FIT[folds == fold]
        poisoned = X.copy()
        poisoned[held_out] = np.nan
        y = {name: values.copy() for name, values in TARGETS.y.items()}
        for values in y.values():
            values[held_out] = 10**9
        assert_same(fit([specs[fold]], poisoned, Targets(y, TARGETS.applies))[0], expected)


def test_what_stands_where_a_task_does_not_apply_changes_nothing() -> None:
    garbage = {name: np.where(TARGETS.applies[name], y, -(10**12)) for name, y in TARGETS.y.items()}
    assert_same(fit([spec()], targets=Targets(garbage, TARGETS.applies))[0], fit([spec()])[0])


def test_a_stopped_head_never_changes_and_the_others_go_on() -> None:
    short, long = spec(epochs=2), spec(epochs=9, lr=0.003)
    stopped, went_on = fit([short, long])
    assert (len(stopped.history), len(went_on.history)) == (2, 9)
    assert_same(stopped, fit([short])[0], atol=2e-5)
    assert_same(went_on, fit([long])[0], atol=2e-5)


def test_a_head_that_diverges_leaves_the_others_alone() -> None:
    wild, sane = fit([spec(lr=1e30), spec()])
    assert (wild.diverged, sane.diverged) == (1, None)
    assert wild.best_epoch == 0 and not wild.history
    assert_same(sane, fit([spec()])[0], atol=2e-5)


def test_each_seed_has_its_own_order_unless_it_is_shared() -> None:
    own, shared = (fit([spec(3), spec(4)], order=order) for order in ("own", "shared"))
    assert all(a.history != b.history for a, b in (own, shared))
    assert own[0].history != shared[0].history
    assert_same(fit([spec(3)], order="shared")[0], shared[0], atol=2e-5)


def test_rows_without_a_label_are_neither_learnt_from_nor_measured() -> None:
    y = {name: np.concatenate([TARGETS.y[name], [-1] * 20]) for name in TARGETS.y}
    far = np.concatenate([X, np.full((20, 12), 1e6, np.float32)])
    rows = np.concatenate([FIT, np.arange(len(X), len(X) + 20)])
    assert_same(fit([spec(fit=rows)], far, build_targets(TASKS, y))[0], fit([spec()])[0])


def test_float16_rows_are_those_values_in_float32() -> None:
    half = X.astype(np.float16)
    assert_same(fit([spec()], half)[0], fit([spec()], half.astype(np.float32))[0])


def test_equal_views_are_one_view() -> None:
    views = fit([spec()], np.stack([X, X, X]))[0]
    plain = fit([spec()])[0]
    for name, proba in predict(plain, TEST).proba.items():
        np.testing.assert_allclose(predict(views, TEST).proba[name], proba, atol=0.2)
    np.testing.assert_allclose(views.scaler.mean, plain.scaler.mean, rtol=1e-9)


class Recorder:
    """Rows of three views that note which were read."""

    n_views = n_all_views = 3
    n_rows, n_columns = X.shape

    def __init__(self) -> None:
        self.seen: list[tuple[int, np.ndarray]] = []

    def read(self, rows: np.ndarray, view: int = 0) -> np.ndarray:
        self.seen.append((view, rows))
        return X[rows] + np.float32(view)


def test_every_row_takes_any_view_in_training_and_all_in_selection() -> None:
    source = Recorder()
    fit([spec(epochs=40, components=0, patience=None)], source, memory=1000)
    read = np.zeros((3, len(X)), dtype=int)
    for view, rows in source.seen:
        np.add.at(read[view], rows, 1)
    # 40 epochs: a view is taken about 13 times; standardisation reads each once.
    assert (read[:, FIT].sum(axis=0) == 43).all() and read[:, FIT].min() >= 2
    counts = [read[view, FIT[TARGETS.y["a"][FIT] == a]].mean() for a in (0, 1) for view in range(3)]
    np.testing.assert_allclose(counts, 43 / 3, rtol=0.15)
    assert (read[:, SELECT] == 40).all()


def test_rows_that_do_not_fit_are_read_in_windows_and_learnt_from_just_as_well() -> None:
    rows, targets = make_rows(6000, seed=3, dim=12)
    one = HeadSpec(replace(QUICK, epochs=3), 0, np.arange(5000), np.arange(5000, 6000))
    resident, streamed = (fit([one], rows, targets, memory=memory)[0] for memory in (None, "100KB"))
    assert streamed.history != resident.history  # another shuffle
    assert streamed.history[-1]["score"] > resident.history[-1]["score"] - 0.05
    np.testing.assert_array_equal(streamed.scaler.mean, resident.scaler.mean)


def test_bfloat16_learns_the_same_to_its_precision() -> None:
    exact, rounded = (fit([spec()], precision=name)[0] for name in ("float32", "bfloat16"))
    assert rounded.weights["hidden.weight"].dtype == torch.float32
    for name, proba in predict(exact, TEST).proba.items():
        np.testing.assert_allclose(predict(rounded, TEST).proba[name], proba, atol=0.05)


def test_heads_scored_together_score_as_alone() -> None:
    folds = np.arange(N) % 2
    grid = [spec(seed, dim=dim, fit=FIT[folds == seed]) for seed in (0, 1) for dim in (8, 16)]
    heads = fit(grid)
    for together, head in zip(predict_pack(heads, TEST), heads, strict=True):
        for name, proba in predict(head, TEST).proba.items():
            np.testing.assert_allclose(together.proba[name], proba, atol=1e-5)


@pytest.mark.parametrize("fusion", STRUCTURED)
def test_scoring_computes_what_training_scored(fusion: str) -> None:
    found = fit([spec(fusion=fusion)], columns=COLUMNS)[0]
    span = COLUMNS.span(FUSIONS[fusion])
    prediction = predict(found, np.ascontiguousarray(X[SELECT, span]))
    score = selection_score(prediction, TARGETS.select(SELECT), TASKS)
    assert score == pytest.approx(found.history[found.best_epoch - 1]["score"], abs=1e-9)


@pytest.mark.parametrize("fusion", ["concat", "gated", "logit-mean", "spectral"])
def test_a_head_learns_along_principal_axes_and_is_of_raw_columns(fusion: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    take = Pack.step

    def step(pack: Pack, batch: torch.Tensor, labels: Labels) -> torch.Tensor:
        seen.append(batch)
        return take(pack, batch, labels)

    monkeypatch.setattr(Pack, "step", step)
    found = fit([spec(fusion=fusion, components=2, epochs=1)], np.stack([X, X + 1]), columns=COLUMNS)[0]
    own = COLUMNS.of(FUSIONS[fusion])
    assert (found.network.columns, len(found.scaler.mean)) == (own, own.width)
    batches = torch.cat(seen).numpy()
    assert batches.shape[1] == 2 * len(own.modalities)
    for place, modality in enumerate(own.modalities):
        Z = np.concatenate([X[FIT], X[FIT] + 1])[:, COLUMNS.span([modality])]
        Z = (Z - Z.mean(axis=0)) / Z.std(axis=0)
        values, vectors = np.linalg.eigh(Z.T @ Z / len(Z))
        scores = (Z @ vectors[:, :-3:-1]).T
        part = batches[:, 2 * place : 2 * place + 2]
        # The variance of each axis is kept, and every row that was seen is one of these.
        assert abs(np.var(part, axis=0) / values[:-3:-1] - 1).max() < 0.3
        distance = np.abs(np.abs(part[:5, :, None]) - np.abs(scores)).max(axis=1).min(axis=1)
        assert distance.max() < 1e-3


def test_a_head_looks_along_as_many_axes_as_it_is_told_and_as_there_are() -> None:
    heads = fit([spec(components=0), spec(), spec(components=2), spec(components=100)])
    assert heads[1].history == heads[3].history != heads[2].history
    looks = [np.linalg.matrix_rank(head.weights["hidden.weight"].numpy(), tol=1e-4) for head in heads]
    assert looks == [8, 8, 2, 8]


def test_progress_names_the_head() -> None:
    seen: dict[int, list[Any]] = {0: [], 1: []}
    found = fit([spec(0), spec(1)], progress=lambda place, record: seen[place].append(record))
    assert [tuple(found[k].history) for k in (0, 1)] == [tuple(seen[k]) for k in (0, 1)]
    assert all(head.seconds > 0 for head in found)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(HeadsError, match="X has 12 columns, the layout describes 5"):
        fit([spec()], columns=Columns.unknown(5))
    with pytest.raises(HeadsError, match="X has 420 rows, the targets have 300"):
        fit([spec()], targets=TARGETS.select(FIT))
    with pytest.raises(HeadsError, match="fusion 'gated' needs to know which columns"):
        fit([spec(fusion="gated")])
    with pytest.raises(HeadsError, match=r"the columns are text \+ image, expected spectral"):
        fit([spec(fusion="spectral")], columns=Columns.build({"text": {"cls": 4}, "image": {"pooled": 8}}))
    with pytest.raises(HeadsError, match=r"all \d+ labelled training rows of task 'a' are 'ai'"):
        fit([spec(fit=FIT[TARGETS.y["a"][FIT] == 1])])
    with pytest.raises(HeadsError, match="none of the 300 training rows has a label of task 'b'"):
        unknown = {**TARGETS.y, "b": np.full(len(X), -1)}
        fit([spec()], targets=build_targets(TASKS, unknown))
    with pytest.raises(HeadsError, match="none of the 0 select rows"):
        fit([spec(select=FIT[:0])])
    uneven = Columns((Block("image", "layers:1", 5), Block("image", "layers:2", 7)))
    with pytest.raises(HeadsError, match="'layers' needs two outputs or more of one width"):
        fit([spec(fusion="layers")], columns=uneven)
    mixed = Columns((Block("image", "layers:1", 6), Block("image", "layers_mean:1", 6)))
    with pytest.raises(HeadsError, match="takes layers of one family, found layers and layers_mean: name one with"):
        fit([spec(fusion="layers")], columns=mixed)
    fit(
        [spec(fusion="layers")],
        columns=Columns((Block("image", "layers_mean:1", 6), Block("image", "layers_mean:2", 6))),
    )


def test_vectors_that_are_not_finite_are_refused_where_they_are_used() -> None:
    for rows, message in (
        (FIT, "training rows has values that are NaN or infinite, the first in column 3"),
        (SELECT, "standardised X has 1 values that are NaN"),
    ):
        spoilt = X.copy()
        spoilt[rows[5], 3] = np.nan
        with pytest.raises(HeadsError, match=message):
            fit([spec()], spoilt)
