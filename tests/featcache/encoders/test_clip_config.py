"""A tower of a CLIP that is described twice is taken if both say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from featcache.encoders.clip_config import check_said_once
from featcache.encoders.model_folder import ModelFolder
from featcache.errors import ModelError

LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24}


def check(config: dict[str, Any]) -> None:
    folder = ModelFolder(Path("nowhere"), "m")
    folder.__dict__["config"] = config
    check_said_once(folder, "vision_config")
    check_said_once(folder, "text_config")


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"vision_config_dict": None, "text_config_dict": None, "vision_config": LARGE},
        {"vision_config_dict": LARGE, "vision_config": LARGE | {"hidden_act": "quick_gelu", "dropout": 0.0}},
        {"text_config_dict": {"hidden_size": 512}},
        {"text_config_dict": {}, "text_config": {"eos_token_id": 2}},
    ],
)
def test_towers_that_are_said_once_or_twice_alike_are_taken(config: dict[str, Any]) -> None:
    check(config)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"vision_config_dict": LARGE}, "num_hidden_layers 24 in vision_config_dict and 12 in vision_config: write"),
        (
            {"vision_config_dict": {"hidden_act": "gelu"}, "vision_config": {}},
            "hidden_act 'gelu' in vision_config_dict",
        ),
        (
            {"text_config_dict": {}, "text_config": {"hidden_act": "gelu"}},
            "'quick_gelu' in text_config_dict and 'gelu'",
        ),
    ],
)
def test_towers_that_are_said_in_two_ways_are_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        check(config)


def test_what_transformers_means_by_a_field_that_is_not_there_is_known() -> None:
    import transformers

    from featcache.encoders.clip_config import _MEANT

    for tower, config in (
        ("text_config", transformers.CLIPTextConfig()),
        ("vision_config", transformers.CLIPVisionConfig()),
    ):
        assert {name: getattr(config, name) for name in _MEANT[tower]} == _MEANT[tower]
