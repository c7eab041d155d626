"""Laws of the fusions: what each computes, written out again in numpy, and the layout of columns that they rest on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from heads.data.columns import Block, Columns
from heads.data.fusion import (
    FUSIONS,
    LAYERED,
    STRUCTURED,
    check_columns,
    check_fusion,
    describe_columns,
    fuse,
    fusion_modalities,
)
from heads.errors import HeadsError
from heads.files.contents import Contents
from heads.mlp.fusions import fusion_network
from heads.mlp.head import MlpConfig, MlpHead
from heads.mlp.network import Network
from tests.heads.rows import TASKS, assert_equal, make_rows, reload

WIDTHS = {"text": {"cls": 4}, "image": {"layers:1": 4, "layers:2": 4}, "spectral": {"dct": 3}}
DIM = 5
TRAIN, SELECT, TEST = make_rows(200, seed=1, dim=15), make_rows(100, seed=2, dim=15), make_rows(40, seed=3, dim=15)
Weights = dict[str, np.ndarray]


def columns_for(fusion: str) -> Columns:
    return Columns.build({modality: WIDTHS[modality] for modality in FUSIONS[fusion]})


def cut(rows: tuple[np.ndarray, Any], fusion: str) -> tuple[np.ndarray, Any]:
    span = Columns.build(WIDTHS).span(FUSIONS[fusion])
    return np.ascontiguousarray(rows[0][:, span]), rows[1]


def fitted(fusion: str) -> MlpHead:
    config = MlpConfig(dim=DIM, epochs=8, lr=0.02, batch_size=32, fusion=fusion)
    head = MlpHead(TASKS, config, columns=columns_for(fusion))
    return head.fit(*cut(TRAIN, fusion), select=cut(SELECT, fusion))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def linear(X: np.ndarray, w: Weights, name: str) -> np.ndarray:
    return X @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def trunk(X: np.ndarray, w: Weights) -> np.ndarray:
    return linear(relu(linear(X, w, "hidden")), w, "classifiers")


def logit_mean(X: np.ndarray, w: Weights) -> np.ndarray:
    text, image = X[:, :4], X[:, 4:]
    one = linear(relu(linear(text, w, "hidden0")), w, "classifiers0")
    return (one + linear(relu(linear(image, w, "hidden1")), w, "classifiers1")) / 2


def gated(X: np.ndarray, w: Weights) -> np.ndarray:
    z = 1 / (1 + np.exp(-linear(X, w, "gate")))
    hidden = z * np.tanh(linear(X[:, :4], w, "first")) + (1 - z) * np.tanh(linear(X[:, 4:], w, "second"))
    return linear(hidden, w, "classifiers")


def mlb(X: np.ndarray, w: Weights) -> np.ndarray:
    return linear(np.tanh(linear(X[:, :4], w, "first")) * np.tanh(linear(X[:, 4:], w, "second")), w, "classifiers")


def layers(X: np.ndarray, w: Weights) -> np.ndarray:
    share = np.exp(w["importance"]) / np.exp(w["importance"]).sum(axis=0)
    hidden = share[0] * relu(linear(X[:, :4], w, "hidden")) + share[1] * relu(linear(X[:, 4:], w, "hidden"))
    return linear(hidden, w, "classifiers")


def rine(X: np.ndarray, w: Weights) -> np.ndarray:
    share = np.exp(w["importance"]) / np.exp(w["importance"]).sum(axis=0)
    first, second = (relu(linear(relu(linear(part, w, "hidden")), w, "layer")) for part in (X[:, :4], X[:, 4:]))
    summary = relu(linear(share[0] * first + share[1] * second, w, "summary0"))
    return linear(relu(linear(summary, w, "summary1")), w, "classifiers")


FORMULAS = {"logit-mean": logit_mean, "gated": gated, "mlb": mlb, "layers": layers, "rine": rine}


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_fitted_head_computes_the_formula_of_its_fusion(fusion: str) -> None:
    head, X = fitted(fusion), cut(TEST, fusion)[0]
    w = {name: value.double().numpy() for name, value in head.fitted_.weights.items()}
    logits = FORMULAS.get(fusion, trunk)((X - head.fitted_.scaler.mean) * head.fitted_.scaler.inverse_scale, w)
    found = head.predict_proba(X).proba
    np.testing.assert_allclose(found["a"], 1 / (1 + np.exp(-logits[:, 0])), atol=1e-5)
    share = np.exp(logits[:, 1:])
    np.testing.assert_allclose(found["b"], share / share.sum(axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_parameter_is_trained(fusion: str) -> None:
    head = fitted(fusion)
    first = head.fitted_.network.draw(torch.Generator().manual_seed(0))
    for name, value in head.fitted_.weights.items():
        assert value.isfinite().all() and (value != first[name]).any(), name


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_head_of_every_fusion_is_saved_with_its_columns(fusion: str, tmp_path: Path) -> None:
    head, X = fitted(fusion), cut(TEST, fusion)[0]
    loaded = reload(head, tmp_path)
    assert_equal(head.predict_proba(X), loaded.predict_proba(X))
    fields = json.loads((tmp_path / "head.json").read_text())
    assert fields["fitted"]["columns"] == columns_for(fusion).to_json()


@pytest.mark.parametrize("fusion", LAYERED)
def test_the_layers_begin_with_equal_shares(fusion: str) -> None:
    network = Network(fusion, columns_for(fusion), DIM, "multitask", TASKS)
    assert not network.draw(torch.Generator().manual_seed(0))["importance"].any()


def spoil(fields: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    return {**fields, path: {**fields[path], **value}}


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("fitted", {"columns": []}, "expected a list of 1 to 4096 blocks"),
        ("fitted", {"columns": [["image", "a"]]}, r"expected \[modality, output, width\]"),
        ("fitted", {"columns": [["text", "a", True], ["image", "b", 11]]}, r"expected \[modality, output, width\]"),
        ("fitted", {"columns": [["text", "a", 10**9]]}, r"expected \[modality, output, width\]"),
        ("fitted", {"columns": [["text", "x" * 300, 12]]}, r"expected \[modality, output, width\]"),
        ("fitted", {"columns": [["text", "a", 4], ["image", "b", 4]]}, "describes 8 columns, expected n_features 12"),
        ("fitted", {"columns": [["text", "a", 4], ["image", "b", 4], ["text", "c", 4]]}, "each modality in one place"),
        ("fitted", {"columns": [["text", "a", 12]]}, "'gated' joins two modalities"),
        ("fitted", {"columns": [["", "", 12]]}, "needs to know which columns"),
        ("fitted", {"columns": [["text", "a", 5], ["image", "b", 7]]}, "weights.safetensors has"),
        ("config", {"fusion": "mlb"}, "weights.safetensors holds"),
        ("config", {"fusion": ["gated"]}, "fusion is"),
    ],
)
def test_a_layout_that_the_weights_do_not_have_is_refused(
    part: str, value: dict[str, Any], message: str, tmp_path: Path
) -> None:
    fitted("gated").save(tmp_path)
    path = tmp_path / "head.json"
    path.write_text(json.dumps(spoil(json.loads(path.read_text()), part, value)))
    with pytest.raises(HeadsError, match=message):
        MlpHead.load(Contents(tmp_path))


def test_a_head_saved_before_layouts_were_is_still_read(tmp_path: Path) -> None:
    head = fitted("concat")
    head.save(tmp_path)
    path = tmp_path / "head.json"
    fields = json.loads(path.read_text())
    del fields["fitted"]["columns"], fields["config"]["fusion"], fields["config"]["min_steps"]
    del fields["config"]["components"]
    path.write_text(json.dumps(fields))
    X, loaded = cut(TEST, "concat")[0], MlpHead.load(Contents(tmp_path))
    assert_equal(loaded.predict_proba(X), head.predict_proba(X))
    assert loaded.config.components == 0


def test_structured_fusions_have_a_network_of_their_own() -> None:
    networks = {name: fusion_network(name) for name in FUSIONS}
    plain = {id(networks[name]) for name in FUSIONS if name not in STRUCTURED}
    assert len(plain) == 1 and len({id(network) for network in networks.values()}) == 1 + len(STRUCTURED)
    assert set(STRUCTURED) < set(FUSIONS)


@pytest.mark.parametrize("fusion", ["gated", "mlb"])
def test_what_joins_two_modalities_refuses_three(fusion: str) -> None:
    with pytest.raises(HeadsError, match=rf"{fusion!r} joins two modalities, the columns are text \+ image \+ spect"):
        assert Network(fusion, Columns.build(WIDTHS), DIM, "multitask", TASKS).projections


def test_columns_stand_in_the_order_of_the_fusion() -> None:
    text, image = np.ones((2, 3), dtype=np.float32), np.zeros((2, 2), dtype=np.float32)
    blocks = {"image": image, "text": text, "spectral": image + 2}
    assert fuse("concat", blocks).tolist() == [[1, 1, 1, 0, 0]] * 2
    assert fuse("all", blocks).tolist() == [[1, 1, 1, 0, 0, 2, 2]] * 2
    assert fuse("image-spectral", blocks).tolist() == [[0, 0, 2, 2]] * 2
    assert fuse("spectral", {"spectral": image}).shape == (2, 2)


def test_every_fusion_has_its_modalities_in_one_order() -> None:
    order = ("text", "image", "spectral")
    for fusion in FUSIONS:
        needed = fusion_modalities(fusion)
        assert list(needed) == [m for m in order if m in needed]
        assert Columns.build(WIDTHS).span(needed).stop  # neighbours


def test_wrong_columns_are_named_with_their_parts() -> None:
    X = np.zeros((1, 4), dtype=np.float32)
    with pytest.raises(HeadsError, match=r"X has 4 columns, head was fitted on 5 \(text 3 \+ image 2\)"):
        check_columns(X, "concat", widths={"text": 3, "image": 2})
    assert describe_columns("spectral", {"spectral": 7}) == "7 (spectral 7)"


@pytest.mark.parametrize(
    ("have", "would_do"),
    [(["image"], "use --fusion image$"), (["text"], "use --fusion text$"), (["spectral"], "use --fusion spectral$")],
)
def test_a_fusion_that_lacks_a_modality_names_the_one_that_would_do(have: list[str], would_do: str) -> None:
    with pytest.raises(HeadsError, match=would_do):
        check_fusion("concat", have, where="cache x")


def test_a_head_that_is_fitted_asks_for_another_cache_and_no_other_fusion() -> None:
    with pytest.raises(HeadsError, match="cache x has none: name a cache with vectors of the run's own encoders"):
        check_fusion("concat", ["image"], where="cache x", is_fitted=True)


def test_unknown_fusion_lists_the_known_ones() -> None:
    with pytest.raises(HeadsError, match=", ".join(FUSIONS)):
        check_fusion("film", ["text", "image"], where="cache x")


def test_spans_name_what_is_there() -> None:
    columns = Columns.build(WIDTHS)
    assert (columns.width, columns.widths) == (15, {"text": 4, "image": 8, "spectral": 3})
    assert columns.span(["image"]) == slice(4, 12) and columns.span(["image", "spectral"]) == slice(4, 15)
    for wanted in (["text", "spectral"], ["image", "text"], ["depth"]):
        with pytest.raises(HeadsError, match=r"the columns are text \+ image \+ spectral, expected "):
            columns.span(wanted)
    assert Columns.parse(columns.to_json(), "x") == columns
    assert not Columns.unknown(3).is_known and columns.of(["spectral"]).blocks == (Block("spectral", "dct", 3),)
