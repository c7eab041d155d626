"""Laws of operating points, and of documents that hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heads.errors import HeadsError
from heads.verdicts.points import Guarantee, OperatingPoint, OriginBound, parse_point

ORIGIN = OriginBound("camera", 80, 0, 0.045)
GUARANTEE = Guarantee("fpr", 0.05, 0.95, "group", 80, 0, 0.045, 0.8, 0.7, 0.9, "photos", "calibrating", (ORIGIN,))
POINT = OperatingPoint("fpr-0.05", "clean", 0.8, 0.3, (GUARANTEE,))


def test_a_score_is_called_one_of_three_things() -> None:
    raw = np.array([0.0, 0.3, 0.8], dtype=np.float32)  # float32(0.3) > 0.3, and float32(0.8) too
    below = np.nextafter(raw, np.float32(-1))
    assert POINT.is_ai(raw).tolist() == [False, False, True] and not POINT.is_ai(below).any()
    assert POINT.is_unsure(raw).tolist() == [False, True, False]
    assert POINT.is_unsure(below).tolist() == [False, False, True]


def test_one_threshold_leaves_nothing_unsure() -> None:
    point = OperatingPoint("balanced", "clean", 0.5, 0.5)
    raw = np.linspace(0, 1, 11, dtype=np.float32)
    assert POINT.abstains and not point.abstains and not point.is_unsure(raw).any()
    assert point.is_ai(raw).sum() == 6


def document(**changes: Any) -> dict[str, Any]:
    found = POINT.to_json()
    found["guarantees"] = [{**found["guarantees"][0], "origins": [*found["guarantees"][0]["origins"]]}]
    return {**found, **changes}


def test_what_is_written_is_read() -> None:
    assert parse_point(document(), "x") == POINT
    early = document()["guarantees"][0]
    del early["note"]
    assert parse_point(document(guarantees=[early]), "x") == POINT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"more": 1}, "malformed OperatingPoint"),
        ({"name": "A b"}, "called 'A b'"),
        ({"name": 3}, "malformed operating point"),
        ({"ai_from": 2}, "threshold of operating point fpr-0.05 is 2"),
        ({"real_below": 0.9}, "calls scores both real and AI"),
        ({"guarantees": [{**document()["guarantees"][0], "rate": "tpr"}]}, "malformed guarantee"),
        ({"guarantees": [{**document()["guarantees"][0], "n": -1}]}, "malformed guarantee"),
        ({"guarantees": [{**document()["guarantees"][0], "bound": float("nan")}]}, "malformed guarantee"),
        ({"guarantees": [{**document()["guarantees"][0], "note": 1}]}, "malformed guarantee"),
        ({"guarantees": [{**document()["guarantees"][0], "origins": [{}]}]}, "malformed OriginBound"),
    ],
)
def test_points_of_somebody_else_are_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(HeadsError, match=message):
        parse_point(document(**change), "x")
