"""Laws of what an ensemble is asked to be."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from heads.ensemble.config import EnsembleConfig
from heads.errors import HeadsError


def test_members_are_kinds_with_counts_and_columns() -> None:
    config = EnsembleConfig.from_mapping({"members": "linear:image, mlp*2,mlp:text,gbdt", "fusion": "concat"})
    specs = [(spec.kind, spec.fusion) for spec in config.specs]
    assert specs == [("linear", "image"), ("mlp", None), ("mlp", None), ("mlp", "text"), ("gbdt", None)]
    assert [config.of(spec).fusion for spec in config.specs[1:4]] == ["concat", "concat", "text"]


def test_seeds_of_members_and_of_ensembles_are_apart() -> None:
    specs = EnsembleConfig(("mlp*3", "gbdt", "mlp")).specs
    assert [spec.seed(0) for spec in specs] == [0, 1, 2, 0, 3]
    assert [spec.seed(2) for spec in specs] == [8, 9, 10, 2, 11]
    assert all(0 <= spec.seed(2**31 - 1) < 2**31 for spec in specs)


def test_settings_of_members_are_complete_and_read_back() -> None:
    values = {"members": ["linear", "gbdt"], "gbdt.rounds": 7, "own": {"linear": {"max_iter": 9}}}
    config = EnsembleConfig.from_mapping(values)
    assert [config.of(spec) for spec in config.specs][1].rounds == 7
    assert config.own["linear"]["max_iter"] == 9 and len(config.own["linear"]["strengths"]) > 1
    assert EnsembleConfig.from_mapping(asdict(config)) == config


def test_views_that_members_learn_to_ignore_are_named_once() -> None:
    members = {"members": "lda,linear"}
    config = EnsembleConfig.from_mapping({**members, "invariant_to": ["flip", "blur:1"], "linear.invariances": [0]})
    assert [config.of(spec).invariant_to for spec in config.specs] == [("flip", "blur:1"), ()]
    bent = EnsembleConfig.from_mapping({**members, "invariant_to": ["flip"], "linear.invariances": [0, 3]})
    assert [bent.of(spec).invariant_to for spec in bent.specs] == [("flip",), ("flip",)]
    assert EnsembleConfig.from_mapping(json.loads(json.dumps(asdict(config)))).invariant_to == ("flip", "blur:1")


@pytest.mark.parametrize(("members", "is_random"), [("linear,mlp", True), ("linear,linear:image", False)])
def test_an_ensemble_is_random_if_a_member_is(members: str, is_random: bool) -> None:
    assert EnsembleConfig.from_mapping({"members": members}).is_random == is_random


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"members": "linear"}, "members are 1 heads, expected 2 to 16"),
        ({"members": "mlp*17"}, "members are 17 heads"),
        ({"members": ["linear"] * 10_000}, "members are 10000, expected 2 to 16"),
        ({"members": "linear,svm"}, "member is 'svm', expected one of mlp, linear, lda, gbdt"),
        ({"members": "linear,ensemble"}, "member is 'ensemble', expected one of mlp"),
        ({"members": "linear,mlp*0"}, "member is 'mlp\\*0'"),
        ({"members": "mlp,linear:gated"}, "member is 'linear:gated', expected a fusion among concat, image"),
        ({"members": "mlp,gbdt,linear*2"}, "'linear' is there twice with the same columns"),
        ({"members": 3}, "members are 3, expected a list"),
        ({"members": [3, 4]}, "members are"),
        ({"fusion": "sum"}, "fusion is 'sum'"),
        ({"own": 3}, "own is 3"),
        ({"own": {"linear": 3}}, "own is"),
        ({"members": "linear,mlp", "gbdt.rounds": 3}, "settings of 'gbdt' were given, the members are linear, mlp"),
        ({"members": "linear,mlp", "linear.rounds": 3}, "unknown setting 'rounds' of head 'linear'"),
        ({"members": "gbdt,mlp", "invariant_to": ["flip"]}, "invariant_to is no setting of the members gbdt, mlp"),
        ({"lda.invariant_to": ["flip"]}, "expected it of the ensemble"),
        ({"invariant_to": "flip"}, "invariant_to are 'flip', expected"),
        ({"members": "linear,mlp", "mlp.fusion": "image"}, "expected it in members, e.g. mlp:image"),
    ],
)
def test_what_makes_no_ensemble_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(HeadsError, match=message):
        EnsembleConfig.from_mapping(values)
