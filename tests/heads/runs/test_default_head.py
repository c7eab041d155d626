from __future__ import annotations

from typing import Any

import pytest

from heads.runs.default_head import DEFAULT_HEAD, MOST_COLUMNS, name_head
from heads.runs.fitting import parse_config

DEFAULT = {"head": DEFAULT_HEAD}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, DEFAULT),
        ({"fusion": "image", "seed": 3}, DEFAULT),
        ({"members": "linear,gbdt"}, DEFAULT),
        ({"lda.gammas": [0.0]}, DEFAULT),
        ({"members": "lda,mlp", "mlp.balance": "class", "lda.balance": "class"}, DEFAULT),
        ({"invariant_to": ["blur:1"]}, DEFAULT),
        ({"head": "linear"}, {"head": "linear"}),
        ({"loss": "multitask"}, {"head": "mlp"}),
        ({"dim": 8}, {"head": "mlp"}),
        ({"preset": "paper"}, {"head": "mlp"}),
        ({"lr": 1e-4}, {"head": "mlp"}),
        ({"balance": "class"}, {"head": "mlp"}),
        ({"fusion": "gated"}, {"head": "mlp"}),
        ({"head": "gbdt", "balance": "class"}, {"head": "gbdt"}),
    ],
)
def test_what_is_of_networks_alone_means_a_network(values: dict[str, Any], expected: dict[str, Any]) -> None:
    found = name_head(values)
    assert found == {**values, **expected}
    assert parse_config(found).head == expected["head"]


def test_linear_discriminants_are_left_out_where_there_are_many_columns() -> None:
    assert name_head({}, n_columns=MOST_COLUMNS)["head"] == "ensemble"
    assert name_head({}, n_columns=MOST_COLUMNS + 1)["head"] == "mlp"
    assert name_head({"members": "lda,mlp"}, n_columns=10**6)["head"] == "ensemble"


def test_a_device_is_one_of_networks() -> None:
    assert name_head({}, on_network=True) == {"head": "mlp"}
    assert name_head({"members": "lda,mlp"}, on_network=True)["head"] == "ensemble"
    assert name_head({"head": "linear"}, on_network=True) == {"head": "linear"}
