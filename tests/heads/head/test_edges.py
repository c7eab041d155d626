"""Laws of edges: what was chosen at one is told, what lies within is not."""

from __future__ import annotations

import pytest

from heads.head.edges import edge_notes


@pytest.mark.parametrize(
    ("value", "values", "told"),
    [
        (
            1.0,
            (0.1, 1.0, 0.01),
            "takes the largest of its strengths, 1: 10 may be better, --set strengths=[0.01,0.1,1,10]",
        ),
        (
            0.01,
            (0.1, 1.0, 0.01),
            "takes the smallest of its strengths, 0.01: 0.001 may be better, --set strengths=[0.001,0.01,0.1,1]",
        ),
        (0.1, (0.1, 1.0, 0.01), None),
        (0.0, (0.0, 1.0, 3.0), None),
        (1.0, (0.1, 1.0), None),
        (1.0, (1.0,), None),
    ],
)
def test_what_was_chosen_at_an_edge_is_told(value: float, values: tuple[float, ...], told: str | None) -> None:
    found = edge_notes("a", "strengths", value, values)
    assert len(found) == (told is not None)
    assert all(note == f"task 'a' {told}" for note in found)
