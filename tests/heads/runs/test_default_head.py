from __future__ import annotations

from typing import Any

import pytest

from heads.runs.default_head import DEFAULT_HEAD, name_head
from heads.runs.fitting import parse_config

DEFAULT = {"head": DEFAULT_HEAD}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, DEFAULT),
        ({"fusion": "image", "seed": 3}, DEFAULT),
        ({"members": "linear,gbdt"}, DEFAULT),
        ({"lda.gammas": [0.0]}, DEFAULT),
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


def test_a_device_is_one_of_networks() -> None:
    assert name_head({}, on_network=True) == {"head": "mlp"}
    assert name_head({"head": "linear"}, on_network=True) == {"head": "linear"}
